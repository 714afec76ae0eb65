"""The provider that a call brings along."""

from __future__ import annotations

import asyncio

import pytest

from headgate.errors import UpstreamUnreachable
from headgate.providers.relay import relay
from headgate.stream import Whole
from headgate.types import Call, Headers, Reply, Sender, Target, WireRequest


def call_by(send: Sender | None) -> Call:
    request = WireRequest("/chat/completions", b"{}", (), send=send)
    return Call("chat", "m", request, b"k", b"s", Target("api.example", "m"))


def replying(status: int, *headers: tuple[bytes, bytes]) -> Sender:
    async def send(request: WireRequest) -> Reply:
        return Reply(status, headers, Whole(request.body))

    return send


def test_the_request_is_sent_by_whoever_made_it_and_counts_as_one_attempt() -> None:
    reply = asyncio.run(relay(call_by(replying(200))))
    assert isinstance(reply.body, Whole)
    assert reply.body.content == b"{}"
    assert (reply.provenance.attempts, reply.provenance.target) == (1, "api.example/m")


def test_only_headers_that_the_gateway_may_tell_are_kept() -> None:
    told: Headers = ((b"content-type", b"application/json"), (b"x-request-id", b"1"))
    secret: Headers = ((b"set-cookie", b"a=b"), (b"server", b"x"), (b"location", b"/there"))
    reply = asyncio.run(relay(call_by(replying(200, *told, *secret))))
    assert reply.headers == told


def test_a_redirect_says_where_to() -> None:
    moved = replying(307, (b"location", b"/there"), (b"set-cookie", b"a=b"))
    assert asyncio.run(relay(call_by(moved))).headers == ((b"location", b"/there"),)


def test_a_call_that_does_not_say_how_it_is_sent_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        asyncio.run(relay(call_by(None)))


def test_what_the_sender_raises_goes_up() -> None:
    async def send(request: WireRequest) -> Reply:
        raise UpstreamUnreachable("no route")

    with pytest.raises(UpstreamUnreachable):
        asyncio.run(relay(call_by(send)))
