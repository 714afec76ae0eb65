"""The exact cache, upper half: answers from the tiers, else asks below. `fill` writes to them."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.fingerprint import shape_key
from headgate.core.freshness import age_s, stale_allowance_s
from headgate.errors import CacheOnlyMiss, Refused, UpstreamFailed
from headgate.reshape import entry_in_shape
from headgate.stores.tiers import Tiers
from headgate.stream import Recorded, Value, Whole
from headgate.types import Call, Entry, Layer, Provenance, Reply, Service

STALE_IF_STATUS = frozenset({500, 502, 503, 504, 529})
"""Failures that a stale answer may stand in for. Never a 4xx: that is an answer."""


class Serving(Struct, frozen=True):
    """How stored answers are served; see the settings of the same names."""

    stale_if_error_s: float = 0.0
    max_stale_s: float = 0.0
    replay_pause_s: float = 0.0


def cache(tiers: Tiers, clock: Clock, serving: Serving) -> Layer:
    """Serves a fresh stored answer, and a stale one where asking failed and the caller allows it;
    raises CacheOnlyMiss where the caller wants no other."""
    return lambda below: _Caching(below, tiers, clock, serving).ask


class _Caching:
    def __init__(self, below: Service, tiers: Tiers, clock: Clock, serving: Serving) -> None:
        self._below = below
        self._tiers = tiers
        self._clock = clock
        self._serving = serving

    async def ask(self, call: Call) -> Reply:
        consulted = call.controls.may_read and not call.bypass
        if consulted and not (call.seat is not None and call.seat.is_absent):
            entry, call = await self._find(call, 0.0)
            if entry is not None:
                return self._served(entry, call)
        if call.controls.only_if_cached:
            raise CacheOnlyMiss("only-if-cached was asked and there is no stored answer")
        if not consulted:
            return _bypassed(await self._below(call))
        serving = self._serving
        stale_s = stale_allowance_s(call.controls, serving.stale_if_error_s, serving.max_stale_s)
        return await (self._ask_or_stale(call, stale_s) if stale_s > 0 else self._below(call))

    async def _find(self, call: Call, stale_s: float) -> tuple[Entry | None, Call]:
        """The entry for `call` in its own shape. Where the one both shapes share cannot be turned
        into it, the call goes on under the key of its shape."""
        entry = await self._tiers.find(call, stale_s)
        if entry is None:
            return None, call
        shaped = entry_in_shape(entry, streamed=call.streamed)
        if shaped is not None:
            return shaped, call
        own = replace(call, key=shape_key(call.key, streamed=call.streamed))
        entry = await self._tiers.find(own, stale_s)
        return entry and entry_in_shape(entry, streamed=call.streamed), own

    async def _ask_or_stale(self, call: Call, stale_s: float) -> Reply:
        try:
            reply = await self._below(call)
        except (UpstreamFailed, Refused) as error:
            stale = await self._stale(call, stale_s)
            if stale is None:
                raise
            return stale if isinstance(error, Refused) else _forwarded(stale, 0)
        stale = await self._stale(call, stale_s) if reply.status in STALE_IF_STATUS else None
        if stale is None:
            return reply
        await reply.body.aclose()
        return _forwarded(stale, reply.status)

    async def _stale(self, call: Call, stale_s: float) -> Reply | None:
        entry, call = await self._find(call, stale_s)
        if entry is None:
            return None
        reply = self._served(entry, call)
        return replace(reply, provenance=replace(reply.provenance, detail="stale-if-error"))

    def _served(self, entry: Entry, call: Call) -> Reply:
        return entry_reply(
            entry,
            self._clock.epoch(),
            usage_wanted=call.usage_wanted,
            pause_s=self._serving.replay_pause_s,
        )


def entry_reply(
    entry: Entry, now_s: float, *, usage_wanted: bool = True, pause_s: float = 0.0
) -> Reply:
    """The stored answer as a reply of its own; the events of a stream are `pause_s` apart."""
    provenance = Provenance(
        hit=True,
        age_s=age_s(entry, now_s),
        ttl_s=entry.expires_s - now_s,
        target=entry.target,
        key=entry.key,
    )
    body: Whole | Recorded | Value
    if entry.kind == "whole":
        body = Whole(entry.content)
    elif entry.kind == "stream":
        body = Recorded(entry.content, (0, 0) if usage_wanted else entry.usage_at, pause_s)
    else:
        body = Value(None, entry.content if entry.kind == "value" else None, entry.held, False)
    return Reply(entry.status, entry.headers, body, entry.usage, provenance)


def _forwarded(reply: Reply, status: int) -> Reply:
    """A stale reply that stands in for a failed attempt: no hit, because the call was forwarded."""
    provenance = replace(
        reply.provenance, hit=False, forward="stale", forward_status=status, attempts=1
    )
    return replace(reply, provenance=provenance)


def _bypassed(reply: Reply) -> Reply:
    return replace(reply, provenance=replace(reply.provenance, forward="bypass"))
