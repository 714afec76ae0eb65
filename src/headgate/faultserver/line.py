"""Bytes between the server and one client: late, slow and in slices as the toxics of the wire say,
and the rough ways to end. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator

from headgate.faultserver.dice import Dice
from headgate.faultserver.toxics import Bandwidth, CutAt, Latency, Slicer, SlowClose, Toxic

# Closing with this set sends a reset instead of an end of file.
_NO_LINGER = struct.pack("ii", 1, 0)
_READ_BYTES = 65_536
# How many pieces a second a bandwidth is cut into.
_PIECES_PER_S = 50


class Ended(Exception):
    """The conversation is over; `how` is one of `records.ENDINGS`. `clean` alone leaves the
    connection in use."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Outgoing:
    """The way down to one client. `on_sent` is told the size of every write."""

    def __init__(
        self, writer: asyncio.StreamWriter, dice: Dice, on_sent: Callable[[int], None]
    ) -> None:
        self._writer = writer
        self._dice = dice
        self._on_sent = on_sent
        self._toxics: list[Toxic] = []

    def poison(self, toxic: Toxic) -> None:
        """Puts a toxic of the wire in the way of all that follows."""
        self._toxics.append(toxic)

    async def send(self, content: bytes) -> None:
        """Hands over all of it; returns when it has left this process."""
        for piece in self._slices(content):
            await _delays(self._toxics, self._dice, len(piece))
            self._writer.write(piece)
            await self._writer.drain()
            self._on_sent(len(piece))

    async def close(self) -> None:
        """An end of file, as late as the toxics say."""
        for toxic in self._toxics:
            if isinstance(toxic, SlowClose):
                await asyncio.sleep(toxic.delay_s)
        self._writer.close()

    def reset(self) -> None:
        """A reset; bytes that have not left are lost."""
        set_no_linger(self._writer.get_extra_info("socket"))
        self._writer.transport.abort()

    def _slices(self, content: bytes) -> Iterator[bytes]:
        slicer = next((toxic for toxic in self._toxics if isinstance(toxic, Slicer)), None)
        bandwidth = min(
            (t.bytes_per_s for t in self._toxics if isinstance(t, Bandwidth)), default=0
        )
        while content:
            size = len(content)
            if slicer is not None:
                size = round(self._dice.around(slicer.average_bytes, slicer.variation_bytes))
            elif bandwidth:
                size = int(bandwidth / _PIECES_PER_S)
            size = max(1, size)
            yield content[:size]
            content = content[size:]


async def _delays(toxics: list[Toxic], dice: Dice, size_bytes: int) -> None:
    for toxic in toxics:
        if isinstance(toxic, Latency):
            await asyncio.sleep(dice.around(toxic.delay_s, toxic.jitter_s))
        elif isinstance(toxic, Bandwidth):
            await asyncio.sleep(size_bytes / toxic.bytes_per_s)
        elif isinstance(toxic, Slicer):
            await asyncio.sleep(toxic.delay_s)


async def pump(
    outer: asyncio.StreamReader,
    inner: asyncio.StreamReader,
    toxics: list[Toxic],
    dice: Dice,
    on_read: Callable[[int], None],
) -> None:
    """Carries what a client sends from `outer` to `inner`, as its upward toxics allow, until its
    end. Raises Ended where a toxic ends it, OSError where the connection breaks; `inner` sees an
    end of file in any case: an exception would not wake who reads it (asyncio 3.11)."""
    slowest = min((t.bytes_per_s for t in toxics if isinstance(t, Bandwidth)), default=0.0)
    most = max(1, int(slowest / _PIECES_PER_S)) if slowest else _READ_BYTES
    cuts = sorted((t for t in toxics if isinstance(t, CutAt)), key=lambda cut: cut.after_bytes or 0)
    cut = cuts[0] if cuts else None
    left = cut.after_bytes or 0 if cut else 0
    try:
        while content := await outer.read(min(most, max(1, left)) if cut else most):
            on_read(len(content))
            await _delays(toxics, dice, len(content))
            inner.feed_data(content)
            left -= len(content)
            await _cut_if(cut, left)
    finally:
        inner.feed_eof()


async def _cut_if(cut: CutAt | None, left: int) -> None:
    if cut is None or left > 0:
        return
    if cut.by == "stall":
        await asyncio.Event().wait()
    raise Ended("reset" if cut.by == "rst" else "cut")


def set_no_linger(connection: socket.socket) -> None:
    """Closing this connection resets it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
