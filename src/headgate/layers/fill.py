"""The exact cache, lower half: keeps what came from upstream, if it may be kept, and books the
tokens of every answer that came, kept or not: once, however many callers share it.

It stands below coalesce on purpose: the entry is there before the flight is forgotten, so no
caller can fall between the two and ask again.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.keeping import reason_of, worth
from headgate.core.verdict import judge
from headgate.events import Events, looked_at
from headgate.metrics import Metrics
from headgate.stores.tiers import Tiers
from headgate.stream import Value, Whole
from headgate.trail import note_not_stored, note_stored
from headgate.types import NO_USAGE, Call, Entry, Reply, Service


class Fill:
    """The layer, and how many answers it and `before` did not store, by reason. A longer answer
    than `entry_max_bytes` is not stored."""

    def __init__(
        self, tiers: Tiers, clock: Clock, metrics: Metrics, entry_max_bytes: int = 8_000_000,
        before: Fill | None = None,
    ) -> None:  # fmt: skip
        self._tiers = tiers
        self._clock = clock
        self._metrics = metrics
        self._entry_max_bytes = entry_max_bytes
        self._skipped: Counter[str] = Counter() if before is None else before._skipped
        self._lock: threading.Lock = threading.Lock() if before is None else before._lock

    def __call__(self, below: Service) -> Service:
        async def service(call: Call) -> Reply:
            generation = self._tiers.generation
            reply = await below(call)
            body = reply.body
            if isinstance(body, Whole):
                return self._keep_whole(call, reply, body, generation)
            if isinstance(body, Value):
                return self._keep_value(call, reply, body, generation)
            return self._watch(call, reply, generation)

        return service

    def skipped(self) -> dict[str, int]:
        """How many answers were not stored, by reason."""
        with self._lock:
            return dict(self._skipped)

    def _keep_whole(self, call: Call, reply: Reply, body: Whole, generation: int) -> Reply:
        explicit, content = call.limit_explicit and call.policy.truncated, body.content
        verdict = body.verdict or judge(
            call.operation, reply.status, content, limit_explicit=explicit
        )
        reply = reply if reply.usage is verdict.usage else replace(reply, usage=verdict.usage)
        skip, ttl_s = worth(call.policy, call.ttl_s, verdict)
        if call.streamed:
            skip = skip or "shape"
        if len(content) > self._entry_max_bytes:
            skip = skip or "too_large"
        if self._refused(call, reply, skip, generation):
            return reply
        entry = self._entry(call, reply, content, "whole", ttl_s=ttl_s, finish=verdict.finish)
        return self._put(entry, reply)

    def _keep_value(self, call: Call, reply: Reply, value: Value, generation: int) -> Reply:
        if self._refused(call, reply, "not_copyable" if value.loose else "", generation):
            return reply
        content, kind = (b"", "object") if value.content is None else (value.content, "value")
        entry = self._entry(call, reply, content, kind, ttl_s=call.ttl_s, held=value.held)
        return self._put(entry, reply)

    def _watch(self, call: Call, reply: Reply, generation: int) -> Reply:
        """A stream is looked at event by event, and kept when its terminal marker has passed."""
        body: Any = reply.body
        if not isinstance(body, Events):
            body = looked_at(call.operation, reply.status, body, self._entry_max_bytes)
            if body is None:
                return reply

        def on_end(events: Events, error: BaseException | None) -> None:
            self._keep_stream(call, reply, events, error, generation)

        body.watch(on_end)
        return replace(reply, body=body)

    def _keep_stream(
        self, call: Call, reply: Reply, events: Events, error: BaseException | None, generation: int
    ) -> None:
        explicit = call.limit_explicit and call.policy.truncated
        verdict = events.inspection.verdict(limit_explicit=explicit, choices=call.choices)
        reply = replace(reply, usage=verdict.usage)
        content = events.content()
        skip, ttl_s = worth(call.policy, call.ttl_s, verdict)
        if error is not None and not events.inspection.has_failed:
            skip = reason_of(error)
        if not call.streamed:
            skip = skip or "shape"
        if content is None:
            skip = skip or "too_large"
        if not self._refused(call, reply, skip, generation):
            more = {"ttl_s": ttl_s, "finish": verdict.finish, "usage_at": events.usage_at}
            self._tiers.put(self._entry(call, reply, content or b"", "stream", **more))

    def _refused(self, call: Call, reply: Reply, skip: str, generation: int) -> bool:
        """Books the answer, and whether it is not to be stored."""
        if reply.usage is not NO_USAGE:
            self._metrics.record_usage(call.model, reply.usage)
        is_cleared = generation != self._tiers.generation
        reason = call.bypass or skip or ("cleared" if is_cleared else "")
        if not call.controls.may_store or reply.provenance.is_stand_in:
            reason = reason or ("stand_in" if call.controls.may_store else "no_store")
        if reason:
            with self._lock:
                self._skipped[reason] += 1
            note_not_stored(call, reason)
        return bool(reason)

    def _put(self, entry: Entry, reply: Reply) -> Reply:
        self._tiers.put(entry)
        return replace(reply, provenance=replace(reply.provenance, stored=True))

    def _entry(self, call: Call, reply: Reply, content: bytes, kind: str, **more: Any) -> Entry:
        note_stored(call, more["ttl_s"])
        return Entry(
            key=call.key,
            scope=call.scope,
            model=call.model,
            operation=call.operation,
            created_s=self._clock.epoch(),
            content=content,
            kind=kind,
            status=reply.status,
            headers=reply.headers,
            usage=reply.usage,
            target=reply.provenance.target or call.target.name,
            namespace=call.controls.namespace,
            tags=call.controls.tags,
            **more,
        )
