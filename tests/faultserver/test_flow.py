"""What toxics do at which place of an answer, byte by byte on a socket."""

from __future__ import annotations

from typing import Any

import pytest
from rawclient import MESSAGES, RawClient, ask, body_of, question

from headgate.faultserver.flow import head_lines
from headgate.testing import (
    Chunk,
    Close,
    CutAt,
    Delay,
    End,
    Endless,
    ErrorEvent,
    FaultServer,
    Garbage,
    HalfOpen,
    Head,
    Raw,
    ResetPeer,
    Slicer,
    SlowHeaders,
    Stall,
    Timeout,
    Usual,
)

LAST = ("connection: close",)
WHOLE = question("/v1/chat/completions", *LAST)
STREAM = question("/v1/chat/completions", *LAST, stream=True)
TEXT = (Head(headers={"x-a": "1"}), Chunk(b"0123456789"))
DONE = b"data: [DONE]\n\n"


def payload(reply: bytes) -> bytes:
    """Chunks of TEXT put together as far as they came, whole or not."""
    rest, said = reply.partition(b"\r\n\r\n")[2], b""
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        said, rest = said + rest[:size], rest[size + 2 :]
    return said


def first_usual_answer() -> bytes:
    """What a server of its own says to its first request."""
    with FaultServer() as other:
        return ask(other.port, STREAM)


@pytest.mark.parametrize("after", [0, 1, 9, 10])
def test_a_cut_falls_at_the_very_byte(server: FaultServer, after: int) -> None:
    server.script(CutAt(after), *TEXT)
    reply = ask(server.port, WHOLE)
    assert payload(reply) == b"0123456789"[:after]
    with pytest.raises(EOFError):
        body_of(reply)
    (call,) = server.wait_for_ended(1)
    assert (call.ended, call.body_bytes, call.status) == ("cut", after, 200)


def test_a_cut_before_the_head_sends_nothing(server: FaultServer) -> None:
    server.script(CutAt(None))
    assert ask(server.port, WHOLE) == b""
    (call,) = server.wait_for_ended(1)
    assert (call.ended, call.status, call.tokens_in) == ("cut", 0, 5)


def test_a_clean_cut_is_a_valid_end_without_what_the_dialect_ends_with(server: FaultServer) -> None:
    for asked in (WHOLE, STREAM):
        server.script(CutAt(100, by="clean"))
        body = body_of(ask(server.port, asked))
        assert len(body) == 100
        assert not body.endswith(DONE)
    assert [call.ended for call in server.wait_for_ended(2)] == ["clean", "clean"]


def test_a_connection_is_in_use_after_a_clean_cut(server: FaultServer) -> None:
    server.script(CutAt(3, by="clean"), *TEXT)
    with RawClient(server.port) as client:
        client.send(question()).until(b"0\r\n\r\n")
        assert b"200 OK" in client.send(WHOLE).rest()
    assert [call.connection for call in server.calls] == [1, 1]


@pytest.mark.parametrize("after", [None, 0, 5])
def test_a_cut_by_reset_is_a_reset(server: FaultServer, after: int | None) -> None:
    server.script(CutAt(after, by="rst"), *TEXT)
    with RawClient(server.port) as client:
        assert client.send(WHOLE).ends_with_a_reset()
    assert server.wait_for_ended(1)[0].ended == "reset"


def test_a_cut_by_stall_is_silence_until_the_client_leaves(server: FaultServer) -> None:
    server.script(CutAt(4, by="stall"), *TEXT)
    with RawClient(server.port) as client:
        client.send(WHOLE).until(b"0123\r\n")
        assert client.is_silent()
        assert server.abandoned == 0
    assert server.wait_for_abandoned(1)[0].body_bytes == 4


def test_a_place_beyond_the_end_is_never_reached(server: FaultServer) -> None:
    server.script(CutAt(11), *TEXT)
    assert body_of(ask(server.port, WHOLE)) == b"0123456789"
    assert server.wait_for_ended(1)[0].ended == "complete"


def test_a_stall_ends_and_the_answer_goes_on(server: FaultServer) -> None:
    server.script(Stall(at_chunk=1, for_s=0.02, ping_every_s=0.005), Usual())
    body = body_of(ask(server.port, STREAM))
    assert body.endswith(DONE)
    assert 1 <= body.count(b": ping\n\n") <= 4


def test_a_stall_at_a_byte_without_end_lasts_until_the_client_leaves(server: FaultServer) -> None:
    server.script(Stall(at_byte=2), *TEXT)
    with RawClient(server.port) as client:
        client.send(WHOLE).until(b"01\r\n")
        assert client.is_silent()
    server.wait_for_abandoned(1)


def test_pings_of_a_stall_are_those_of_the_dialect(server: FaultServer) -> None:
    server.script(Stall(at_chunk=1, ping_every_s=0.005))
    with RawClient(server.port) as client:
        client.send(question(MESSAGES, stream=True))
        client.until(b"event: ping\ndata: ")
    server.wait_for_abandoned(1)


@pytest.mark.parametrize("at", [0, 4, 10])
def test_garbage_stands_where_it_is_told(server: FaultServer, at: int) -> None:
    server.script(Garbage(at, b"#\x00#"), *TEXT)
    said = b"0123456789"
    assert body_of(ask(server.port, WHOLE)) == said[:at] + b"#\x00#" + said[at:]


def test_garbage_outside_of_chunks_breaks_http(server: FaultServer) -> None:
    server.script(Garbage(4, b"\xff\xff\r\n", is_framed=False), *TEXT)
    assert b"0123\r\n\xff\xff\r\n6\r\n456789" in ask(server.port, WHOLE)


def test_drawn_garbage_depends_on_the_seed() -> None:
    drawn = []
    for seed in (1, 1, 2):
        with FaultServer(seed=seed) as server:
            server.script(Garbage(0), *TEXT)
            drawn.append(body_of(ask(server.port, WHOLE)))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("chunks", [0, 2])
def test_an_error_event_ends_a_stream_that_is_valid_http(server: FaultServer, chunks: int) -> None:
    server.script(ErrorEvent(chunks, status=529))
    body = body_of(ask(server.port, question(MESSAGES, *LAST, stream=True)))
    assert b'"overloaded_error"' in body.split(b"\n\n")[-2]
    assert body.count(b"\n\n") == chunks + 1
    assert server.wait_for_ended(1)[0].ended == "clean"


def test_an_error_event_may_be_followed_by_the_rest(server: FaultServer) -> None:
    server.script(ErrorEvent(1, is_last=False))
    body = body_of(ask(server.port, STREAM))
    assert b"a scripted 529" in body
    assert body.endswith(DONE)


@pytest.mark.parametrize("asked", [WHOLE, STREAM])
def test_an_endless_body_has_no_end(server: FaultServer, asked: bytes) -> None:
    server.script(Endless())
    with RawClient(server.port) as client:
        client.send(asked)
        received = 0
        while received < 200_000:
            received += len(client.socket.recv(65_536))
    assert server.wait_for_abandoned(1)[0].body_bytes > 100_000


def test_an_endless_body_repeats_what_it_is_told(server: FaultServer) -> None:
    server.script(Endless(piece=b"again"), *TEXT)
    with RawClient(server.port) as client:
        said = client.send(WHOLE).until(b"again\r\n5\r\nagain\r\n")
    assert payload(said).startswith(b"0123456789again")


def test_a_timeout_swallows_and_closes(server: FaultServer) -> None:
    server.script(*TEXT, Timeout(0.01))
    reply = ask(server.port, WHOLE)
    assert reply.endswith(b"0123456789\r\n")
    assert server.wait_for_ended(1)[0].ended == "cut"


def test_a_timeout_without_time_lasts_until_the_client_leaves(server: FaultServer) -> None:
    server.script(Timeout())
    with RawClient(server.port) as client:
        assert client.send(WHOLE).is_silent()
    server.wait_for_abandoned(1)


def test_a_reset_acts_where_it_stands(server: FaultServer) -> None:
    server.script(*TEXT, ResetPeer())
    with RawClient(server.port) as client:
        assert client.send(WHOLE).ends_with_a_reset()
    (call,) = server.wait_for_ended(1)
    assert (call.ended, call.body_bytes) == ("reset", 10)


def test_a_half_open_answer_does_not_notice_that_its_client_leaves(server: FaultServer) -> None:
    server.script(HalfOpen())
    with RawClient(server.port) as client:
        client.send(WHOLE)
        server.wait_for_calls(1)
        assert client.is_silent()
    assert b"200 OK" in ask(server.port, WHOLE), "the leaving was read by now"
    assert [call.ended for call in server.calls] == ["", "complete"]


def test_slices_of_one_byte_are_the_same_answer(server: FaultServer) -> None:
    server.script(Slicer())
    assert ask(server.port, STREAM) == first_usual_answer()


def test_slow_headers_come_line_by_line(server: FaultServer) -> None:
    server.script(SlowHeaders(60))
    with RawClient(server.port) as client:
        assert client.send(WHOLE).until(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        assert client.is_silent()
    server.wait_for_abandoned(1)


def test_slow_headers_are_complete_in_the_end(server: FaultServer) -> None:
    server.script(SlowHeaders(0.001))
    assert body_of(ask(server.port, WHOLE))


def test_a_toxic_acts_from_its_place_in_the_script_on(server: FaultServer) -> None:
    server.script(Head(), Chunk(b"ab"), CutAt(3), Chunk(b"cd"))
    assert payload(ask(server.port, WHOLE)) == b"abc"
    server.script(Head(), Chunk(b"ab"), CutAt(1), Chunk(b"cd"))
    assert payload(ask(server.port, WHOLE)) == b"ab", "its place has passed: it acts at once"


def test_several_toxics_act_in_the_order_of_their_places(server: FaultServer) -> None:
    server.script(CutAt(6), Garbage(2, b"#"), Garbage(4, b"+"), *TEXT)
    assert payload(ask(server.port, WHOLE)) == b"01#23+45"


def test_a_script_of_raw_bytes_is_sent_as_it_is(server: FaultServer) -> None:
    server.script(Raw(b"HTTP/1.1 2"), Delay(0.001), Raw(b"00 \x00\xff\n\n"), Close())
    assert ask(server.port, WHOLE) == b"HTTP/1.1 200 \x00\xff\n\n"


def test_a_head_may_declare_what_is_not_true(server: FaultServer) -> None:
    server.script(Head(200, {"content-length": "9"}, is_chunked=False), Chunk(b"short"), Close())
    reply = ask(server.port, WHOLE)
    assert reply.endswith(b"content-length: 9\r\n\r\nshort")


def test_a_body_without_a_length_ends_with_its_connection(server: FaultServer) -> None:
    server.script(Head(200, {}, is_chunked=False), Chunk(b"all"))
    reply = ask(server.port, question())
    assert reply == b"HTTP/1.1 200 OK\r\n\r\nall"
    assert server.wait_for_ended(1)[0].ended == "complete"


def test_a_chunk_without_a_head_follows_the_usual_one(server: FaultServer) -> None:
    server.script(Chunk(b"x"))
    reply = ask(server.port, STREAM)
    assert b"text/event-stream" in reply
    assert body_of(reply) == b"x"


def test_parts_of_the_usual_answer_make_the_whole_of_it(server: FaultServer) -> None:
    server.script(Usual(0, 2), Chunk(b": between\n\n"), Usual(2))
    body = body_of(ask(server.port, STREAM))
    assert body.replace(b": between\n\n", b"") == body_of(first_usual_answer())


def test_a_body_ends_once(server: FaultServer) -> None:
    server.script(*TEXT, End(), End())
    assert ask(server.port, WHOLE).count(b"\r\n0\r\n\r\n") == 1


def test_a_reply_is_spelt_as_http_wants() -> None:
    lines: list[Any] = list(head_lines(529, {"a": "b"}, is_chunked=True))
    assert lines == [
        b"HTTP/1.1 529 Unknown\r\n", b"a: b\r\n", b"transfer-encoding: chunked\r\n\r\n",
    ]  # fmt: skip
    assert list(head_lines(404, {}, is_chunked=False)) == [b"HTTP/1.1 404 Not Found\r\n", b"\r\n"]
