"""One connection of the fault server: reads requests, plays the script of each, writes down how it
went."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

from headgate.clock import Clock
from headgate.faultserver.answers import Prepared, prepare
from headgate.faultserver.desk import Desk
from headgate.faultserver.dice import Dice
from headgate.faultserver.flow import Flow
from headgate.faultserver.line import Ended, Outgoing, pump
from headgate.faultserver.marks import without_credentials
from headgate.faultserver.playbook import Playbook
from headgate.faultserver.records import Exchange, Link, Records
from headgate.faultserver.steps import (
    SENDING,
    Chunk,
    Close,
    Delay,
    End,
    FaultStep,
    Head,
    Pause,
    Raw,
    Usual,
)
from headgate.faultserver.toxics import CutAt, Toxic
from headgate.testing_server import HEAD_BYTES_MAX, Malformed, Recorded, read_request
from headgate.testing_steps import Answer, Cut, Hang, Status


class House(NamedTuple):
    """What all connections of a server share."""

    seed: int
    clock: Clock
    records: Records
    scripts: Playbook[FaultStep]
    gate: asyncio.Event
    """Answers wait while it is not set."""
    desk: Desk
    """Where files and batches are handed in."""


class Conversation:
    """Serves one client until either side ends it."""

    def __init__(
        self,
        house: House,
        link: Link,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        toxics: tuple[Toxic, ...],
    ) -> None:
        self._house = house
        self._link = link
        self._reader, self._writer = streams
        self._up = [toxic for toxic in toxics if _is_up(toxic)]
        self._down = [toxic for toxic in toxics if not _is_up(toxic)]
        self._line: Outgoing | None = None
        self._pumping: asyncio.Task[None] | None = None

    async def run(self) -> str:
        """How it ended."""
        arriving = asyncio.StreamReader(limit=HEAD_BYTES_MAX)
        dice = Dice(self._house.seed, 2 * self._link.number)
        self._pumping = asyncio.create_task(
            pump(self._reader, arriving, self._up, dice, self._read)
        )
        try:
            how = await self._converse(arriving)
        except Ended as end:
            how = end.how
        except (OSError, EOFError):
            how = self._who_ended("client_left")
        except (asyncio.LimitOverrunError, Malformed):
            how = "refused"
        finally:
            self._pumping.cancel()
            await asyncio.gather(self._pumping, return_exceptions=True)
        await self._hang_up(how)
        return how

    def _who_ended(self, otherwise: str) -> str:
        """How the way up ended, if it was a toxic that ended it."""
        pumping = self._pumping
        ended = pumping.exception() if pumping is not None and pumping.done() else None
        return ended.how if isinstance(ended, Ended) else otherwise

    async def _hang_up(self, how: str) -> None:
        line = self._line or Outgoing(self._writer, Dice(self._house.seed, 0), lambda _: None)
        if how == "reset":
            line.reset()
        elif how in ("complete", "cut"):
            await line.close()
        else:
            self._writer.transport.abort()

    def _read(self, size_bytes: int) -> None:
        self._house.records.note(self._link, bytes_in=self._link.bytes_in + size_bytes)

    async def _converse(self, arriving: asyncio.StreamReader) -> str:
        early = b""
        while True:
            request = await read_request(arriving, self._writer, early)
            if request is None:
                return self._who_ended("complete")
            early = await self._exchange(request, arriving)

    async def _exchange(self, request: Recorded, arriving: asyncio.StreamReader) -> bytes:
        """One request and its answer; the first byte of the next request if that came meanwhile.
        Raises Ended where the connection ends with it."""
        records, clock = self._house.records, self._house.clock
        prepared = prepare(request, records.next_serial())
        steps = self._house.scripts.take(prepared.model, request.headers, prepared.operation)
        if _takes_on(steps):
            prepared = self._house.desk.served(prepared)
        exchange = _written(prepared, self._link.number, clock.monotonic(), steps)
        records.add(exchange)
        records.note(self._link, requests=self._link.requests + 1)
        dice = Dice(self._house.seed, 2 * exchange.serial + 1)
        self._line = Outgoing(self._writer, dice, lambda size: self._sent(exchange, size))
        flow = Flow(self._line, prepared, lambda **changes: records.note(exchange, **changes), dice)
        how = "dropped"
        try:
            playing = self._play(steps, _Scene(exchange, prepared, flow, dice))
            how, early = await _unless_left(arriving, flow, playing)
        except Ended as end:
            how = self._who_ended(end.how) if end.how == "client_left" else end.how
            raise Ended(how) from None
        finally:
            # What was sent to its end has ended so, even if the connection was cut a moment later.
            how = flow.ended if how == "dropped" and flow.ended else how
            records.note(exchange, ended=how, ended_s=clock.monotonic())
        asked_to_close = request.headers.get("connection", "").lower() == "close"
        if how not in ("complete", "clean") or asked_to_close or not flow.keeps_connection:
            raise Ended("complete" if how == "clean" else how)
        return early

    def _sent(self, exchange: Exchange, size_bytes: int) -> None:
        self._house.records.note(exchange, wire_bytes=exchange.wire_bytes + size_bytes)
        self._house.records.note(self._link, bytes_out=self._link.bytes_out + size_bytes)

    async def _play(self, steps: tuple[FaultStep, ...], scene: _Scene) -> str:
        """How the answer ended."""
        try:
            await self._house.gate.wait()
            for toxic in self._down:
                await scene.flow.poison(toxic)
            for step in steps:
                await self._step(step, scene)
            if not any(isinstance(step, SENDING) for step in steps):
                await scene.flow.play(scene.prepared.usual())
            await scene.flow.end()
        except Ended as end:
            return end.how
        return "complete"

    async def _step(self, step: FaultStep, scene: _Scene) -> None:
        flow = scene.flow
        match step:
            case Toxic():
                await self._strike(step, scene)
            case Delay():
                await asyncio.sleep(step.seconds)
            case Pause():
                await step.wait()
            case Head():
                await flow.head(step.status, step.headers, is_chunked=step.is_chunked)
            case Raw():
                await flow.raw(step.content)
            case Chunk():
                await flow.plan_head(scene.prepared.usual())
                await flow.body(step.content)
            case Usual():
                await _some(step, scene)
            case End():
                await flow.end()
            case Close():
                raise Ended("reset" if step.by == "rst" else "cut")
            case _:
                await _whole(step, scene)

    async def _strike(self, toxic: Toxic, scene: _Scene) -> None:
        if scene.dice.strikes(toxic.probability):
            acting = (*scene.exchange.toxics, type(toxic).__name__)
            self._house.records.note(scene.exchange, toxics=acting)
            await scene.flow.poison(toxic)


class _Scene(NamedTuple):
    """What the steps of one script work on."""

    exchange: Exchange
    prepared: Prepared
    flow: Flow
    dice: Dice


async def _some(step: Usual, scene: _Scene) -> None:
    plan = scene.prepared.usual()
    await scene.flow.plan_head(plan)
    for piece in plan.pieces[step.first : step.last]:
        await scene.flow.body(piece)


async def _whole(step: Answer | Status | Cut | Hang, scene: _Scene) -> None:
    """The steps of the fake provider."""
    if isinstance(step, Cut | Hang):
        is_cut = isinstance(step, Cut)
        await scene.flow.poison(CutAt(step.after_bytes, by="fin" if is_cut else "stall"))
        step = Answer()
    await scene.flow.play(scene.prepared.plan(step))


async def _unless_left(
    arriving: asyncio.StreamReader, flow: Flow, playing: Coroutine[Any, Any, str]
) -> tuple[str, bytes]:
    """Runs `playing` while the client stays: what it returned, and the first byte of a next request
    that came meanwhile. Raises Ended where the client left first."""
    work = asyncio.ensure_future(playing)
    watch = asyncio.ensure_future(arriving.read(1))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        early = _early(watch)
        if early or flow.is_deaf:
            await asyncio.wait({work})
        if not work.done():
            raise Ended("client_left")
        return work.result(), early
    except OSError:
        raise Ended("client_left") from None
    finally:
        work.cancel()
        watch.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)


def _early(watch: asyncio.Future[bytes]) -> bytes:
    """What came behind the request; empty if nothing, or if the client has gone."""
    return watch.result() if watch.done() and not watch.exception() else b""


def _written(
    prepared: Prepared, connection: int, now_s: float, steps: tuple[FaultStep, ...]
) -> Exchange:
    request = prepared.request
    return Exchange(
        serial=prepared.mark.serial,
        connection=connection,
        arrived_s=now_s,
        method=request.method,
        path=request.path,
        headers=without_credentials(request.headers),
        raw=request.raw,
        body=request.body,
        operation=prepared.operation,
        model=prepared.model,
        credential=prepared.credential,
        tenant=prepared.mark.tenant,
        is_streamed=prepared.is_streamed,
        tokens_in=prepared.tokens_in if _takes_on(steps) else 0,
    )


def _takes_on(steps: tuple[FaultStep, ...]) -> bool:
    """Whether a script takes the request on, as opposed to one that refuses it by its status."""
    statuses = (step.status for step in steps if isinstance(step, Head | Answer | Status))
    return next(statuses, 200) < 400


def _is_up(toxic: Toxic) -> bool:
    return getattr(toxic, "direction", "down") == "up"
