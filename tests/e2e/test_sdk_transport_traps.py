"""The ten traps of a transport below the official SDKs, one by one. Each name says which; what all
environments have in common is in `tests/sdk_checks_*.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from headgate.runtime import Runtime
from headgate.testing import Answer, FakeProvider

QUESTION: Any = [{"role": "user", "content": "Capital of France?"}]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
LIBRARIES = pytest.mark.parametrize("library", ["httpx2", "httpx"])


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as one:
        yield one


@pytest.fixture
def client(runtime: Runtime, provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=provider.base_url, api_key="k", max_retries=0, http_client=runtime.http_client()
    ) as sdk:
        yield sdk


def chat(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": "m", "messages": QUESTION, **more})


def test_trap_r1_each_library_gets_responses_of_its_own_from_one_transport(
    runtime: Runtime, provider: FakeProvider
) -> None:
    transport = runtime.transport()
    url = provider.base_url + "/chat/completions"
    for module in (httpx2, httpx):
        with module.Client(transport=transport) as plain:
            for _ in range(2):
                reply = plain.post(url, json={"model": "m", "messages": QUESTION})
                assert isinstance(reply.stream, object)
                assert type(reply).__module__ == module.__name__
    assert len(provider.calls) == 1


def test_trap_r1_a_client_of_the_wrong_library_is_refused_with_the_argument_to_change(
    runtime: Runtime, provider: FakeProvider
) -> None:
    with runtime.http_client(library="httpx") as wrong:
        with pytest.raises(TypeError, match=r"this SDK uses `httpx2`"):
            anthropic.Anthropic(api_key="k", http_client=wrong)
        # Other SDKs name the class, which says how it was made.
        with pytest.raises(TypeError, match=r'asynchronous=False, library="httpx"'):
            openai.AsyncOpenAI(api_key="k", http_client=wrong)


def test_trap_r1_no_library_is_made_an_alias_of_the_other(runtime: Runtime) -> None:
    with runtime.http_client():
        assert httpx.Client is not httpx2.Client


@LIBRARIES
@pytest.mark.parametrize("default", [True, False])
def test_trap_r2_a_transport_does_not_switch_off_the_proxies_of_the_environment(
    runtime: Runtime, library: str, default: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    vectors = {"data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    with FakeProvider() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.anthropic_base_url)
        proxy.script(*[Answer(body=vectors)] * 2)
        if default and library == "httpx2":
            used: Any = openai.DefaultHttpxClient(transport=runtime.transport())
        else:
            used = runtime.http_client(library=library)
        with openai.OpenAI(
            base_url="http://nowhere.example/v1", api_key="k", max_retries=0, http_client=used
        ) as sdk:
            for _ in range(2):
                sdk.embeddings.create(model="m", input="a")
            sdk.models.list()
        paths = [call.path for call in proxy.calls]
    assert paths == [f"http://nowhere.example/v1/{path}" for path in ("embeddings", "models")]


@LIBRARIES
def test_trap_r3_redirects_limits_and_timeouts_are_the_sdks_own(
    runtime: Runtime, library: str
) -> None:
    with openai.OpenAI(api_key="k") as theirs, runtime.http_client(library=library) as ours:
        assert ours.follow_redirects == theirs._client.follow_redirects
        assert ours.timeout.as_dict() == theirs._client.timeout.as_dict()
        side = runtime._sdk_side().side(library)
        sender = side.home.to(httpx2.URL("https://a.example"), {})
        pool, usual = sender._pool, theirs._client._transport._pool
        assert pool._max_connections == usual._max_connections
        assert pool._max_keepalive_connections == usual._max_keepalive_connections


def test_trap_r4_a_replay_has_events_in_one_piece_and_the_headers_that_fit(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    provider.script(Answer(text="Paris", headers={"request-id": "r", "content-language": "en"}))
    raw = client.chat.completions.with_raw_response
    for number in range(2):
        reply = raw.create(model="m", messages=QUESTION)
        assert reply.headers["request-id"] == "r"
        assert reply.headers["content-type"] == "application/json"
        assert not {"content-length", "transfer-encoding", "content-encoding"} & {*reply.headers}
        assert ("age" in reply.headers) == bool(number)
        assert reply.headers["cache-status"].startswith("headgate; ")
        assert len(reply.headers["headgate-key"]) == 64
    streams = [[*chat(client, stream=True)] for _ in range(2)]
    assert streams[0] == streams[1]


def test_trap_r5_a_stream_is_kept_at_its_marker_and_never_with_an_error(
    client: openai.OpenAI, provider: FakeProvider, runtime: Runtime
) -> None:
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}
    said = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    failed = b'data: {"error": {"message": "overloaded"}}\n\n'
    done = b"data: [DONE]\n\n"
    provider.script(
        Answer(chunks=[said, failed]), Answer(chunks=[said]), Answer(chunks=[said, done])
    )
    for number in range(2):
        with pytest.raises((openai.APIError, httpx2.TransportError)):
            list(chat(client, stream=True))
        assert runtime.stats()["cache"]["size"] == 0, number
    first = list(chat(client, stream=True))
    assert list(chat(client, stream=True)) == first
    assert len(provider.calls) == 3


@pytest.mark.parametrize(
    ("header", "count"),
    [("traceparent", 1), ("x-stainless-retry-count", 1), ("idempotency-key", 1),
     ("x-request-id", 1), ("user-agent", 1), ("openai-beta", 2), ("openai-organization", 2),
     ("openai-project", 2), ("anthropic-version", 2), ("anthropic-beta", 2), ("unknown", 2)],
)  # fmt: skip
def test_trap_r6_what_changes_with_every_try_is_not_in_the_key(
    client: openai.OpenAI, provider: FakeProvider, header: str, count: int
) -> None:
    for value in ("1", "2", "1"):
        chat(client, extra_headers={header: value})
    assert len(provider.calls) == count


def test_trap_r6_credential_address_and_version_are_in_the_key(
    runtime: Runtime, provider: FakeProvider
) -> None:
    places = [("a", "/v1", "1"), ("b", "/v1", "1"), ("a", "//v1", "1"), ("a", "/v1", "2")]
    answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}]}
    provider.script(*[Answer(body=answer)] * len(places))
    for key, prefix, version in places * 2:
        with openai.OpenAI(
            base_url=provider.anthropic_base_url + prefix, api_key=key, max_retries=0,
            default_query={"api-version": version}, http_client=runtime.http_client(),
        ) as sdk:  # fmt: skip
            chat(sdk)
    assert len(provider.calls) == len(places)


def test_trap_r7_two_shapes_are_one_question_only_where_nothing_is_lost(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    usage = {"include_usage": True}
    list(chat(client, stream=True, stream_options=usage))
    assert chat(client).usage.total_tokens > 0
    assert len(provider.calls) == 1
    list(chat(client, stream=True))
    assert len(provider.calls) == 2
    for coding in ("float", "base64", "float"):
        client.embeddings.create(model="m", input="a", encoding_format=coding)  # type: ignore[arg-type]
    assert len(provider.calls) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_trap_r8_ten_equal_calls_at_once_ask_once(
    client: openai.OpenAI, provider: FakeProvider, runtime: Runtime, stream: bool
) -> None:
    provider.hold()
    with ThreadPoolExecutor(10) as threads:

        def ask() -> Any:
            reply = chat(client, stream=stream)
            return list(reply) if stream else reply

        asked = [threads.submit(ask) for _ in range(10)]
        while runtime.portal.spawn(under_way).result() < 10:
            pass
        provider.release()
        answers = [one.result() for one in asked]
    assert all(answer == answers[0] for answer in answers)
    assert len(provider.calls) == 1


async def under_way() -> int:
    await asyncio.sleep(0.005)
    return sum("_put_through" in str(task.get_coro()) for task in asyncio.all_tasks())


def test_trap_r9_what_is_out_of_reach_passes_and_is_never_half_cached(
    client: openai.OpenAI, provider: FakeProvider, runtime: Runtime
) -> None:
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"}
    for _ in range(2):
        with pytest.raises(openai.NotFoundError):
            client.files.create(file=("a", b"b"), purpose="batch")
        with pytest.raises(openai.NotFoundError):
            client.audio.transcriptions.create(file=("a.wav", b"b"), model="m")
        chat(client, extra_headers=signed)
    assert len(provider.calls) == 6
    assert provider.calls[2].headers["authorization"] == signed["authorization"]
    assert runtime.stats()["cache"]["size"] == 0
    assert runtime.stats()["metrics"]["total_calls"] == 0


@LIBRARIES
def test_trap_r10_a_tracer_below_the_library_sees_what_goes_out_and_only_that(
    runtime: Runtime, provider: FakeProvider, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instrumentation and mocks wrap the library's own transports, in the class."""
    module = {"httpx2": httpx2, "httpx": httpx}[library]
    seen: list[str] = []
    usual = module.AsyncHTTPTransport.handle_async_request

    async def traced(transport: Any, request: Any) -> Any:
        seen.append(request.url.path)
        return await usual(transport, request)

    monkeypatch.setattr(module.AsyncHTTPTransport, "handle_async_request", traced)
    with openai.OpenAI(
        base_url=provider.base_url, api_key="k", http_client=runtime.http_client(library=library)
    ) as sdk:
        for _ in range(3):
            chat(sdk)
    assert seen == ["/v1/chat/completions"]


def test_trap_r10_a_mock_of_the_library_can_stand_for_the_provider(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Paris"}}
        return httpx2.Response(200, json={"choices": [choice]})

    mock = httpx2.MockTransport(answer)
    monkeypatch.setattr(
        httpx2.AsyncHTTPTransport, "handle_async_request",
        lambda _, request: mock.handle_async_request(request),
    )  # fmt: skip
    with openai.OpenAI(
        base_url="https://api.example/v1", api_key="k", http_client=runtime.http_client()
    ) as sdk:
        assert [chat(sdk).choices[0].message.content for _ in range(2)] == ["Paris"] * 2
    assert len(asked) == 1
