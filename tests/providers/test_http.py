"""The HTTP provider over a real wire: addresses, credentials, what is handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from ports import refusing_port

from headgate.errors import StreamBroken, UpstreamGarbled, UpstreamTimeout, UpstreamUnreachable
from headgate.providers.http import http_service
from headgate.providers.settings import ProviderConfig
from headgate.providers.wire_client import open_wire
from headgate.stream import Chunks, Whole
from headgate.testing import Answer, Cut, FakeClock, FakeProvider, Hang, Status
from headgate.types import Call, Headers, Invocation, Reply, Secret, Target, WireRequest

CHAT = b'{"model":"m","messages":[{"role":"user","content":"q"}]}'
STREAM = CHAT[:-1] + b',"stream":true}'
THEIRS: Headers = ((b"authorization", b"Bearer theirs"),)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def config_for(provider: FakeProvider, kind: Any = "openai", **more: Any) -> ProviderConfig:
    urls = {"openai": provider.base_url, "anthropic": provider.anthropic_base_url}
    return ProviderConfig(**{"kind": kind, "base_url": urls[kind], **more})


def call_of(
    body: bytes = CHAT, path: str = "/chat/completions", headers: Headers = (), method: str = "POST"
) -> Call:
    request = WireRequest(path, body, headers, THEIRS, method)
    return Call("chat", "m", request, b"k", b"s", Target("p", "m"))


def ask(
    config: ProviderConfig, call: Call, read: Callable[[Reply], Awaitable[Any]] | None = None
) -> Any:
    """Puts one call through a provider of its own; the reply, or what `read` makes of it."""

    async def run() -> Any:
        wire = open_wire(config)
        try:
            reply = await http_service(config, wire, FakeClock())(call)
            return reply if read is None else await read(reply)
        finally:
            await wire.aclose()

    return asyncio.run(run())


async def drained(reply: Reply) -> tuple[Reply, list[bytes]]:
    chunks = [chunk async for chunk in reply.body]
    await reply.body.aclose()
    return reply, chunks


def test_a_whole_answer_is_read_before_it_is_handed_on(provider: FakeProvider) -> None:
    reply = ask(config_for(provider), call_of())
    assert isinstance(reply.body, Whole)
    assert reply.status == 200
    assert reply.body.content.startswith(b'{"id":')
    assert (b"content-type", b"application/json") in reply.headers
    assert reply.provenance.attempts == 1
    assert reply.provenance.target == "p/m"


def test_a_stream_is_handed_on_before_it_is_read(provider: FakeProvider) -> None:
    reply, chunks = ask(config_for(provider), call_of(STREAM), drained)
    assert isinstance(reply.body, Chunks)
    assert b"".join(chunks).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_path_is_put_behind_the_address_as_each_sdk_takes_it(
    provider: FakeProvider, slash: str
) -> None:
    openai = config_for(provider, base_url=provider.base_url + slash)
    ask(openai, call_of(path="/chat/completions?api-version=1"))
    anthropic = config_for(provider, "anthropic", base_url=provider.anthropic_base_url + slash)
    ask(anthropic, call_of(path="/messages"))
    paths = [call.path for call in provider.calls]
    assert paths == ["/v1/chat/completions?api-version=1", "/v1/messages"]


def test_method_headers_and_body_arrive_as_they_are(provider: FakeProvider) -> None:
    headers = ((b"content-type", b"application/json"), (b"openai-beta", b"x=1"))
    ask(config_for(provider), call_of(b'{ "x":1.0e0 }', headers=headers))
    ask(config_for(provider), call_of(b"", "/models", method="GET"))
    first, second = provider.calls
    assert first.raw == b'{ "x":1.0e0 }'
    assert first.headers["openai-beta"] == "x=1"
    assert (second.method, second.path, second.raw) == ("GET", "/v1/models", b"")


def test_without_a_key_the_callers_credential_is_sent(provider: FakeProvider) -> None:
    ask(config_for(provider), call_of())
    assert provider.calls[0].headers["authorization"] == "Bearer theirs"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("openai", "authorization", "Bearer ours"), ("anthropic", "x-api-key", "ours")],
)
def test_with_a_key_the_callers_credential_is_not_sent(
    provider: FakeProvider, kind: str, name: str, value: str
) -> None:
    ask(config_for(provider, kind, api_key=Secret("ours")), call_of())
    headers = provider.calls[0].headers
    assert headers[name] == value
    assert "theirs" not in str(headers)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_a_failed_status_is_a_reply_like_any_other(provider: FakeProvider, status: int) -> None:
    provider.script(Status(status, b'{"error": "x"}', {"retry-after": "3"}))
    reply = ask(config_for(provider), call_of())
    assert (reply.status, reply.body.content) == (status, b'{"error": "x"}')
    assert (b"retry-after", b"3") in reply.headers


@pytest.mark.parametrize("status", [101, 600, 999])
def test_a_status_that_no_answer_can_have_is_garbled(provider: FakeProvider, status: int) -> None:
    provider.script(Status(status))
    with pytest.raises(UpstreamGarbled, match=f"has status {status}"):
        ask(config_for(provider), call_of())


def test_our_key_is_cut_out_of_errors_but_answers_stay_untouched(provider: FakeProvider) -> None:
    config = config_for(provider, api_key=Secret("ours"))
    provider.script(Status(401, b"wrong: ours, ours"), Answer(body=b'{"text": "ours"}'))
    assert ask(config, call_of()).body.content == b"wrong: ***, ***"
    assert ask(config, call_of()).body.content == b'{"text": "ours"}'


@pytest.mark.parametrize("status", [200, 302])
def test_our_key_is_cut_out_of_errors_whatever_their_status(
    provider: FakeProvider, status: int
) -> None:
    provider.script(Answer(status=status, body=b'{"error": "wrong: ours"}'))
    reply = ask(config_for(provider, api_key=Secret("ours")), call_of())
    assert reply.body.content == b'{"error": "wrong: ***"}'


def test_a_call_that_names_no_key_goes_with_the_first_of_ours_and_never_with_the_callers(
    provider: FakeProvider,
) -> None:
    ask(config_for(provider, api_keys=(Secret("first"), Secret("second"))), call_of())
    assert provider.calls[0].headers["authorization"] == "Bearer first"


def test_our_key_is_cut_out_of_an_error_that_calls_itself_a_stream(provider: FakeProvider) -> None:
    config = config_for(provider, api_key=Secret("ours"))
    provider.script(Answer(status=401, chunks=[b"data: wrong: ou", b"rs\n\n"]))
    assert ask(config, call_of()).body.content == b"data: wrong: ***\n\n"


def test_only_listed_headers_are_handed_on(provider: FakeProvider) -> None:
    kept = {"x-request-id": "r", "request-id": "r", "retry-after-ms": "5", "openai-version": "1",
            "x-ratelimit-reset-tokens": "1s", "anthropic-ratelimit-tokens-limit": "9"}  # fmt: skip
    dropped = {"set-cookie": "a=b", "server": "x", "cache-control": "no-store", "x-other": "1"}
    provider.script(Answer(headers={**kept, **dropped}))
    reply = ask(config_for(provider), call_of())
    names = {name.decode() for name, _ in reply.headers}
    assert names == {*kept, "content-type"}


def test_nobody_there_is_unreachable_and_nothing_was_sent() -> None:
    with refusing_port() as port, pytest.raises(UpstreamUnreachable) as caught:
        ask(ProviderConfig(base_url=f"http://127.0.0.1:{port}/v1"), call_of())
    assert not caught.value.sent


def test_a_silent_provider_is_a_timeout_before_the_first_byte(provider: FakeProvider) -> None:
    provider.script(Hang())
    with pytest.raises(UpstreamTimeout) as caught:
        ask(config_for(provider, first_byte_timeout=1.0), call_of())
    assert caught.value.stage == "first_token"
    assert caught.value.sent
    provider.wait_for_abandoned(1)


def test_a_whole_answer_that_is_cut_is_broken_and_lets_its_connection_go(
    provider: FakeProvider,
) -> None:
    provider.script(Cut(after_bytes=10))
    with pytest.raises(StreamBroken):
        ask(config_for(provider), call_of())


def test_a_stream_that_is_cut_is_broken_after_its_last_chunk(provider: FakeProvider) -> None:
    provider.script(Cut(after_bytes=30))
    seen: list[bytes] = []

    async def read(reply: Reply) -> None:
        try:
            async for chunk in reply.body:
                seen.append(chunk)
        finally:
            await reply.body.aclose()

    with pytest.raises(StreamBroken):
        ask(config_for(provider), call_of(STREAM), read)
    assert len(b"".join(seen)) == 30


def test_a_stream_nobody_reads_on_is_let_go(provider: FakeProvider) -> None:
    provider.script(Hang(after_bytes=30))

    async def leave(reply: Reply) -> None:
        await reply.body.aclose()
        await reply.body.aclose()
        await asyncio.to_thread(provider.wait_for_abandoned, 1)

    ask(config_for(provider), call_of(STREAM), leave)


def test_a_callable_is_none_of_its_business(provider: FakeProvider) -> None:
    async def answer() -> str:
        return "x"

    request = Invocation(answer, 0, False)
    with pytest.raises(TypeError, match="wire calls"):
        ask(config_for(provider), Call("chat", "m", request, b"k", b"s", Target("p", "m")))
