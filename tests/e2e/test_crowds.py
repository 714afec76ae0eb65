"""Very many callers and very slow ones before a gateway in a process of its own: one call upstream,
everyone is answered, and memory stays within its bounds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from dialects import question, streamed
from e2e.crowd import Crowd, memory_peak_mb, open_files
from effort import FULL
from listening import Listener, settle
from rawclient import RawClient, body_of, request

from headgate.core.sse import spell
from headgate.testing import Chunk, End, FaultServer, Head, Pause, Usual

COUNT = 10_000 if FULL else 2_000
MEMORY_MB = 600
WITHIN_S = 25.0
SHAPES = {"whole": question, "streamed": streamed}
SLOW = 40
SLOW_BUFFER_BYTES = 4096
LONG_STREAM_BYTES = 16_000_000
KERNEL_MAX_BYTES = 40_000_000
"""The most that the kernel may keep on the way from a provider to a gateway that does not read
(tcp_wmem and tcp_rmem)."""
GROWTH_MB = 100
"""What a stream of that length may cost, with so many slow readers: what each may be behind is
counted in bytes, not in streams."""


@pytest.fixture
def provider() -> Iterator[FaultServer]:
    """What `start_process` puts its gateways before."""
    with FaultServer(seed=7) as running:
        yield running


def asking(shape: str) -> bytes:
    return request("/v1/chat/completions", "connection: close", body=asked(shape))


def asked(shape: str) -> bytes:
    return json.dumps(SHAPES[shape]("chat")).encode()


def cache_status(reply: bytes) -> str:
    return reply.partition(b"cache-status: ")[2].partition(b"\r\n")[0].decode()


@pytest.mark.parametrize("shape", SHAPES)
def test_thousands_of_identical_calls_are_one_call_upstream(
    start_process: Callable[..., Any], provider: FaultServer, shape: str
) -> None:
    pause = Pause()
    provider.script(*([Usual(0, 2), pause, Usual(2)] if shape == "streamed" else [pause, Usual()]))
    with open_files(COUNT):
        process = start_process()
        crowd = Crowd(process.port, asking(shape), COUNT)
        try:
            settle(process)
            pause.release()
            replies = crowd.replies(WITHIN_S)
        finally:
            crowd.close()
    assert len(provider.calls) == 1
    assert len({body_of(reply) for reply in replies}) == 1
    told = Counter(map(cache_status, replies))
    assert told["headgate; fwd=miss; collapsed"] == COUNT - 1
    row = process.get("/api/metrics/llm").json["metrics"]["by_model"]["m"]
    assert (row["calls"], row["cache_misses"], row["errors"]) == (COUNT, COUNT, 0)
    assert 0 < row["tokens_out"] < 1_000, "booked once"
    assert memory_peak_mb(process.running.pid) < MEMORY_MB
    assert "Traceback" not in process.output()


def long_stream(size_bytes: int) -> list[bytes]:
    """The events of a chat answer of about this length; the first and the last are short ones."""

    def chunk(text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        return spell(json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode())

    piece = "x" * 40_000
    middle = [chunk(f"{number} {piece}") for number in range(size_bytes // len(piece))]
    return [chunk("once"), *middle, chunk("", "stop"), spell(b"[DONE]")]


def told_slowly(events: list[bytes]) -> tuple[list[Any], Pause]:
    """Steps by which a provider says the first event, and the others after a pause."""
    pause = Pause()
    rest = [Chunk(event) for event in events[1:]]
    return [Head(), Chunk(events[0]), pause, *rest, End()], pause


def test_slow_readers_delay_nobody_and_are_cut_off_in_band(
    start_process: Callable[..., Any], provider: FaultServer
) -> None:
    process = start_process()
    events = long_stream(LONG_STREAM_BYTES)
    steps, pause = told_slowly(events)
    provider.script(*steps)
    content = b"".join(events)
    before_mb = memory_peak_mb(process.running.pid)
    with ExitStack() as stack:
        fast = stack.enter_context(Listener(process, "chat", streamed("chat")))
        assert fast.events(1) == events[0]
        slow = [
            stack.enter_context(RawClient(process.port, receive_buffer_bytes=SLOW_BUFFER_BYTES))
            for _ in range(SLOW)
        ]
        begun = [client.send(asking("streamed")).until(events[0]) for client in slow]
        pause.release()
        assert fast.rest() == content, "while the others did not read a byte"
        for head, client in zip(begun, slow, strict=True):
            said = body_of(head + client.rest())
            good, found, error = said.rpartition(b"\n\n\n\n")
            assert found
            assert b"too slow" in error
            assert content.startswith(good)
    assert len(provider.calls) == 1
    assert memory_peak_mb(process.running.pid) - before_mb < GROWTH_MB
    numbers = process.get("/api/metrics/llm").json
    assert numbers["cache"]["not_stored"] == {"too_large": 1}
    assert numbers["metrics"]["by_model"]["m"]["errors"] == SLOW
    assert "Traceback" not in process.output()


def test_a_slow_reader_who_is_alone_gets_everything_and_slows_its_provider_down(
    start_process: Callable[..., Any], provider: FaultServer
) -> None:
    process = start_process()
    events = long_stream(KERNEL_MAX_BYTES + LONG_STREAM_BYTES // 2)
    steps, pause = told_slowly(events)
    provider.script(*steps)
    before_mb = memory_peak_mb(process.running.pid)
    with RawClient(process.port, receive_buffer_bytes=SLOW_BUFFER_BYTES) as client:
        begun = client.send(asking("streamed")).until(events[0])
        pause.release()
        settle(process)
        (call,) = provider.calls
        assert call.ended == ""
        assert body_of(begun + client.rest()) == b"".join(events)
    assert memory_peak_mb(process.running.pid) - before_mb < GROWTH_MB
