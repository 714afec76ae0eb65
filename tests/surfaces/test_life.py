"""Signals and the end of a server; with many streams: tests/faults/test_sigterm_drain.py."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gates import Address, patient, providers_at
from programs import until
from rawclient import RawClient, question

from headgate.config import Config, ServerConfig
from headgate.surfaces.connection import Connections, limits_of
from headgate.surfaces.life import (
    COLLECT_EVERY,
    Life,
    begin,
    hold_signals,
    release_signals,
    settle,
    uvicorn_settings,
)
from headgate.surfaces.reload import Source
from headgate.testing import FakeProvider, Hang

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
READY = HEALTH.replace(b"healthz", b"readyz")


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """uvicorn sets up its loggers, which would hide its errors from later tests."""
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access")]
    before = [(one.propagate, one.level, [*one.handlers]) for one in loggers]
    yield
    for one, (propagate, level, handlers) in zip(loggers, before, strict=True):
        one.propagate, one.level, one.handlers = propagate, level, handlers


class Served(Address):
    """A server in a thread, to which signals are told as the system would."""

    def __init__(self, config: Config, **more: Any) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(self._listener.getsockname()[1])
        self.life = begin(patient(config), Source(), **more)
        self.thread = threading.Thread(target=self.life.run, args=([self._listener],))
        self.thread.start()
        until(lambda: self.life.started)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.life.handle_exit(number, None)

    def ended(self) -> bool:
        self.thread.join(60)
        return not self.thread.is_alive()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def serve(provider: FakeProvider) -> Iterator[Callable[..., Served]]:
    served: list[Served] = []

    def start(drain_s: float = 60.0, **more: Any) -> Served:
        server = ServerConfig(drain_timeout=drain_s)
        served.append(Served(Config(server=server, providers=providers_at(provider)), **more))
        return served[-1]

    yield start
    for one in served:
        one.signal()
        one.signal(signal.SIGQUIT)
        assert one.ended()


def test_an_idle_connection_is_closed_at_once(serve: Callable[..., Served]) -> None:
    served = serve()
    with RawClient(served.port) as idle, RawClient(served.port) as silent:
        idle.send(HEALTH).until(b'{"status":"ok"}')
        served.signal()
        assert idle.rest() == b""
        assert silent.rest() == b""
        assert served.ended()


@pytest.mark.parametrize(("begun", "rest", "status"), [
    (READY[:10], READY[10:], b"503"), (HEALTH[:10], HEALTH[10:], b"200"),
    (question()[:40], question()[40:], b"503"),
])  # fmt: skip
def test_a_request_that_had_begun_to_come_is_answered_and_the_connection_closed(
    serve: Callable[..., Served], begun: bytes, rest: bytes, status: bytes
) -> None:
    served = serve()
    with RawClient(served.port) as client:
        client.send(begun)
        until(lambda: any(one._has_begun for one in served.life.server_state.connections))
        served.signal()
        until(lambda: served.life._gateway.readiness.is_draining)
        reply = client.send(rest).rest()
    assert reply.startswith(b"HTTP/1.1 %s " % status)
    assert b"\r\nconnection: close\r\n" in reply
    if begun == READY[:10]:
        assert b'"reasons":["draining"]' in reply
    if begun == question()[:40]:
        assert b'"code":"closed"' in reply
    assert served.ended()


def test_a_running_call_is_waited_for(serve: Callable[..., Served], provider: FakeProvider) -> None:
    served = serve()
    provider.hold()
    with RawClient(served.port) as client:
        client.send(question())
        provider.wait_for_calls(1)
        served.signal()
        until(lambda: served.life._gateway.readiness.is_draining)
        provider.release()
        reply = client.rest()
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in reply
    assert served.ended()


def test_a_whole_call_that_outlasts_the_drain_is_503(
    serve: Callable[..., Served], provider: FakeProvider
) -> None:
    served = serve(drain_s=0.2)
    provider.hold()
    with RawClient(served.port) as client:
        client.send(question())
        provider.wait_for_calls(1)
        served.signal()
        reply = client.rest()
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"closed"' in reply
    assert served.ended()
    provider.release()


@pytest.mark.parametrize("hurries", [False, True])
def test_a_stream_that_outlasts_the_drain_ends_with_an_error_in_band(
    serve: Callable[..., Served], provider: FakeProvider, hurries: bool
) -> None:
    served = serve(drain_s=60.0 if hurries else 0.2)
    provider.script(Hang(after_bytes=1200))
    with RawClient(served.port) as client:
        client.send(question(stream=True)).until(b"\n\n")
        served.signal()
        if hurries:
            served.signal()
        reply = client.rest()
    assert b'"code":"closed"' in reply
    assert reply.endswith(b"0\r\n\r\n"), "it ends as HTTP wants it"
    assert b"[DONE]" not in reply
    assert served.ended()


def test_half_a_body_is_refused_when_the_drain_is_over(serve: Callable[..., Served]) -> None:
    served = serve(drain_s=0.1)
    asked = question()
    with RawClient(served.port) as client:
        client.send(asked[:-5])
        until(lambda: served.life.server_state.tasks)
        served.signal()
        reply = client.rest()
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert served.ended()


def test_where_another_signal_hurries_the_first_may_come_twice(
    serve: Callable[..., Served], provider: FakeProvider
) -> None:
    served = serve(hurry_signal=signal.SIGQUIT)
    provider.hold()
    with RawClient(served.port) as client:
        client.send(question())
        provider.wait_for_calls(1)
        served.signal()
        served.signal()
        assert client.is_silent(0.3)
        provider.release()
        assert client.rest().startswith(b"HTTP/1.1 200 ")
    assert served.ended()


def test_a_reload_gives_the_connections_their_limits(serve: Callable[..., Served]) -> None:
    served = serve()
    assert served.life._made.limits.head_s == 10.0
    served.life._made.limits = limits_of(ServerConfig(header_timeout=99.0))
    served.life._ask_reload(signal.SIGHUP, None)
    until(lambda: served.life._made.limits.head_s == 10.0)
    until(lambda: served.life._gateway.readiness.reloads == 1)


def test_a_signal_that_is_held_arrives_when_it_is_released() -> None:
    arrived: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: arrived.append(number))
    try:
        hold_signals()
        signal.raise_signal(signal.SIGHUP)
        assert arrived == []
        release_signals()
        assert arrived == [signal.SIGHUP]
    finally:
        release_signals()
        signal.signal(signal.SIGHUP, before)


def test_uvicorn_is_told_to_keep_to_itself_what_requests_hold() -> None:
    life = begin(Config(), Source())
    settings = uvicorn_settings(life._gateway, Connections(limits_of(ServerConfig())))
    assert not settings.access_log, "requests hold what callers keep to themselves"
    assert not settings.proxy_headers, "anybody could claim to be this machine"
    asyncio.run(life._gateway.runtime.aclose())
    assert isinstance(life, Life)


def test_what_is_loaded_is_left_alone_by_the_collector() -> None:
    before = gc.get_threshold()
    loaded: list[object] = []
    try:
        settle()
        assert gc.get_threshold()[0] == COLLECT_EVERY
        assert not any(known is loaded for known in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
