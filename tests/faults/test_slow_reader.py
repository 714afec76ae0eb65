"""Row 17: clients that ask and do not read. Each holds up its own answer only, for as long as the
server allows (`server.write_timeout`); then it is cut, and its provider let go. Nobody else waits,
nobody is blamed, and memory does not follow what was not read.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from lab import KEY, Lab, asking, config_for, fields_for
from oracle import Heard, until
from rawclient import CHAT, MESSAGES, RawClient, body_of, request

from headgate.config import Config, ServerConfig
from headgate.testing import (
    Answer,
    Chunk,
    End,
    Endless,
    Exchange,
    FaultServer,
    Head,
    Pause,
    Usual,
    tenant_of,
)

READERS = 50
BUFFER_BYTES = 4096
EACH_MAX_BYTES = 5_000_000
"""What one of them may cost, with events as large as `PIECE`: those that were read and not yet
written, and what the provider's side had sent before it was stopped."""
LONG_BYTES = 48_000_000
"""More than the kernel holds on the way (tcp_wmem and tcp_rmem: 4 MB and 33 MB)."""
PIECE = b": " + b"x" * 79_996 + b"\n\n"
NOT_KEPT = "cache-control: no-store"
"""Else the gateway would read on for the cache when a reader is gone."""


@pytest.fixture
def open_patient(open_lab: Callable[..., Lab]) -> Callable[[float], Lab]:
    """Opens a laboratory whose gateway waits so many seconds for a reader."""

    def open_one(write_s: float) -> Lab:
        def configured(server: FaultServer) -> Config:
            patience = ServerConfig(write_timeout=write_s)
            return dataclasses.replace(config_for(server), server=patience)

        return open_lab(configured)

    return open_one


@contextmanager
def stuck(lab: Lab, path: str = CHAT, about: object = "France", *lines: str) -> Iterator[RawClient]:
    """A client with a small buffer that has asked for a stream and does not read it."""
    asked = fields_for(path, about, stream=True, model="long")
    heard = Heard(tenant_of(KEY), asked)
    heard.has_left = True
    lab.heard.append(heard)
    with RawClient(lab.gate.port, receive_buffer_bytes=BUFFER_BYTES) as client:
        try:
            yield client.send(asking(path, asked, KEY, *lines))
        finally:
            heard.reply += client.heard


def is_cut(client: RawClient) -> bool:
    """Whether the connection ends without the end of its answer; what is there is not kept."""
    last = b""
    try:
        while piece := client.socket.recv(65_536):
            last = piece
    except ConnectionResetError:
        return True
    return not last.endswith((b"\r\n0\r\n\r\n", b"}"))


def test_readers_that_do_not_read_are_cut_and_their_providers_let_go(
    open_patient: Callable[[float], Lab],
) -> None:
    lab = open_patient(0.5)
    lab.memory_growth_max_bytes = READERS * EACH_MAX_BYTES
    lab.server.script(Endless(at_chunk=4, piece=PIECE), model="long", times=None)
    with lab.healthy_meanwhile("m") as enough, ExitStack() as stack:
        clients = [
            stack.enter_context(stuck(lab, (CHAT, MESSAGES)[number % 2], number, NOT_KEPT))
            for number in range(READERS)
        ]
        enough()
        assert lab.ask(about="Peru").status == 200
        lab.server.wait_for_abandoned(READERS, timeout_s=25)
        assert all(map(is_cut, clients))
    assert lab.gate.stats()["metrics"]["total_errors"] == 0, "nobody else is to blame for it"
    assert lab.stored() == 1
    lab.is_healthy()


def test_a_slow_reader_does_not_hold_up_those_who_read_the_same(
    open_patient: Callable[[float], Lab],
) -> None:
    """The first to ask is the slow one. Those who read share one interpreter with the gateway and
    the provider: each of them may have to wait a moment to be let read."""
    lab = open_patient(3)
    lab.memory_growth_max_bytes = LONG_BYTES
    pause = Pause()
    lab.server.script(Head(), Usual(0, 2), pause, *long_pieces(), Usual(2), End(), model="long")
    with stuck(lab, CHAT, "all") as slow:
        pause.wait_reached()
        with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            asked = {"about": "all", "stream": True, "model": "long"}
            others = [stack.enter_context(lab.leaving(**asked)) for _ in range(2)]
            for client in others:
                client.until(b"\n\n")
            pause.release()
            assert min(pool.map(bytes_of, others)) > LONG_BYTES
        # The others may be done before its time is up.
        until(lambda: lab.gate.connections == 0, "the slow one is cut")
        assert is_cut(slow)
    (call,) = lab.server.wait_for_ended(1)
    assert call.ended == "complete"


def bytes_of(client: RawClient) -> int:
    """How many come until the end; they are not kept."""
    return sum(map(len, iter(lambda: client.socket.recv(65_536), b"")))


def long_pieces() -> list[Chunk]:
    """Comments between events, of which an answer may have any number."""
    return [Chunk(PIECE)] * (LONG_BYTES // len(PIECE))


def test_a_reader_that_pauses_and_comes_back_in_time_gets_everything(
    open_patient: Callable[[float], Lab],
) -> None:
    lab = open_patient(30)
    # The client itself has it several times over.
    lab.memory_growth_max_bytes = 7 * LONG_BYTES
    lab.server.script(Head(), *long_pieces(), Usual(), End(), model="long")
    with stuck(lab, CHAT, "late", NOT_KEPT) as client:
        lab.server.wait_for_calls(1)
        (call,) = settled(lab)
        assert call.ended == "", "the provider waits for the reader"
        assert call.body_bytes < LONG_BYTES
        assert len(body_of(client.rest())) > LONG_BYTES
    assert [call.ended for call in lab.server.wait_for_ended(1)] == ["complete"]


def settled(lab: Lab) -> list[Exchange]:
    """The calls, as soon as the provider has sent no more for a moment."""
    seen = -1
    moment = threading.Event()
    while (now := sum(call.body_bytes for call in lab.server.calls)) != seen:
        seen = now
        moment.wait(0.1)
    return lab.server.calls


@pytest.mark.parametrize("line", ["connection: close", "connection: keep-alive"])
def test_a_whole_answer_that_nobody_reads_is_cut_too(
    open_patient: Callable[[float], Lab], line: str
) -> None:
    """A whole answer is in memory already, and all of it waits to be written."""
    lab = open_patient(0.3)
    lab.memory_growth_max_bytes = 100_000_000
    lab.server.script(Answer(body=b'{"choices": [{}]' + b" " * 15_000_000 + b"}"))
    asked = fields_for(CHAT)
    with RawClient(lab.gate.port, receive_buffer_bytes=BUFFER_BYTES) as client:
        client.send(
            request(CHAT, f"authorization: Bearer {KEY}", line, body=json.dumps(asked).encode())
        )
        lab.server.wait_for_ended(1)
        until(lambda: lab.gate.connections == 0, "it is cut")
        assert is_cut(client)
    lab.is_healthy()
