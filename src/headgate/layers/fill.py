"""The exact cache, lower half: keeps what came from upstream, if it may be kept.

It stands below coalesce on purpose: the entry is there before the flight is forgotten, so no
caller can fall between the two and ask again.
"""

from __future__ import annotations

import threading
from collections import Counter

from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.verdict import judge
from headgate.stores.tiers import Tiers
from headgate.stream import Value, Whole
from headgate.types import Call, Entry, Reply, Service


class Fill:
    """The layer, and how many answers it did not store, by reason."""

    def __init__(self, tiers: Tiers, clock: Clock) -> None:
        self._tiers = tiers
        self._clock = clock
        self._skipped: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, below: Service) -> Service:
        async def service(call: Call) -> Reply:
            generation = self._tiers.generation
            reply = await below(call)
            cleared = "" if generation == self._tiers.generation else "cleared"
            body = reply.body
            if isinstance(body, Whole):
                return self._keep_whole(call, reply, body.content, cleared)
            if isinstance(body, Value):
                return self._keep_value(call, reply, body, cleared)
            return reply

        return service

    def skipped(self) -> dict[str, int]:
        """How many answers were not stored, by reason."""
        with self._lock:
            return dict(self._skipped)

    def _keep_whole(self, call: Call, reply: Reply, content: bytes, cleared: str) -> Reply:
        verdict = judge(call.operation, reply.status, content, limit_explicit=call.limit_explicit)
        reply = replace(reply, usage=verdict.usage)
        if self._refused(call, verdict.skip or cleared):
            return reply
        entry = replace(self._entry(call, reply, content, "whole"), finish=verdict.finish)
        return self._put(entry, reply)

    def _keep_value(self, call: Call, reply: Reply, value: Value, cleared: str) -> Reply:
        if self._refused(call, "not_copyable" if value.loose else cleared):
            return reply
        content, kind = (b"", "object") if value.content is None else (value.content, "value")
        entry = replace(self._entry(call, reply, content, kind), held=value.held)
        return self._put(entry, reply)

    def _refused(self, call: Call, skip: str) -> bool:
        reason = call.bypass or skip or ("" if call.controls.may_store else "no_store")
        if reason:
            with self._lock:
                self._skipped[reason] += 1
        return bool(reason)

    def _put(self, entry: Entry, reply: Reply) -> Reply:
        self._tiers.put(entry)
        return replace(reply, provenance=replace(reply.provenance, stored=True))

    def _entry(self, call: Call, reply: Reply, content: bytes, kind: str) -> Entry:
        return Entry(
            key=call.key,
            scope=call.scope,
            model=call.model,
            operation=call.operation,
            created_s=self._clock.epoch(),
            ttl_s=call.ttl_s,
            content=content,
            kind=kind,
            status=reply.status,
            headers=reply.headers,
            usage=reply.usage,
            target=call.target.name,
            namespace=call.controls.namespace,
            tags=call.controls.tags,
        )
