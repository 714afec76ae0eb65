"""Takes embeddings calls apart: each input is looked for, joined, asked for and kept by itself, and
the reply is put together again, in the order of the inputs.

Above the cache, because what is stored is the answer to one input: of a list that is half known
only the other half is asked for, and no input can get another one's vector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence

from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.canonical import canonical
from headgate.core.embedding_inputs import Inputs, asked_in, has_company, keys_of, tokens_of
from headgate.core.embedding_reply import piece_in
from headgate.core.freshness import age_s
from headgate.joining.parts import Part, whole_of_parts
from headgate.joining.seats import Party, Seat
from headgate.stores.tiers import Tiers
from headgate.types import Call, Entry, Invocation, Layer, Provenance, Reply, Service

_FAILS = 400


def inputs(tiers: Tiers, clock: Clock, ignored: Collection[str]) -> Layer:
    """The layer; `ignored` are the fields that enter no key. One input fails for all of its call.
    A call that asks for nothing to be kept is nobody's company, and goes as it is."""

    def layer(below: Service) -> Service:
        parting = _Parting(below, tiers, clock, ignored)

        # No frame of its own for what is no embeddings call.
        def service(call: Call) -> Awaitable[Reply]:
            known: Inputs | None = call.inputs
            if known is None or not call.controls.may_store:
                return below(call)
            if known.count == 1:
                return below(replace(call, seat=Seat()))
            return parting.ask(call, known)

        return service

    return layer


class _Parting:
    def __init__(
        self, below: Service, tiers: Tiers, clock: Clock, ignored: Collection[str]
    ) -> None:
        self._below = below
        self._tiers = tiers
        self._clock = clock
        self._ignored = ignored

    async def ask(self, call: Call, known: Inputs) -> Reply:
        party = Party()
        keys, parts = self._parted(call, known, party)
        replies = await self._stored(call, parts)
        absent = [part for part in parts if part.key not in replies]
        party.size, party.tokens = len(absent), sum(part.seat.tokens for part in absent)
        replies |= await _all(self._below, absent)
        in_order = [replies[key] for key in keys]
        failed = next((reply for reply in in_order if reply.status >= _FAILS), None)
        return failed or whole_of_parts(call, keys, in_order)

    def _parted(self, call: Call, known: Inputs, party: Party) -> tuple[list[bytes], list[Call]]:
        """The key of each input, and a call for each that differs from those before it."""
        if isinstance(call.request, Invocation):
            raise TypeError("what a callable asks is not taken apart")
        asked = asked_in(call.request.body)
        terms = canonical(asked.rest) + (b"t" if asked.is_text else b"n")
        found = keys_of(asked, call.model, known.prefix, self._ignored)
        parts: dict[bytes, Call] = {}
        for item, (key, written) in zip(asked.inputs, found, strict=True):
            if key not in parts:
                seat = Seat(party, written, tokens_of(item))
                seat.terms, seat.joins = terms, has_company(item)
                parts[key] = replace(call, key=key, seat=seat)
        return [key for key, _ in found], list(parts.values())

    async def _stored(self, call: Call, parts: Sequence[Call]) -> dict[bytes, Reply]:
        if not call.controls.may_read or call.bypass:
            return {}
        entries = await self._tiers.find_all(parts)
        now_s = self._clock.epoch()
        found = {key: _hit(entry, now_s) for key, entry in entries.items()}
        for part in parts:
            part.seat.is_absent = found.get(part.key) is None
        return {key: hit for key, hit in found.items() if hit is not None}


def _hit(entry: Entry, now_s: float) -> Reply | None:
    """None for an answer that is not to one input, which a provider gave all the same."""
    piece = piece_in(entry.content)
    if piece is None:
        return None
    origin = Provenance(
        hit=True, age_s=age_s(entry, now_s), ttl_s=entry.expires_s - now_s, target=entry.target
    )
    return Reply(entry.status, entry.headers, Part(entry.content, piece), entry.usage, origin)


async def _all(below: Service, calls: Sequence[Call]) -> dict[bytes, Reply]:
    """The replies by key. Where one fails nobody waits for the others any more; of several errors
    the first input's is raised."""
    tasks = [asyncio.ensure_future(below(call)) for call in calls]
    for task in tasks:
        task.add_done_callback(_seen)
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        broken = next((task for task in tasks if task.done() and task.exception()), None)
        if broken is not None:
            broken.result()
        return {call.key: task.result() for call, task in zip(calls, tasks, strict=True)}
    finally:
        for task in tasks:
            task.cancel()


def _seen(task: asyncio.Future[Reply]) -> None:
    """Its error is told by another's, or to nobody."""
    if not task.cancelled():
        task.exception()
