"""The upstream client against a raw server: everything that can go wrong on a wire."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ports import refusing_port
from rawserver import CHUNKED, FIRST, LAST, OK, Peer, RawServer, Script

from rawserver import holding, resetting, saying, serving  # isort: skip

from headgate.errors import (
    Closed,
    StreamBroken,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import Wire, WireLimits, WireReply
from headgate.providers.wire_client import open_wire

LIMITS = WireLimits(connect_s=20, first_byte_s=20, idle_s=20, total_s=20, reply_max_bytes=100_000)
# One limit is short, so that no other can pass before it on a machine that is late.
QUICK = {"connect": WireLimits(connect_s=0.1), "first_token": WireLimits(first_byte_s=0.3),
         "idle": WireLimits(idle_s=0.1), "total": WireLimits(total_s=0.5)}  # fmt: skip

DRIPPING = saying(CHUNKED, *[FIRST] * 5_000, every_s=0.02)  # a late loop gives up later
Act = Callable[[Wire, RawServer], Awaitable[Any]]


def on_wire(script: Script, act: Act, **settings: Any) -> Any:
    """What `act` returns, given a wire and a server that follows `script`."""

    async def run() -> Any:
        wire = open_wire(ProviderConfig(**settings))
        async with asyncio.timeout(60), RawServer(script) as server:
            try:
                return await act(wire, server)
            finally:
                await wire.aclose()

    return asyncio.run(run())


async def post(wire: Wire, url: str, limits: WireLimits = LIMITS) -> WireReply:
    return await wire.send("POST", url + "/v1/x", (), b"{}", limits)


async def whole(reply: WireReply) -> bytes:
    return await reply.read()


async def streamed(reply: WireReply) -> bytes:
    return b"".join([piece async for piece in reply.chunks()])


BOTH = pytest.mark.parametrize("body_of", [whole, streamed])


def asking(
    body_of: Callable[[WireReply], Awaitable[bytes]] = whole, limits: WireLimits = LIMITS
) -> Act:
    """One call and its whole body."""

    async def act(wire: Wire, server: RawServer) -> bytes:
        reply = await post(wire, server.url, limits)
        try:
            return await body_of(reply)
        finally:
            await reply.aclose()
            await reply.aclose()

    return act


async def unreachable(url: str, limits: WireLimits = LIMITS) -> UpstreamFailed:
    wire = open_wire(ProviderConfig())
    try:
        with pytest.raises(UpstreamFailed) as caught:
            await post(wire, url, limits)
        return caught.value
    finally:
        await wire.aclose()


# Before anything is sent.


def test_a_refused_port_is_unreachable() -> None:
    with refusing_port() as port:
        error = asyncio.run(unreachable(f"http://127.0.0.1:{port}"))
    assert isinstance(error, UpstreamUnreachable)
    assert not error.sent


@pytest.mark.parametrize("url", ["http://name.invalid", "http://", "ftp://127.0.0.1", "nowhere"])
def test_an_address_that_leads_nowhere_is_unreachable(url: str) -> None:
    error = asyncio.run(unreachable(url))
    assert isinstance(error, UpstreamUnreachable)
    assert not error.sent


def test_a_connection_that_is_not_accepted_is_a_timeout_to_connect() -> None:
    with socket.socket() as listener, socket.socket() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting.connect(listener.getsockname())  # The queue has one place: packets of others drop.
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        error = asyncio.run(unreachable(url, QUICK["connect"]))
    assert isinstance(error, UpstreamTimeout)
    assert (error.stage, error.sent) == ("connect", False)


def test_a_handshake_that_does_not_begin_is_a_timeout_to_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        error = asyncio.run(unreachable(url, QUICK["connect"]))
    assert isinstance(error, UpstreamTimeout)
    assert (error.stage, error.sent) == ("connect", False)


def test_a_call_beyond_the_bound_waits_for_a_connection_as_long_as_for_connecting() -> None:
    async def act(wire: Wire, server: RawServer) -> None:
        first = await post(wire, server.url)
        with pytest.raises(UpstreamTimeout) as caught:
            await post(wire, server.url, QUICK["connect"])
        assert (caught.value.stage, caught.value.sent) == ("connect", False)
        waiting = asyncio.create_task(post(wire, server.url))
        await asyncio.sleep(0)
        await first.aclose()
        second = await waiting
        await second.aclose()
        assert server.accepted == 2

    on_wire(holding(CHUNKED, FIRST), act, connections_max=1)


# Between the request and the head of the reply.


@pytest.mark.parametrize(
    "script",
    [resetting(), saying(), saying(b"HTTP/1.1 200 OK\r\ncontent-le"), resetting(b"HTTP/1.1 2")],
    ids=["reset", "closed", "closed in the head", "reset in the head"],
)
def test_a_cut_before_the_head_is_complete_is_broken(script: Script) -> None:
    with pytest.raises(StreamBroken) as caught:
        on_wire(script, asking())
    assert caught.value.sent


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
    ],
    ids=["other protocol", "status", "field", "length", "long field", "many fields"],
)
def test_a_head_that_is_not_http_is_garbled_and_cut(head: bytes) -> None:
    async def act(wire: Wire, server: RawServer) -> None:
        with pytest.raises(UpstreamGarbled):
            await post(wire, server.url)
        await server.closed()

    on_wire(holding(head), act)


def test_a_head_that_comes_in_drops_is_a_timeout_of_the_first_token() -> None:
    drops = [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 5_000]
    with pytest.raises(UpstreamTimeout) as caught:
        on_wire(saying(*drops, every_s=0.02), asking(limits=QUICK["first_token"]))
    assert (caught.value.stage, caught.value.sent) == ("first_token", True)


def test_a_request_that_is_not_read_is_a_timeout_of_the_first_token() -> None:
    async def script(peer: Peer) -> None:
        await asyncio.Event().wait()

    async def act(wire: Wire, server: RawServer) -> None:
        with pytest.raises(UpstreamTimeout) as caught:
            await wire.send("POST", server.url, (), bytes(20_000_000), QUICK["first_token"])
        assert caught.value.stage == "first_token"

    on_wire(script, act)


# In the body.


@BOTH
@pytest.mark.parametrize(
    "script",
    [
        saying(OK[:-1]),
        resetting(OK[:-1]),
        saying(CHUNKED),
        saying(CHUNKED, FIRST),
        saying(CHUNKED, FIRST + b"5\r\nhel"),
        saying(CHUNKED, FIRST + b"0\r\n"),
        saying(CHUNKED, FIRST, b"zz\r\n", every_s=0.02),
        resetting(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"),
    ],
    ids=[
        "length", "reset", "no chunk", "no last chunk", "in a chunk", "in the last chunk",
        "not a chunk", "reset of a body without length",
    ],
)  # fmt: skip
def test_a_body_that_is_cut_is_broken(script: Script, body_of: Any) -> None:
    with pytest.raises(StreamBroken) as caught:
        on_wire(script, asking(body_of))
    assert caught.value.sent


@BOTH
@pytest.mark.parametrize("start", [OK[:-1], CHUNKED, CHUNKED + FIRST])
def test_a_body_that_stalls_is_a_timeout_of_the_idle_limit(start: bytes, body_of: Any) -> None:
    limits = WireLimits(idle_s=0.05)
    with pytest.raises(UpstreamTimeout) as caught:
        on_wire(holding(start), asking(body_of, limits))
    assert caught.value.stage == "idle"


@BOTH
def test_an_answer_that_drips_is_a_timeout_of_the_total_limit(body_of: Any) -> None:
    """Or a stream of pings would never end."""
    with pytest.raises(UpstreamTimeout) as caught:
        on_wire(DRIPPING, asking(body_of, QUICK["total"]))
    assert caught.value.stage == "total"


@BOTH
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", CHUNKED])
def test_a_body_larger_than_the_limit_is_garbled(head: bytes, body_of: Any) -> None:
    script = saying(head, b"32\r\n" + b"x" * 50 + b"\r\n")
    limits = WireLimits(reply_max_bytes=40)
    with pytest.raises(UpstreamGarbled, match="40 bytes"):
        on_wire(script, asking(body_of, limits))


@BOTH
@pytest.mark.parametrize(
    "pieces",
    [
        [OK],
        [bytes([byte]) for byte in OK],
        [bytes([byte]) for byte in CHUNKED + FIRST + LAST],
        [CHUNKED + FIRST, LAST],
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
    ],
    ids=["at once", "slices", "chunked slices", "late end", "no length", "continue"],
)
def test_a_complete_body_arrives_however_it_is_cut_into_packets(
    pieces: list[bytes], body_of: Any
) -> None:
    assert on_wire(saying(*pieces), asking(body_of)) == b"hello"


def test_each_piece_of_a_stream_is_given_when_it_arrives() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for count in range(1, 4):
            await peer.send(FIRST)
            while len(seen) < count:
                await asyncio.sleep(0)

    async def act(wire: Wire, server: RawServer) -> None:
        reply = await post(wire, server.url)
        with pytest.raises(StreamBroken):
            seen.extend([seen.append(piece) or piece async for piece in reply.chunks()])
        await reply.aclose()

    on_wire(script, act)
    assert seen == [b"hello"] * 3


# Who lets go of a connection, and when.


@BOTH
@pytest.mark.parametrize("start", [b"", OK[:-1], CHUNKED, CHUNKED + FIRST])
def test_a_call_that_is_cancelled_cuts_its_connection(start: bytes, body_of: Any) -> None:
    async def act(wire: Wire, server: RawServer) -> None:
        call = asyncio.create_task(asking(body_of)(wire, server))
        await server.quiet()
        assert server.open == 1
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.closed()

    on_wire(holding(start), act)


def test_a_cancellation_at_any_moment_leaves_no_connection_and_is_not_lost() -> None:
    dice = random.Random(1)

    async def act(wire: Wire, server: RawServer) -> None:
        for _ in range(300):
            call = asyncio.create_task(asking(streamed)(wire, server))
            for _ in range(dice.randrange(25)):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await server.closed()
        assert server.accepted > 50

    on_wire(holding(CHUNKED, FIRST), act, connections_max=2)


@pytest.mark.parametrize("start", [CHUNKED, CHUNKED + FIRST, OK[:-1]])
def test_a_reply_closed_early_cuts_its_connection(start: bytes) -> None:
    async def act(wire: Wire, server: RawServer) -> None:
        reply = await post(wire, server.url)
        await reply.aclose()
        await reply.aclose()
        await server.closed()

    on_wire(holding(start), act)


@pytest.mark.parametrize("stage", ["first_token", "idle", "total"])
def test_a_limit_that_passes_cuts_the_connection(stage: str) -> None:
    scripts = {"first_token": holding(), "idle": holding(OK[:-1]), "total": DRIPPING}

    async def act(wire: Wire, server: RawServer) -> None:
        with pytest.raises(UpstreamTimeout) as caught:
            await asking(limits=QUICK[stage])(wire, server)
        assert caught.value.stage == stage
        await server.closed()

    on_wire(scripts[stage], act)


@BOTH
def test_calls_one_after_the_other_share_a_connection(body_of: Any) -> None:
    async def act(wire: Wire, server: RawServer) -> int:
        for _ in range(5):
            await asking(body_of)(wire, server)
        return server.accepted

    assert on_wire(serving, act) == 1


@pytest.mark.parametrize("settling_s", [0, 0.02])
def test_a_connection_closed_after_its_reply_is_not_used_again(settling_s: float) -> None:
    async def act(wire: Wire, server: RawServer) -> int:
        for _ in range(20):
            assert await asking()(wire, server) == b"hello"
            await server.closed()
            await asyncio.sleep(settling_s)
        return server.accepted

    assert on_wire(saying(OK), act) == 20


@pytest.mark.parametrize(
    "start", [b"", CHUNKED + FIRST, b"HTTP/1.1 200 OK\r\n\r\nhello"],
    ids=["before the head", "in the body", "in a body without length"],
)  # fmt: skip
def test_a_closed_wire_refuses_calls_and_breaks_those_under_way(start: bytes) -> None:
    async def act(wire: Wire, server: RawServer) -> None:
        call = asyncio.create_task(asking(streamed)(wire, server))
        await server.quiet()
        assert server.open == 1
        await wire.aclose()
        with pytest.raises(StreamBroken):
            await call
        with pytest.raises(Closed):
            await post(wire, server.url)
        await server.closed()

    on_wire(holding(start), act)


def test_a_wire_that_was_never_used_can_be_closed_twice() -> None:
    async def act(wire: Wire, server: RawServer) -> None:
        await wire.aclose()
        await wire.aclose()
        with pytest.raises(Closed):
            await post(wire, server.url)
        assert server.accepted == 0

    on_wire(serving, act)
