"""The fault server as its users meet it: SDKs, port, scripts by model and header, waiting."""

from __future__ import annotations

import doctest
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from rawclient import CHAT, QUESTION, RawClient, ask, question
from rawserver import certificate, server_tls

from headgate.faultserver import server as module
from headgate.testing import (
    Answer,
    Bill,
    CutAt,
    FaultServer,
    HalfOpen,
    Latency,
    ResetPeer,
    Status,
    Timeout,
    marks_in,
    tenant_of,
)

LAST = "connection: close"


def test_the_example_runs() -> None:
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 2) == (0, True)


def test_the_sdks_talk_to_it_and_their_tenants_are_told_apart(server: FaultServer) -> None:
    with openai.OpenAI(base_url=server.base_url, api_key="sk-a") as one:
        completion = one.chat.completions.create(model="m", messages=QUESTION)
        vectors = one.embeddings.create(model="m", input="x")
    url = server.anthropic_base_url
    with anthropic.Anthropic(base_url=url, api_key="sk-b") as other:
        message = other.messages.create(model="m", max_tokens=300, messages=QUESTION)
        counted = other.messages.count_tokens(model="m", messages=QUESTION)
    answers = [answer.to_json() for answer in (completion, vectors, message, counted)]
    marks = [(mark.tenant, mark.serial) for answer in answers for mark in marks_in(answer)]
    one_s, other_s = tenant_of("sk-a"), tenant_of("sk-b")
    assert marks == [(one_s, 1), (one_s, 2), (other_s, 3), (other_s, 4)]
    assert server.bill(tenant=other_s).requests == 1, "counting is free"
    bill = server.bill(tenant=one_s)
    assert completion.usage is not None
    assert (bill.requests, bill.tokens_out) == (2, completion.usage.completion_tokens)


def test_scripts_are_chosen_by_model_header_and_order(server: FaultServer) -> None:
    server.script(Status(503), model="other")
    server.script(Status(429), header=("x-team", "blue"))
    server.script(Status(418))

    def status(*lines: str, **fields: Any) -> str:
        return ask(server.port, question(CHAT, LAST, *lines, **fields)).decode().split(" ")[1]

    assert [status(), status(), status("x-team: blue"), status(model="other")] == [
        "418", "200", "429", "503",
    ]  # fmt: skip


def test_the_bill_can_be_read_by_model(server: FaultServer) -> None:
    for model in ("a", "a", "b"):
        ask(server.port, question(CHAT, LAST, model=model))
    assert (server.bill(model="a").requests, server.bill(model="b").requests) == (2, 1)
    assert server.bill(model="c") == Bill()


def test_cleared_scripts_are_forgotten(server: FaultServer) -> None:
    server.script(Status(500), times=None)
    server.on_connect(ResetPeer(), times=None)
    server.clear()
    assert b"200 OK" in ask(server.port, question(CHAT, LAST))


def test_a_closed_port_refuses_and_an_opened_one_serves_again(server: FaultServer) -> None:
    with RawClient(server.port) as client:
        client.send(question()).until(b"}}}")
        server.refuse()
        server.refuse()
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                RawClient(server.port)
        client.send(question()).until(b"}}}")
        server.listen()
        server.listen()
        assert b"200 OK" in ask(server.port, question(CHAT, LAST))


@pytest.mark.parametrize("by", ["fin", "rst"])
def test_a_drop_cuts_every_connection(server: FaultServer, by: Any) -> None:
    server.hold()
    with RawClient(server.port) as idle, RawClient(server.port) as busy:
        busy.send(question())
        server.wait_for_calls(1)
        assert server.drop(by) == 2
        assert [client.ends_with_a_reset() for client in (idle, busy)] == [by == "rst"] * 2
    assert server.drop() == 0
    assert server.calls[0].ended == "dropped"
    assert [link.ended for link in server.connections] == ["dropped"] * 2


def test_held_requests_are_answered_on_release(server: FaultServer) -> None:
    server.hold()
    with RawClient(server.port) as client:
        client.send(question())
        server.wait_for_calls(1)
        assert client.is_silent()
        server.release()
        client.until(b"}}}")


def test_a_connection_can_be_reset_swallowed_or_left_half_open(server: FaultServer) -> None:
    for toxic in (ResetPeer(), Timeout(0.001), HalfOpen()):
        server.on_connect(toxic)
    # So early that it may hit the client while it still connects.
    with pytest.raises(ConnectionResetError), RawClient(server.port) as client:
        client.rest()
    with RawClient(server.port) as client:
        assert client.send(question()).rest() == b""
    with RawClient(server.port) as client:
        client.send(question())
        assert client.is_silent()
        assert b"200 OK" in ask(server.port, question(CHAT, LAST))
    assert [link.ended for link in server.connections[:3]] == ["reset", "cut", ""]


def test_a_swallowed_connection_notices_that_its_client_leaves(server: FaultServer) -> None:
    server.on_connect(Timeout())
    with RawClient(server.port) as client:
        client.send(question())
        server.wait_for_connections(1)
    server.wait_idle()
    assert server.connections[0].ended == "client_left"


def test_a_toxic_of_connections_may_strike_by_chance() -> None:
    struck = []
    for seed in (3, 3):
        with FaultServer(seed=seed) as server:
            server.on_connect(Latency(0, probability=0.5), times=None)
            for _ in range(16):
                ask(server.port, question(CHAT, LAST))
            struck.append([bool(link.toxics) for link in server.connections])
    assert struck[0] == struck[1]
    assert set(struck[0]) == {True, False}


def safe(client: RawClient, context: ssl.SSLContext) -> socket.socket:
    """Goes on with TLS."""
    client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
    return client.socket


def test_it_serves_tls(tmp_path: Path) -> None:
    file = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(file))
    with FaultServer(tls=server_tls(file)) as server:
        assert server.base_url.startswith("https://")
        server.script(CutAt(0))
        for ending in (b"\r\n\r\n", b"}}}"):
            with RawClient(server.port) as client, safe(client, trusting):
                assert client.send(question(CHAT, LAST)).rest().endswith(ending)


def test_a_client_that_breaks_off_tls_is_written_down(tmp_path: Path) -> None:
    with FaultServer(tls=server_tls(certificate(tmp_path))) as server:
        with RawClient(server.port) as client:
            client.send(b"this is no handshake" * 20)
            server.wait_for_connections(1)
            server.wait_idle()
        assert server.connections[0].ended == "client_left"


def test_it_names_its_seed_in_its_repr_and_where_waiting_was_in_vain(server: FaultServer) -> None:
    assert "seed=7" in repr(server)
    with pytest.raises(TimeoutError, match=r"0 of 1 requests in 0\.01 s; .*\(seed 7\)"):
        server.wait_for_calls(1, timeout_s=0.01)
    with pytest.raises(TimeoutError, match=r"0 of 2 clients left in 0\.01 s"):
        server.wait_for_abandoned(2, timeout_s=0.01)
    with pytest.raises(TimeoutError, match=r"0 of 1 requests ended in 0\.01 s"):
        server.wait_for_ended(1, timeout_s=0.01)
    with pytest.raises(TimeoutError, match=r"0 of 1 connections in 0\.01 s \(seed 7\)"):
        server.wait_for_connections(1, timeout_s=0.01)
    with RawClient(server.port):
        server.wait_for_connections(1)
        with pytest.raises(TimeoutError, match=r"still open after 0\.01 s.*\(seed 7\)"):
            server.wait_idle(timeout_s=0.01)


def test_it_serves_inside_its_with_block_only() -> None:
    server = FaultServer()
    asks: list[Callable[[], Any]] = [
        lambda: server.port, lambda: server.base_url, server.hold, server.release, server.refuse,
        server.listen, server.drop,
    ]  # fmt: skip
    for attempt in asks:
        with pytest.raises(RuntimeError, match="`with` block"):
            attempt()
    assert "not serving" in repr(server)
    server.close()


def test_close_cuts_what_is_under_way_and_ends_the_thread() -> None:
    before = set(threading.enumerate())
    with FaultServer() as server:
        (thread,) = [
            one for one in {*threading.enumerate()} - before if one.name == "headgate-fake"
        ]
        server.script(HalfOpen(), times=None)
        with RawClient(server.port) as client:
            client.send(question())
            server.wait_for_calls(1)
            server.close()
            client.rest()
    assert not thread.is_alive()
    assert server.calls[0].ended == "dropped"
    with pytest.raises(ConnectionRefusedError):
        RawClient(server.port)


def test_what_is_no_step_is_refused_where_it_is_written(server: FaultServer) -> None:
    wrong: Any = "Paris"
    with pytest.raises(TypeError, match="no step of a script"):
        server.script(Answer(), wrong)
    with pytest.raises(TypeError, match="use on_connect"):
        server.script(Latency(1, direction="up"))
    with pytest.raises(TypeError, match="use script"):
        server.on_connect(CutAt(1))
