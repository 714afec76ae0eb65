"""One connection and its limits, on real sockets: what is refused, and what is not."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from gates import Gate, providers_at
from programs import until
from rawclient import CHAT, MESSAGES, RawClient, question, request

from headgate.config import Config, ServerConfig
from headgate.errors import Refused
from headgate.surfaces.connection import HEAD_MAX_BYTES, Limits, limits_of, refusal
from headgate.testing import FakeProvider

QUICK = ServerConfig(header_timeout=1.0, body_timeout=1.0)
LONGER_S = 1.5
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
HEAD = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n"


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ")[1]) if reply else 0


def error_of(reply: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(reply.partition(b"\r\n\r\n")[2])["error"]
    return error


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def quick(provider: FakeProvider) -> Iterator[Gate]:
    """A gateway that waits for nobody for long."""
    gate = Gate(Config(server=QUICK, providers=providers_at(provider)))
    yield gate
    gate.close()


@pytest.fixture
def usual() -> Iterator[Gate]:
    gate = Gate(Config(server=ServerConfig(header_timeout=60.0)))
    yield gate
    gate.close()


def test_what_was_sent_while_the_gateway_stood_still_is_not_too_late() -> None:
    gate = Gate(Config(server=ServerConfig(header_timeout=3.0)))
    try:
        with RawClient(gate.port) as kept:
            kept.send(HEALTH).until(b"}")
            with standing_still_while_it_reads(gate, 4.0):
                kept.send(HEALTH[:1])
            kept.send(HEALTH[1:])
            assert status_of(kept.until(b"}")) == 200
    finally:
        gate.close()


@contextmanager
def standing_still_while_it_reads(gate: Gate, for_s: float) -> Iterator[None]:
    """Its loop stands still for so long after this block, between reading and its timers."""
    begun = threading.Event()
    here, there = socket.socketpair()

    def stand_still() -> None:
        gate.loop.remove_reader(there)
        begun.set()
        time.sleep(for_s)

    with here, there:
        gate.loop.call_soon_threadsafe(gate.loop.add_reader, there, stand_still)
        yield
        # What was sent in the block is read by the time this comes.
        assert gate.get("/healthz").status == 200
        here.send(b"!")
        assert begun.wait(60)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/comp", b"GET / HTTP/1.1\r\nhost: x\r\n",
                                  b"\r\n"])  # fmt: skip
def test_a_head_that_does_not_come_is_408_and_the_end(quick: Gate, sent: bytes) -> None:
    with RawClient(quick.port) as client:
        reply = client.send(sent).rest()
    assert status_of(reply) == 408
    assert b"\r\nconnection: close\r\n" in reply
    assert error_of(reply)["code"] == "request_timeout"
    assert "server.header_timeout" in error_of(reply)["message"]


def test_a_head_on_a_kept_connection_is_timed_from_its_first_byte(quick: Gate) -> None:
    with RawClient(quick.port) as client:
        client.send(HEALTH).until(b'{"status":"ok"}')
        assert client.is_silent(LONGER_S), "an idle connection may wait longer than a head may take"
        assert status_of(client.send(b"GET /he").rest()) == 408


@pytest.mark.parametrize(("path", "kind"), [(CHAT, "invalid_request_error"),
                                            (MESSAGES, "timeout_error")])  # fmt: skip
def test_a_body_that_stands_still_is_408_in_the_dialect_of_its_route(
    quick: Gate, provider: FakeProvider, path: str, kind: str
) -> None:
    with RawClient(quick.port) as client:
        reply = client.send(HEAD % path.encode() + b'{"model"').rest()
    assert status_of(reply) == 408
    assert error_of(reply)["type"] == kind
    assert "server.body_timeout" in error_of(reply)["message"]
    assert not provider.calls


def test_a_body_that_goes_on_slowly_is_taken(provider: FakeProvider) -> None:
    """Longer in all than it may stand still."""
    gate = Gate(Config(server=ServerConfig(body_timeout=3.0), providers=providers_at(provider)))
    asked = question(CHAT, "connection: close")
    try:
        with RawClient(gate.port) as client:
            client.send(asked[:-50])
            for at in range(-50, -10, 10):
                assert client.is_silent(0.9)
                client.send(asked[at : at + 10])
            assert status_of(client.send(asked[-10:]).rest()) == 200
    finally:
        gate.close()


def test_a_body_that_goes_on_for_ever_is_not() -> None:
    gate = Gate(Config(server=replace(QUICK, body_timeout=0.1)))
    try:
        with RawClient(gate.port) as client:
            client.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n")
            while client.is_silent(0.03):
                client.send(b"x")
            assert client.rest() == b"" or status_of(bytes(client.heard)) in (0, 408)
    finally:
        gate.close()


def test_an_answer_that_takes_its_time_is_waited_for(quick: Gate, provider: FakeProvider) -> None:
    provider.hold()
    with RawClient(quick.port) as client:
        client.send(question(CHAT, "connection: close"))
        assert client.is_silent(LONGER_S)
        provider.release()
        assert status_of(client.rest()) == 200


def test_half_a_next_request_does_not_cost_the_answer_before(
    quick: Gate, provider: FakeProvider
) -> None:
    provider.hold()
    with RawClient(quick.port) as client:
        client.send(question(CHAT)).send(b"GET /healthz HT")
        assert client.is_silent(LONGER_S)
        provider.release()
        reply = client.rest()
    assert status_of(reply) == 200
    assert b"\r\nconnection: close\r\n" in reply


def test_requests_one_behind_the_other_are_all_answered(quick: Gate) -> None:
    with RawClient(quick.port) as client:
        client.send(HEALTH * 5)
        for _ in range(5):
            assert status_of(client.until(b'{"status":"ok"}')) == 200


def test_a_head_without_end_is_cut(usual: Gate) -> None:
    line = b"x-7: " + b"y" * 8_000 + b"\r\n"
    taken = 0
    with RawClient(usual.port) as client, suppress(ConnectionError):
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
        while taken < 100 * HEAD_MAX_BYTES:
            client.send(line)
            taken += len(line)
    assert taken < 100 * HEAD_MAX_BYTES
    assert usual.get("/healthz").status == 200


def test_a_head_without_end_is_431(usual: Gate) -> None:
    with RawClient(usual.port) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\nx: ")
        for _ in range(HEAD_MAX_BYTES // 8_000 + 1):
            assert client.is_silent(0.02)
            client.send(b"y" * 8_000)
        reply = client.rest()
    assert status_of(reply) == 431
    assert error_of(reply)["code"] == "headers_too_large"


def test_a_large_body_and_the_next_head_may_come_in_one_piece(usual: Gate) -> None:
    large = request(CHAT, body=b" " * 200_000)
    with RawClient(usual.port) as client:
        client.send(large + HEALTH[:20])
        assert b"400 Bad Request" in client.until(b"}}")
        client.send(HEALTH[20:]).until(b'{"status":"ok"}')


def test_one_connection_too_many_is_503_and_room_is_made_by_leaving() -> None:
    gate = Gate(Config(server=ServerConfig(connections_max=3)))
    try:
        staying = [RawClient(gate.port) for _ in range(3)]
        for client in staying:
            client.send(HEALTH).until(b'{"status":"ok"}')
        with RawClient(gate.port) as refused:
            reply = refused.rest()
        assert status_of(reply) == 503
        assert b"\r\nretry-after: 1\r\n" in reply
        assert "server.connections_max" in error_of(reply)["message"]
        staying[0].send(HEALTH).until(b'{"status":"ok"}')
        for client in staying:
            client.leave()
        until(lambda: status_of(gate.raw(LAST)) == 200)
    finally:
        gate.close()


def test_a_refusal_is_a_whole_answer() -> None:
    head, _, body = refusal("messages", Refused("no", retry_after_s=3)).partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    assert status == b"HTTP/1.1 503 Service Unavailable"
    assert b"content-length: %d" % len(body) in lines
    assert {b"connection: close", b"retry-after: 3", b"x-should-retry: false"} <= {*lines}
    assert json.loads(body)["type"] == "error"


def test_limits_are_those_of_the_configuration() -> None:
    server = ServerConfig(header_timeout=1.0, body_timeout=2.0, connections_max=3)
    assert limits_of(server) == Limits(1.0, 2.0, 3)
