"""The words of a script: what the server does about one request, step by step. Values only, and the
one step that a test holds in its hand.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from headgate.faultserver.toxics import Toxic
from headgate.testing_steps import Answer, Cut, Hang, Status


class Delay(Struct, frozen=True):
    """Real seconds in which nothing happens."""

    seconds: float


class Head(Struct, frozen=True):
    """Status line and headers. What follows are HTTP chunks, unless `is_chunked` is false: then
    bytes as they are, as many as a `content-length` among the headers declares (any number is sent
    that you write), or until the connection is closed."""

    status: int = 200
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"content-type": "text/event-stream"}
    )
    is_chunked: bool = True


class Chunk(Struct, frozen=True):
    """A piece of the body; an HTTP chunk where the head said so. Without a head before it, that of
    the usual answer goes first."""

    content: bytes


class Raw(Struct, frozen=True):
    """Bytes for the wire as they are, illegal ones too; no head is put before them."""

    content: bytes


class Usual(Struct, frozen=True):
    """Pieces `first` (from 0) up to `last` (not included; None: all) of the usual answer; with the
    usual head where none was sent. A whole answer is one piece, a stream one for each event."""

    first: int = 0
    last: int | None = None


class End(Struct, frozen=True):
    """Ends the body as HTTP wants it ended, and keeps the connection."""


class Close(Struct, frozen=True):
    """Closes the connection, or resets it."""

    by: Literal["fin", "rst"] = "fin"


class Pause:
    """A step at which the answer waits until the test lets it go on; for one request or many.

    `wait_reached` blocks until an answer has come this far, `release` lets every one pass that
    waits or will come. Both from any thread but the server's.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reached = 0
        self._is_open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def wait_reached(self, count: int = 1, timeout_s: float = 10.0) -> None:
        """Blocks until `count` answers have reached this step. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._reached >= count, timeout_s):
                message = f"{self._reached} of {count} answers reached the pause in {timeout_s:g} s"
                raise TimeoutError(message)

    def release(self) -> None:
        """Lets every answer go on, those that come later too."""
        with self._changed:
            self._is_open = True
            for loop, released in self._waiting:
                loop.call_soon_threadsafe(released.set)

    async def wait(self) -> None:
        """What the server does at this step."""
        here = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._reached += 1
            self._changed.notify_all()
            if self._is_open:
                return
            self._waiting.append(here)
        try:
            await here[1].wait()
        finally:
            with self._changed:
                self._waiting.remove(here)


FaultStep = (
    Delay | Head | Chunk | Raw | Usual | End | Close | Pause | Toxic | Answer | Status | Cut | Hang
)
"""Anything that may stand in a script."""
SENDING = (Head, Chunk, Raw, Usual, End, Close, Answer, Status, Cut, Hang)
"""A script without any of these sends the usual answer at its end."""
