"""One connection of the fault server: what is read, what is written down, how it ends."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from rawclient import CHAT, MESSAGES, RawClient, ask, body_of, question, request

from headgate.core.verdict import usage_in
from headgate.testing import (
    Answer,
    Chunk,
    Cut,
    CutAt,
    Delay,
    ErrorEvent,
    FaultServer,
    Hang,
    Head,
    Latency,
    Pause,
    Slicer,
    SlowClose,
    Status,
    Usual,
    alias_of,
    marks_in,
    tenant_of,
)

LAST = "connection: close"
KEY = "authorization: Bearer sk-secret"


def test_a_request_is_written_down_with_everything_but_its_credential(server: FaultServer) -> None:
    before_s = time.perf_counter()
    asked = question(CHAT, LAST, KEY, "X-Team: blue", stream=True)
    reply = ask(server.port, asked)
    (call,) = server.wait_for_ended(1)
    assert (call.serial, call.connection, call.method, call.path) == (1, 1, "POST", CHAT)
    assert (call.operation, call.model, call.is_streamed) == ("chat", "m", True)
    assert (call.body["stream"], call.headers["x-team"]) == (True, "blue")
    assert call.raw == asked.partition(b"\r\n\r\n")[2]
    assert (call.ended, call.status, call.wire_bytes) == ("complete", 200, len(reply))
    assert call.body_bytes == len(body_of(reply))
    assert before_s <= call.arrived_s <= call.ended_s <= time.perf_counter()
    assert (call.tenant, call.credential) == (tenant_of("sk-secret"), alias_of("sk-secret"))
    assert "sk-secret" not in repr(call)


def test_a_connection_is_written_down(server: FaultServer) -> None:
    asked = question()
    with RawClient(server.port) as client:
        client.send(asked).until(b"}}}")
        reply = client.send(question(CHAT, LAST)).rest()
    server.wait_idle()
    (link,) = server.connections
    assert (link.number, link.requests, link.ended) == (1, 2, "complete")
    assert link.bytes_in == 2 * len(asked) + len(LAST) + 2
    assert link.bytes_out == sum(call.wire_bytes for call in server.calls) > len(reply)


def test_a_stream_bills_what_was_said_and_a_whole_answer_all_of_it(server: FaultServer) -> None:
    whole = usage_in(body_of(ask(server.port, question(CHAT, LAST))))
    said = []
    for chunks in (0, 1, 3):
        server.script(Usual(0, chunks), CutAt(0))
        ask(server.port, question(CHAT, LAST, stream=True))
        said.append(server.calls[-1].tokens_out)
    server.script(CutAt(1))
    ask(server.port, question(CHAT, LAST))
    calls = server.wait_for_ended(5)
    assert [call.tokens_in for call in calls] == [whole.tokens_in] * 5
    assert said == [0, 0, 8], "the first event has a role and no word; four characters are a token"
    assert (calls[0].tokens_out, calls[-1].tokens_out) == (whole.tokens_out, whole.tokens_out)


@pytest.mark.parametrize("step", [Status(429), Status(500), Head(503), Answer(status=529)])
def test_what_is_refused_is_not_billed(server: FaultServer, step: Any) -> None:
    server.script(step)
    ask(server.port, question(CHAT, LAST))
    (call,) = server.wait_for_ended(1)
    assert (call.tokens_in, call.tokens_out) == (0, 0)
    assert server.bill().requests == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_in_place_of_an_answer_is_not_billed_and_one_behind_words_is(
    server: FaultServer, *, stream: bool
) -> None:
    error = Answer(body={"error": {"message": "down"}})
    server.script(ErrorEvent(at_chunk=0) if stream else error)
    ask(server.port, question(CHAT, LAST, stream=stream))
    server.script(ErrorEvent(at_chunk=3))
    ask(server.port, question(CHAT, LAST, stream=True))
    refused, broken = server.wait_for_ended(2)
    assert (refused.status, refused.tokens_in, refused.tokens_out) == (200, 0, 0)
    assert (broken.tokens_in, broken.tokens_out > 0) == (5, True)


def test_a_client_that_leaves_before_the_answer_is_billed_its_prompt(server: FaultServer) -> None:
    server.hold()
    with RawClient(server.port) as client:
        client.send(question())
        server.wait_for_calls(1)
    (call,) = server.wait_for_abandoned(1)
    assert (call.status, call.tokens_in, call.tokens_out) == (0, 5, 0)
    server.release()
    assert b"200 OK" in ask(server.port, question(CHAT, LAST))


@pytest.mark.parametrize("by", ["fin", "rst"])
def test_a_client_that_leaves_inside_a_stream_is_noticed(server: FaultServer, by: str) -> None:
    pause = Pause()
    server.script(Usual(0, 3), pause, Usual(3))
    with RawClient(server.port) as client:
        client.send(question(stream=True))
        pause.wait_reached()
        client.leave(by)
    (call,) = server.wait_for_abandoned(1)
    assert (call.chunks, call.tokens_out) == (3, 8)
    server.wait_idle()
    assert server.connections[0].ended == "client_left"


def test_an_answer_read_to_its_end_is_complete_even_if_the_client_leaves_at_once(
    server: FaultServer,
) -> None:
    for _ in range(20):
        with RawClient(server.port) as client:
            client.send(question()).until(b"}}}")
    assert {call.ended for call in server.wait_for_ended(20)} == {"complete"}


def test_requests_sent_before_the_answer_are_answered_in_order(server: FaultServer) -> None:
    reply = ask(server.port, question() + question(MESSAGES) + question(CHAT, LAST))
    marks = [mark.serial for mark in marks_in(reply)]
    assert sorted(marks) == [1, 2, 3]
    assert [call.operation for call in server.calls] == ["chat", "messages", "chat"]


def test_a_request_behind_a_clean_cut_is_answered(server: FaultServer) -> None:
    server.script(CutAt(5, by="clean"))
    reply = ask(server.port, question() + question(CHAT, LAST))
    assert reply.count(b"200 OK") == 2
    assert [call.ended for call in server.wait_for_ended(2)] == ["clean", "complete"]


@pytest.mark.parametrize(
    "sent", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"]
)
def test_what_is_no_http_ends_the_connection_and_is_no_request(
    server: FaultServer, sent: bytes
) -> None:
    with RawClient(server.port) as client:
        client.send(sent)
        server.wait_for_connections(1)
        server.wait_idle()
    assert (server.connections[0].ended, server.calls) == ("refused", [])


def test_a_request_that_breaks_off_is_none(server: FaultServer) -> None:
    with RawClient(server.port) as client:
        client.send(question()[:-5])
        server.wait_for_connections(1)
    server.wait_idle()
    assert (server.connections[0].ended, server.calls) == ("client_left", [])


def test_the_steps_of_the_fake_provider_are_steps_too(server: FaultServer) -> None:
    server.script(Answer(text="Paris"))
    server.script(Status(418, body=b"tea"))
    server.script(Cut(after_bytes=4))
    server.script(Hang(after_bytes=4))
    assert b"Paris" in ask(server.port, question(CHAT, LAST))
    assert ask(server.port, question(CHAT, LAST)).endswith(b"\r\n\r\ntea")
    assert ask(server.port, question(CHAT, LAST)).endswith(b'\r\n\r\n{"id')
    with RawClient(server.port) as client:
        client.send(question()).until(b'{"id')
        assert client.is_silent()
    server.wait_for_abandoned(1)


def test_delays_of_an_answer_end(server: FaultServer) -> None:
    server.script(Delay(0.001), Answer(chunks=(b"a", b"b"), delay_s=0.001, chunk_delay_s=0.001))
    assert body_of(ask(server.port, question(CHAT, LAST))) == b"ab"


def test_a_toxic_of_the_connection_is_under_every_answer(server: FaultServer) -> None:
    server.on_connect(Slicer(3), SlowClose(0.001))
    reply = ask(server.port, question() + question(CHAT, LAST))
    assert reply.count(b"200 OK") == 2
    server.wait_idle()
    assert server.connections[0].toxics == ("Slicer", "SlowClose")


@pytest.mark.parametrize(("by", "how"), [("fin", "cut"), ("rst", "reset")])
def test_a_request_can_be_cut_on_its_way_up(server: FaultServer, by: Any, how: str) -> None:
    server.on_connect(CutAt(30, by=by, direction="up"))
    with RawClient(server.port) as client:
        client.send(request(body=b"x" * 10_000))
        server.wait_for_connections(1)
        server.wait_idle()
    (link,) = server.connections
    assert (link.ended, link.bytes_in, link.requests) == (how, 30, 0)


def test_latency_on_the_way_up_delays_and_loses_nothing(server: FaultServer) -> None:
    server.on_connect(Latency(0.001, direction="up"))
    assert body_of(ask(server.port, question(CHAT, LAST)))


def test_what_a_toxic_does_by_chance_depends_on_the_seed_and_the_request_alone() -> None:
    acted = []
    for seed in (1, 1, 2):
        with FaultServer(seed=seed) as server:
            server.script(CutAt(3, probability=0.5), times=None)
            for _ in range(24):
                ask(server.port, question(CHAT, LAST))
            acted.append([call.toxics for call in server.wait_for_ended(24)])
    assert acted[0] == acted[1] != acted[2]
    assert {len(toxics) for toxics in itertools.chain(*acted)} == {0, 1}


def test_a_chunk_may_follow_any_head(server: FaultServer) -> None:
    server.script(Head(206, {"x-a": "b"}), Chunk(b"part"))
    reply = ask(server.port, question(CHAT, LAST))
    assert reply.startswith(b"HTTP/1.1 206 Partial Content\r\nx-a: b\r\n")
    assert body_of(reply) == b"part"
