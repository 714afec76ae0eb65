"""A connection whose client does not read, seen from the protocol; tests/faults/test_slow_reader.py
has it over sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from headgate.surfaces.paced import Paced


class Pipe(asyncio.Transport):
    """A transport that notes what becomes of it."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return self.is_cut


def connected(write_s: float) -> tuple[Paced, Pipe]:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, log_config=None)
    config.load()
    connection = Paced(config, ServerState(), {}, asyncio.get_running_loop())
    connection.write_s = write_s
    pipe = Pipe()
    connection.connection_made(pipe)
    return connection, pipe


def ran(write_s: float, *events: str) -> bool:
    """Whether the connection was cut, some turns of the loop after these calls."""

    async def play() -> bool:
        connection, pipe = connected(write_s)
        for event in events:
            getattr(connection, event)(*([None] if event == "connection_lost" else []))
        for _ in range(5):
            await asyncio.sleep(0)
        return pipe.is_cut

    return asyncio.run(play())


def test_a_client_that_does_not_read_is_cut_when_its_time_is_over() -> None:
    assert ran(0, "pause_writing")
    assert not ran(60, "pause_writing")


def test_a_client_that_reads_on_is_not_cut() -> None:
    assert not ran(0, "pause_writing", "resume_writing")
    assert not ran(0, "pause_writing", "connection_lost")
    assert not ran(0)
    assert ran(0, "pause_writing", "resume_writing", "pause_writing")


def test_the_usual_time_is_a_minute() -> None:
    assert Paced.write_s == 60.0
