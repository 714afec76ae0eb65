"""A descriptor is closed once: what has its number afterwards is somebody else's."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from rawserver import certificate, server_tls

from headgate.errors import UpstreamFailed
from headgate.providers.wire import WireLimits
from headgate.providers.wire_aiohttp import AiohttpWire
from headgate.providers.wire_socket import OwnSocket, own_socket
from headgate.testing import FaultServer, ResetPeer

ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))


@pytest.fixture
def taken() -> Iterator[tuple[OwnSocket, socket.socket]]:
    """A socket, and another one that has got its descriptor meanwhile."""
    mine, other = own_socket(ADDRESS), socket.socket()
    number = mine.fileno()
    os.dup2(other.fileno(), number)
    other.close()
    theirs = socket.socket(fileno=number)
    yield mine, theirs
    theirs.close()


def test_a_descriptor_that_has_another_owner_is_left_open(
    taken: tuple[OwnSocket, socket.socket],
) -> None:
    mine, theirs = taken
    mine.close()
    assert mine.fileno() == -1
    theirs.getsockname()


def test_a_forgotten_socket_leaves_the_descriptor_of_another_open() -> None:
    mine, theirs = own_socket(ADDRESS), socket.socket()
    number = mine.fileno()
    os.dup2(theirs.fileno(), number)
    theirs.close()
    theirs = socket.socket(fileno=number)
    del mine
    theirs.getsockname()
    theirs.close()


def test_a_socket_whose_descriptor_is_closed_already_closes_without_an_error() -> None:
    mine = own_socket(ADDRESS)
    os.close(mine.fileno())
    mine.close()
    assert mine.fileno() == -1


def test_a_socket_closes_its_own_descriptor() -> None:
    mine = own_socket(ADDRESS)
    number = mine.fileno()
    mine.close()
    mine.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_connections_reset_in_the_handshake_close_no_other_connection(tmp_path: Path) -> None:
    """Without the check, uvloop 0.23 closed about one foreign descriptor in ten."""

    async def ask_often(url: str) -> None:
        wire = AiohttpWire(connections_max=4)
        limits = WireLimits(connect_s=5, first_byte_s=10, idle_s=5, total_s=10, reply_max_bytes=99)
        for _ in range(200):
            with pytest.raises(UpstreamFailed) as failure:
                await wire.send("POST", url, (), b"{}", limits)
            assert "descriptor" not in str(failure.value)
            assert "in time" not in str(failure.value)
        await wire.aclose()

    with FaultServer(tls=server_tls(certificate(tmp_path))) as server:
        server.on_connect(ResetPeer(), times=None)
        uvloop.run(asyncio.wait_for(ask_often(server.base_url), 25))
