"""Row 34: clients that send slowly, or nothing. They are refused in time, memory stays bounded, and
everybody else is served.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.serving import Client, gateway
from gates import Address
from programs import Running, until
from rawclient import CHAT, MESSAGES, RawClient, question

from headgate.testing import FaultServer

QUICK = '[server]\nheader_timeout = "3s"\nbody_timeout = "2s"\n'
IDLE = 2_000
GROWTH_MAX_BYTES = 60_000_000
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[tuple[Running, Address]]:
    with FaultServer() as server, gateway(tmp_path, server, QUICK) as started:
        yield started


def memory_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no memory")


def are_served(address: Address, count: int = 10) -> bool:
    clients = [Client(address.port, number) for number in range(count)]
    for client in clients:
        client.join()
    return {client.outcome for client in clients} == {"complete"}


def test_heads_that_come_byte_by_byte_are_cut_while_others_are_served(
    quick: tuple[Running, Address],
) -> None:
    _, address = quick
    ended = threading.Event()
    slow = [RawClient(address.port) for _ in range(100)]

    def drip() -> None:
        """A byte each, again and again: each is too early for an idle connection to be closed."""
        left = {*slow}
        while left and not ended.wait(0.05):
            for client in [*left]:
                try:
                    client.send(b"x")
                except OSError:
                    left.discard(client)

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        for _ in range(3):
            assert are_served(address)
        until(lambda: not dripping.is_alive())
    finally:
        ended.set()
        dripping.join()
        for client in slow:
            client.leave()


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_body_that_stops_in_the_middle_is_408_and_costs_the_provider_nothing(
    tmp_path: Path, path: str
) -> None:
    with FaultServer() as server, gateway(tmp_path, server, QUICK) as (_, address):
        with RawClient(address.port) as client:
            reply = client.send(question(path)[:-10]).rest()
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nconnection: close\r\n" in reply
        assert (b'"type":"error"' in reply) == (path == MESSAGES)
        assert not server.calls


def test_two_thousand_connections_that_say_nothing_more_cost_no_one_else(tmp_path: Path) -> None:
    toml = "[server]\nconnections_max = 2500\n"
    with FaultServer() as server, gateway(tmp_path, server, toml) as (started, address):
        before = memory_bytes(started.process.pid)
        with ExitStack() as stack:
            idle = [stack.enter_context(RawClient(address.port)) for _ in range(IDLE)]
            for client in idle:
                client.send(HEALTH)
            for client in idle:
                client.until(b'{"status":"ok"}')
            assert are_served(address, 20)
            assert memory_bytes(started.process.pid) - before < GROWTH_MAX_BYTES
        assert are_served(address)


def test_beyond_the_cap_connections_are_refused_and_there_is_room_again(tmp_path: Path) -> None:
    toml = "[server]\nconnections_max = 50\n"
    with FaultServer() as server, gateway(tmp_path, server, toml) as (started, address):
        staying = [RawClient(address.port).send(HEALTH) for _ in range(50)]
        for client in staying:
            client.until(b'{"status":"ok"}')
        before = memory_bytes(started.process.pid)
        for _ in range(500):
            with RawClient(address.port) as refused:
                assert refused.rest().startswith(b"HTTP/1.1 503 ")
        assert memory_bytes(started.process.pid) - before < 10_000_000
        staying[0].send(HEALTH).until(b'{"status":"ok"}')
        for client in staying:
            client.leave()
        until(lambda: are_served(address))


def test_silence_is_not_taken_for_ever(quick: tuple[Running, Address]) -> None:
    _, address = quick
    silent = [RawClient(address.port) for _ in range(50)]
    for client in silent:
        assert client.rest().startswith(b"HTTP/1.1 408 ")
        client.leave()
