"""Streams: chunk by chunk, through the official SDKs, and never a cut answer as a whole one."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from oracle import until

from headgate.core.commit import commits
from headgate.core.sse import parse_event
from headgate.layers.settings import CacheConfig
from headgate.providers.fake import fake_reply
from headgate.testing import Cut, FakeProvider, Hang, Status

DONE = (b"[DONE]", b"[DONE]\n")
QUESTION: Any = [{"role": "user", "content": "How do I reset my card?"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": QUESTION, "stream": True},
    "/v1/completions": {"model": "m", "prompt": "Once", "stream": True},
    "/v1/responses": {"model": "m", "input": "Once", "stream": True},
    "/v1/messages": {"model": "m", "messages": QUESTION, "max_tokens": 100, "stream": True},
}
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}


class Sdks:
    """Both official clients at one gateway."""

    def __init__(self, gate: Any) -> None:
        self.openai = openai.OpenAI(base_url=gate.openai_url, api_key="k", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=gate.url, api_key="k", max_retries=0)

    def close(self) -> None:
        self.openai.close()
        self.anthropic.close()

    def stream(self, path: str) -> Any:
        """A stream of the SDK that speaks `path`."""
        body = BODIES[path]
        create = {
            "/v1/chat/completions": self.openai.chat.completions.create,
            "/v1/completions": self.openai.completions.create,
            "/v1/responses": self.openai.responses.create,
            "/v1/messages": self.anthropic.messages.create,
        }[path]
        return create(**body)


@pytest.fixture
def sdks(gate: Any) -> Iterator[Sdks]:
    clients = Sdks(gate)
    yield clients
    clients.close()


def pieces(path: str) -> tuple[bytes, ...]:
    """The events of the stream for the body of `path`: the gateway asks for usage where the dialect
    wants to be asked, and withholds the event that carries it."""
    body = BODIES[path]
    if OPERATIONS[path] in ("chat", "completions"):
        body = {**body, "stream_options": {"include_usage": True}}
    events = fake_reply(OPERATIONS[path], json.dumps(body).encode()).pieces
    return tuple(event for event in events if b'"choices":[]' not in event)


def opening(path: str) -> bytes:
    """The events up to the first that carries content: what comes before is held back."""
    taken: list[bytes] = []
    for event in pieces(path):
        taken.append(event)
        if commits(OPERATIONS[path], parse_event(event)[1]):
            break
    return b"".join(taken)


@pytest.mark.parametrize("path", BODIES)
def test_a_stream_arrives_byte_for_byte(gate: Any, path: str) -> None:
    got = gate.post(path, BODIES[path])
    assert got.body == b"".join(pieces(path))
    assert got.headers["content-type"].startswith("text/event-stream")
    assert got.headers["cache-status"] == "headgate; fwd=miss"
    again = gate.post(path, BODIES[path])
    assert again.headers["cache-status"].startswith("headgate; hit; ttl=")
    assert (again.body, again.headers["content-type"]) == (got.body, got.headers["content-type"])


@pytest.mark.parametrize("path", BODIES)
def test_the_first_content_arrives_while_the_provider_still_holds_the_rest(
    open_gate_to: Callable[..., Any], provider: FakeProvider, path: str
) -> None:
    gate = open_gate_to(cache=CacheConfig(finish_within=0))
    first = opening(path)
    provider.script(Hang(after_bytes=len(first)))
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
    headers = {"content-type": "application/json"}
    connection.request("POST", path, json.dumps(BODIES[path]), headers)
    reply = connection.getresponse()
    assert reply.status == 200
    assert reply.read(len(first)) == first
    reply.close()
    connection.close()
    provider.wait_for_abandoned(1)


@pytest.mark.parametrize("path", BODIES)
def test_the_sdk_reads_a_stream_to_its_end(sdks: Sdks, path: str) -> None:
    events = list(sdks.stream(path))
    assert len(events) > 3


def test_the_stream_method_of_chat_builds_the_whole_answer(sdks: Sdks) -> None:
    whole = sdks.openai.chat.completions.create(model="m", messages=QUESTION)
    with sdks.openai.chat.completions.stream(model="m", messages=QUESTION) as stream:
        built = stream.get_final_completion()
    assert built.choices[0].message.content == whole.choices[0].message.content
    assert built.choices[0].finish_reason == "stop"


def test_the_stream_method_of_responses_builds_the_whole_answer(sdks: Sdks) -> None:
    whole = sdks.openai.responses.create(model="m", input="Once")
    with sdks.openai.responses.stream(model="m", input="Once") as stream:
        assert stream.get_final_response().output_text == whole.output_text


def test_the_stream_method_of_messages_builds_the_whole_answer(sdks: Sdks) -> None:
    ask: Any = {"model": "m", "max_tokens": 100, "messages": QUESTION}
    whole = sdks.anthropic.messages.create(**ask)
    with sdks.anthropic.messages.stream(**ask) as stream:
        built = stream.get_final_message()
    assert [block.to_dict() for block in built.content] == [b.to_dict() for b in whole.content]
    assert built.stop_reason == whole.stop_reason
    assert built.usage.output_tokens == whole.usage.output_tokens


def test_async_clients_read_streams_too(gate: Any) -> None:
    async def read() -> tuple[int, str]:
        async with openai.AsyncOpenAI(base_url=gate.openai_url, api_key="k") as client:
            stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
            chunks = [chunk async for chunk in stream]
        async with (
            anthropic.AsyncAnthropic(base_url=gate.url, api_key="k") as client,
            client.messages.stream(model="m", max_tokens=100, messages=QUESTION) as stream,
        ):
            return len(chunks), await stream.get_final_text()

    count, text = asyncio.run(read())
    assert count > 3
    assert text


def outcome_of(read: Callable[[], Any]) -> BaseException | None:
    """What reading a stream to its end raised; None for a clean end."""
    try:
        list(read())
    except Exception as error:  # noqa: BLE001 - any error will do: only a clean end is wrong
        return error
    return None


def borders(path: str) -> list[int]:
    """Lengths of the stream up to each border between two events, the end left out."""
    lengths, total = [], 0
    for piece in pieces(path)[:-1]:
        total += len(piece)
        lengths.append(total)
    return lengths


@pytest.mark.parametrize("path", [path for path in BODIES if path != "/v1/responses"])
def test_a_stream_cut_between_two_events_is_the_sdks_own_error(
    sdks: Sdks, provider: FakeProvider, path: str
) -> None:
    own = anthropic.APIError if path == "/v1/messages" else openai.APIError
    for after_bytes in (borders(path)[0], borders(path)[-1]):
        provider.script(Cut(after_bytes=after_bytes))
        error = outcome_of(lambda: sdks.stream(path))
        assert isinstance(error, own)
        assert "stream_broken" in str(error.body)


def test_a_responses_stream_cut_between_two_events_ends_with_an_error_event(
    sdks: Sdks, provider: FakeProvider
) -> None:
    """The SDK hands this event on instead of raising; its `stream` method raises."""
    provider.script(*[Cut(after_bytes=borders("/v1/responses")[-1])] * 2)
    last = list(sdks.stream("/v1/responses"))[-1]
    assert (last.type, last.code) == ("error", "stream_broken")
    with (
        pytest.raises(RuntimeError, match=r"response\.completed"),
        sdks.openai.responses.stream(model="m", input="Once") as stream,
    ):
        stream.get_final_response()


def answers_cleanly(sdks: Sdks, path: str) -> bool:
    """Whether reading the stream ended as if the answer were complete."""
    last: list[Any] = []
    error = outcome_of(lambda: (last.append(event) or event for event in sdks.stream(path)))
    failed = error is not None or (bool(last) and getattr(last[-1], "type", "") == "error")
    return not failed


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_stream_cut_anywhere_is_never_a_clean_end(
    sdks: Sdks, provider: FakeProvider, path: str
) -> None:
    whole = b"".join(pieces(path))
    last = whole.rindex(b"\n\n", 0, -2) + 2
    step = max(1, last // 25)
    inside_first_lines = [border + 4 for border in borders(path)[:8]]
    cuts = [*range(0, last, step), *inside_first_lines, *range(last, len(whole) - 2, 3)]
    clean = []
    for after_bytes in cuts:
        provider.script(Cut(after_bytes=after_bytes))
        if answers_cleanly(sdks, path):
            clean.append(after_bytes)
    assert [cut for cut in clean if not whole[:cut].endswith(DONE)] == []


def test_a_stream_cut_before_its_head_is_502(sdks: Sdks, provider: FakeProvider) -> None:
    provider.script(Cut(after_bytes=None), Cut(after_bytes=None))
    for path, own in (
        ("/v1/chat/completions", openai.InternalServerError),
        ("/v1/messages", anthropic.InternalServerError),
    ):
        with pytest.raises(own) as caught:
            sdks.stream(path)
        assert caught.value.status_code == 502


def test_an_error_instead_of_a_stream_passes_through(sdks: Sdks, provider: FakeProvider) -> None:
    provider.script(Status(429, headers={"retry-after": "9"}), Status(529))
    with pytest.raises(openai.RateLimitError) as limited:
        sdks.stream("/v1/chat/completions")
    assert limited.value.response.headers["retry-after"] == "9"
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        sdks.stream("/v1/messages")
    assert overloaded.value.status_code == 529


def test_a_stream_that_falls_silent_ends_with_an_error(
    open_gate_to: Callable[..., Any], provider: FakeProvider
) -> None:
    clients = Sdks(open_gate_to(idle_timeout=3.0))
    provider.script(Hang(after_bytes=borders("/v1/chat/completions")[0]))
    error = outcome_of(lambda: clients.stream("/v1/chat/completions"))
    clients.close()
    assert isinstance(error, openai.APIError)
    assert "upstream_timeout" in str(error.body)


def test_streams_are_counted_when_they_end(gate: Any, sdks: Sdks) -> None:
    list(sdks.stream("/v1/chat/completions"))
    # The SDK stops at the marker, a moment before the gateway has written its end.
    until(lambda: gate.stats()["metrics"]["by_model"].get("m"), "the call is counted")
    row = gate.stats()["metrics"]["by_model"]["m"]
    assert (row["calls"], row["errors"], row["cache_misses"]) == (1, 0, 1)
    assert row["tokens_out"] > 0
    assert gate.stats()["cache"]["size"] == 1
