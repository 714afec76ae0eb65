"""The exact cache, upper half: answers from the tiers, else asks below. `fill` writes to them."""

from __future__ import annotations

from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.freshness import age_s
from headgate.errors import CacheOnlyMiss
from headgate.stores.tiers import Tiers
from headgate.stream import Value, Whole
from headgate.types import Call, Entry, Layer, Provenance, Reply, Service


def cache(tiers: Tiers, clock: Clock) -> Layer:
    """Serves a fresh stored answer; raises CacheOnlyMiss where the caller wants no other."""

    def layer(below: Service) -> Service:
        async def service(call: Call) -> Reply:
            consulted = not call.bypass and call.controls.may_read
            entry = await tiers.find(call) if consulted else None
            if entry is not None:
                return entry_reply(entry, clock.epoch())
            if call.controls.only_if_cached:
                raise CacheOnlyMiss("only-if-cached was asked and there is no stored answer")
            reply = await below(call)
            return reply if consulted else _bypassed(reply)

        return service

    return layer


def entry_reply(entry: Entry, now_s: float) -> Reply:
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


def _bypassed(reply: Reply) -> Reply:
    return replace(reply, provenance=replace(reply.provenance, forward="bypass"))
