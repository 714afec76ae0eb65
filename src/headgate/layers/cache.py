"""The exact cache, in two layers: `lookup` answers from the tiers, `fill` writes to them.

`fill` stands below coalesce on purpose: the entry is there before the flight is forgotten, so no
caller can fall between the two and ask again. A store that fails is a miss, never a failed answer.
"""

from __future__ import annotations

import asyncio
import builtins
import threading
from collections import Counter

from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.freshness import age_s, is_fresh
from headgate.core.verdict import judge
from headgate.errors import CacheOnlyMiss
from headgate.stores.base import FastStore, Store
from headgate.stream import Value, Whole
from headgate.types import Call, Entry, Provenance, Reply, Selection, Service


class Cache:
    """Memory first, then an optional slower tier below it, whose finds are copied up."""

    def __init__(self, memory: FastStore, below: Store | None, clock: Clock) -> None:
        self.memory = memory
        self.below = below
        self._clock = clock
        self._skipped: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._generation = 0

    def lookup(self, service: Service) -> Service:
        """Answers from the tiers, else from `service`."""

        async def serve(call: Call) -> Reply:
            consulted = not call.bypass and call.controls.may_read
            entry = await self._find(call) if consulted else None
            if entry is not None:
                return self.reply(entry, self._clock.epoch())
            if call.controls.only_if_cached:
                raise CacheOnlyMiss("only-if-cached was asked and there is no stored answer")
            reply = await service(call)
            return reply if consulted else _marked(reply, "bypass")

        return serve

    def fill(self, service: Service) -> Service:
        """Passes the reply of `service` on and keeps it if it may be kept."""

        async def serve(call: Call) -> Reply:
            generation = self._generation
            reply = await service(call)
            cleared = "" if generation == self._generation else "cleared"
            body = reply.body
            if isinstance(body, Whole):
                return self._keep_whole(call, reply, body.content, cleared)
            if isinstance(body, Value):
                return self._keep_value(call, reply, body, cleared)
            return reply

        return serve

    def reply(self, entry: Entry, now_s: float) -> Reply:
        """The stored answer as a reply of its own."""
        provenance = Provenance(
            hit=True,
            age_s=age_s(entry, now_s),
            ttl_s=entry.expires_s - now_s,
            target=entry.target,
            key=entry.key,
        )
        if entry.kind == "whole":
            body: Whole | Value = Whole(entry.content)
        else:
            body = Value(None, entry.content if entry.kind == "value" else None, entry.held, False)
        return Reply(entry.status, entry.headers, body, entry.usage, provenance)

    def remove(self, selection: Selection, *, dry_run: bool = False) -> int:
        """Removes the selected entries from every tier (with `dry_run` only counts them).

        Answers of calls that are under way now will not be stored.
        """
        now_s = self._clock.epoch()
        if not dry_run:
            self._generation += 1
        removed = self.memory.remove(selection, now_s=now_s, dry_run=dry_run)
        if self.below is None:
            return removed
        return max(removed, self.below.remove(selection, now_s=now_s, dry_run=dry_run))

    def list(self, selection: Selection, *, limit: int) -> builtins.list[Entry]:
        """Up to `limit` selected entries of the lowest tier (which has them all), or of memory."""
        store: Store = self.below or self.memory
        return store.list(selection, now_s=self._clock.epoch(), limit=limit)

    def skipped(self) -> dict[str, int]:
        """How many answers were not stored, by reason."""
        with self._lock:
            return dict(self._skipped)

    def count_skip(self, reason: str) -> None:
        with self._lock:
            self._skipped[reason] += 1

    async def _find(self, call: Call) -> Entry | None:
        """A fresh entry of any tier; memory once more at the end, as it may have come meanwhile."""
        return self._in_memory(call) or await self._below(call) or self._in_memory(call)

    def _in_memory(self, call: Call) -> Entry | None:
        now_s = self._clock.epoch()
        entry = self.memory.peek(call.key, now_s)
        return entry if entry and is_fresh(entry, call.controls, now_s) else None

    async def _below(self, call: Call) -> Entry | None:
        if self.below is None:
            return None
        now_s = self._clock.epoch()
        loop = asyncio.get_running_loop()
        entry = await loop.run_in_executor(None, self.below.get, call.key, call.scope, now_s)
        if entry is None or not is_fresh(entry, call.controls, now_s):
            return None
        self.memory.put(entry, now_s)
        return entry

    def _keep_whole(self, call: Call, reply: Reply, content: bytes, cleared: str) -> Reply:
        verdict = judge(call.operation, reply.status, content, limit_explicit=call.limit_explicit)
        if self._refused(call, verdict.skip or cleared):
            return replace(reply, usage=verdict.usage)
        reply = replace(reply, usage=verdict.usage)
        self._put(call, reply, "whole", content, finish=verdict.finish)
        return replace(reply, provenance=replace(reply.provenance, stored=True))

    def _keep_value(self, call: Call, reply: Reply, value: Value, cleared: str) -> Reply:
        if self._refused(call, "not_copyable" if value.loose else cleared):
            return reply
        if value.content is None:
            self._put(call, reply, "object", b"", held=value.held)
        else:
            self._put(call, reply, "value", value.content)
        return replace(reply, provenance=replace(reply.provenance, stored=True))

    def _refused(self, call: Call, skip: str) -> bool:
        reason = call.bypass or skip or ("" if call.controls.may_store else "no_store")
        if reason:
            self.count_skip(reason)
        return bool(reason)

    def _put(
        self, call: Call, reply: Reply, kind: str, content: bytes, finish: str = "",
        held: object = None,
    ) -> None:  # fmt: skip
        now_s = self._clock.epoch()
        entry = Entry(
            key=call.key,
            scope=call.scope,
            model=call.model,
            operation=call.operation,
            created_s=now_s,
            ttl_s=call.ttl_s,
            content=content,
            kind=kind,
            status=reply.status,
            headers=reply.headers,
            usage=reply.usage,
            target=call.target.name,
            finish=finish,
            namespace=call.controls.namespace,
            tags=call.controls.tags,
            held=held,
        )
        self.memory.put(entry, now_s)
        if self.below is not None and kind != "object":
            self.below.put(entry, now_s)


def _marked(reply: Reply, forward: str) -> Reply:
    return replace(reply, provenance=replace(reply.provenance, forward=forward))
