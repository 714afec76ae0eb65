"""Bytes on their way: what the toxics of the wire do to them, in virtual time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from virtualtime import run

from headgate.faultserver.dice import Dice
from headgate.faultserver.line import Ended, Outgoing, pump
from headgate.testing import Bandwidth, CutAt, Latency, Slicer, SlowClose, Toxic

SAID = b"0123456789"


class Wire:
    """Both ends of a connection inside one loop."""

    def __init__(self, writer: asyncio.StreamWriter, far: socket.socket, toxics: Any) -> None:
        self.writes: list[int] = []
        self.times_s: list[float] = []
        self.far = far
        self.outgoing = Outgoing(writer, Dice(1, 1), self._sent)
        for toxic in toxics:
            self.outgoing.poison(toxic)

    def _sent(self, size_bytes: int) -> None:
        self.writes.append(size_bytes)
        self.times_s.append(asyncio.get_running_loop().time())


def sent(*toxics: Toxic, act: Callable[[Wire], Awaitable[Any]] | None = None) -> tuple[Wire, bytes]:
    """SAID (or what `act` does) over a wire with these toxics; and what arrived."""

    async def converse() -> tuple[Wire, bytes]:
        near, far = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=near)
        writer.transport.set_write_buffer_limits(0)
        wire = Wire(writer, far, toxics)
        with far:
            await (act(wire) if act else wire.outgoing.send(SAID))
            far.setblocking(False)
            arrived = far.recv(1000)
            writer.close()
            await writer.wait_closed()
        return wire, arrived

    return run(converse())[0]


def test_without_toxics_bytes_go_in_one_write() -> None:
    wire, arrived = sent()
    assert (arrived, wire.writes) == (SAID, [10])


def test_a_slicer_makes_writes_of_one_byte_and_loses_none() -> None:
    wire, arrived = sent(Slicer(delay_s=2))
    assert (arrived, wire.writes) == (SAID, [1] * 10)
    assert wire.times_s == [2.0 * number for number in range(1, 11)]


def test_slices_vary_around_their_average_and_are_never_empty() -> None:
    wire, arrived = sent(Slicer(2, variation_bytes=2))
    assert arrived == SAID
    assert sum(wire.writes) == 10
    assert len(set(wire.writes)) > 1
    assert set(wire.writes) <= {1, 2, 3, 4}


def test_latency_delays_every_write_with_its_jitter() -> None:
    wire, _ = sent(Slicer(5), Latency(10, jitter_s=3))
    first, second = wire.times_s[0], wire.times_s[1] - wire.times_s[0]
    assert all(7 <= delay <= 13 for delay in (first, second))
    assert first != second


def test_latencies_add_up() -> None:
    wire, _ = sent(Latency(1), Latency(2))
    assert wire.times_s == [3.0]


def test_bandwidth_is_what_it_says() -> None:
    wire, arrived = sent(Bandwidth(2))
    assert arrived == SAID
    assert wire.times_s[-1] == pytest.approx(5.0)
    wire, _ = sent(Bandwidth(200))
    assert wire.writes == [4, 4, 2], "fifty writes a second, so that it flows"


def test_a_slow_close_comes_late() -> None:
    async def close(wire: Wire) -> None:
        await wire.outgoing.send(SAID)
        await wire.outgoing.close()
        wire.times_s.append(asyncio.get_running_loop().time())

    assert sent(SlowClose(7), act=close)[0].times_s == [0.0, 7.0]
    assert sent(act=close)[0].times_s == [0.0, 0.0]


def pumped(*toxics: Toxic, sends: bytes = SAID) -> tuple[Any, list[int], float]:
    """What comes out of a pump with these toxics, with its exception; what it read; seconds."""
    read: list[int] = []

    async def carry() -> Any:
        outer, inner = asyncio.StreamReader(), asyncio.StreamReader()
        outer.feed_data(sends)
        outer.feed_eof()
        try:
            async with asyncio.timeout(3600):
                await pump(outer, inner, list(toxics), Dice(1, 1), read.append)
        except (Ended, TimeoutError) as error:
            return error, await inner.read()
        return await inner.read()

    outcome, took_s = run(carry())
    return outcome, read, took_s


def test_a_pump_carries_everything_and_the_end() -> None:
    assert pumped() == (SAID, [10], 0.0)


def test_what_a_client_sends_can_be_late_and_slow() -> None:
    assert pumped(Latency(4, direction="up")) == (SAID, [10], 4.0)
    outcome, read, took_s = pumped(Bandwidth(2, direction="up"))
    assert (outcome, read, took_s) == (SAID, [1] * 10, pytest.approx(5.0))


@pytest.mark.parametrize(("by", "how"), [("fin", "cut"), ("rst", "reset")])
def test_a_request_can_be_cut_at_the_very_byte(by: Any, how: str) -> None:
    outcome, read, _ = pumped(CutAt(4, by=by, direction="up"))
    error, arrived = outcome
    assert isinstance(error, Ended)
    assert (error.how, arrived, sum(read)) == (how, SAID[:4], 4)


def test_a_request_longer_than_its_cut_in_pieces_is_cut_there_too() -> None:
    outcome, read, _ = pumped(CutAt(3, direction="up"), Bandwidth(50, direction="up"))
    assert isinstance(outcome[0], Ended)
    assert read == [1, 1, 1]


def test_a_request_shorter_than_its_cut_is_not_cut() -> None:
    assert pumped(CutAt(11, direction="up"))[0] == SAID


def test_a_stalled_request_is_read_no_further() -> None:
    outcome, read, took_s = pumped(CutAt(4, by="stall", direction="up"))
    assert isinstance(outcome[0], TimeoutError)
    assert (read, took_s) == ([4], 3600.0)


def test_a_broken_connection_is_passed_on_and_wakes_the_reader() -> None:
    async def carry() -> bytes:
        outer, inner = asyncio.StreamReader(), asyncio.StreamReader()
        outer.set_exception(ConnectionResetError())
        with pytest.raises(ConnectionResetError):
            await pump(outer, inner, [], Dice(1, 1), lambda _: None)
        return await inner.read()

    assert run(carry())[0] == b""
