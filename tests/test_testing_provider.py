"""The public fake provider behind the official SDKs: scripts, cuts, silence, held answers."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from headgate.providers.fake import fake_reply
from headgate.testing import Answer, Cut, FakeProvider, Hang, Status

QUESTION: Any = [{"role": "user", "content": "Capital of France?"}]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.base_url, api_key="sk-test", max_retries=0) as sdk:
        yield sdk


def chat(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model="m", messages=QUESTION, **more)


def text_of(completion: Any) -> str:
    return str(completion.choices[0].message.content)


def ask(
    provider: FakeProvider, path: str = "/chat/completions", method: str = "POST"
) -> tuple[int, Any, bytes]:
    """Status, headers and body of a plain request."""
    body = json.dumps({"model": "m", "messages": QUESTION}).encode() if method != "GET" else None
    request = urllib.request.Request(provider.base_url + path, body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_the_provider_answers_as_the_built_in_provider_does(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(model="m", messages=QUESTION)
    assert raw.content == fake_reply("chat", provider.calls[0].raw).content
    assert chat(client) == chat(client)


def test_the_provider_records_what_was_asked(provider: FakeProvider, client: openai.OpenAI) -> None:
    chat(client, extra_headers={"X-Team": "blue"})
    (call,) = provider.calls
    assert (call.method, call.path) == ("POST", "/v1/chat/completions")
    assert call.body == {"model": "m", "messages": QUESTION}
    assert call.headers["x-team"] == "blue"
    assert call.headers["authorization"] == "Bearer sk-test"


def test_a_script_is_followed_in_order_and_then_forgotten(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.script(Answer(text="Paris"), Status(503))
    provider.script(Answer(text="Lyon"))
    assert text_of(chat(client)) == "Paris"
    with pytest.raises(openai.InternalServerError):
        chat(client)
    assert text_of(chat(client)) == "Lyon"
    assert "made-up" in text_of(chat(client))


def test_scripted_words_come_in_the_dialect_and_shape_of_the_request(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.script(*[Answer(text="It is Paris, in France.")] * 4)
    chunks = list(chat(client, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == "It is Paris, in France."
    assert client.completions.create(model="m", prompt="?").choices[0].text == said
    assert client.responses.create(model="m", input="?").output_text == said
    with anthropic.Anthropic(base_url=provider.anthropic_base_url, api_key="k") as other:
        message: Any = other.messages.create(model="m", max_tokens=99, messages=QUESTION)
    assert message.content[0].text == said


def test_a_body_is_sent_as_it_is_given(provider: FakeProvider) -> None:
    provider.script(Answer(body=b"\x00\xff"), Answer(body="text"), Answer(body={"a": [None]}))
    assert [ask(provider)[2] for _ in range(3)] == [b"\x00\xff", b"text", b'{"a":[null]}']


def test_headers_are_added_and_replace_those_of_the_same_name(provider: FakeProvider) -> None:
    headers = {"Content-Type": "text/plain", "x-request-id": "req_1", "x-new": "1"}
    provider.script(Answer(headers=headers), Status(418, headers=headers))
    for status in (200, 418):
        answer = ask(provider)
        assert answer[0] == status
        assert answer[1].get_all("content-type") == ["text/plain"]
        assert answer[1]["x-new"] == "1"
        assert answer[1].get_all("x-request-id") == ["req_1"]


def test_given_chunks_are_one_network_write_each(provider: FakeProvider) -> None:
    chunks = (b"data: 1\n\n", b": comment\n\nda", b"ta: [DONE]\n\n")
    provider.script(Answer(chunks=chunks, headers={"x-new": "1"}))
    with httpx2.Client() as client, client.stream("POST", provider.base_url) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        assert tuple(reply.iter_raw()) == chunks


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503, 529])
def test_a_failure_is_raised_by_the_sdk_as_the_real_one_would_be(
    provider: FakeProvider, client: openai.OpenAI, status: int
) -> None:
    provider.script(Status(status, headers={"retry-after": "7"}))
    with pytest.raises(openai.APIStatusError) as caught:
        chat(client)
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "7"
    assert f"a scripted {status}" in caught.value.message


def test_a_failure_may_have_a_body_of_its_own(provider: FakeProvider) -> None:
    provider.script(Status(500, body="<html>"), Status(502, body={"error": "x"}))
    assert [ask(provider)[::2] for _ in range(2)] == [(500, b"<html>"), (502, b'{"error":"x"}')]


def test_a_failed_status_with_the_usual_body(provider: FakeProvider) -> None:
    provider.script(Answer(status=503))
    status, _, body = ask(provider)
    assert (status, json.loads(body)["object"]) == (503, "chat.completion")


@pytest.mark.parametrize("after", [None, 0, 40])
@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_is_a_broken_connection_for_the_sdk(
    provider: FakeProvider, client: openai.OpenAI, after: int | None, stream: bool
) -> None:
    provider.script(Cut(after_bytes=after))
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        list(chat(client, stream=stream))
    assert len(provider.calls) == 1
    assert provider.abandoned == 0


def test_the_events_before_a_cut_arrive(provider: FakeProvider, client: openai.OpenAI) -> None:
    fields = {"model": "m", "messages": QUESTION, "stream": True}
    whole = fake_reply("chat", json.dumps(fields).encode())
    provider.script(Cut(after_bytes=sum(map(len, whole.pieces[:3]))))
    stream = iter(chat(client, stream=True))
    assert [next(stream).id for _ in range(3)]
    with pytest.raises(openai.APIConnectionError):
        next(stream)


def test_a_hang_lasts_until_the_client_leaves(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.script(Hang(), Hang(after_bytes=10))
    for count in (1, 2):
        with pytest.raises(openai.APITimeoutError):
            chat(client, timeout=httpx2.Timeout(30, read=0.5))
        provider.wait_for_abandoned(count)
    assert (provider.abandoned, len(provider.calls)) == (2, 2)


def test_held_requests_are_recorded_and_answered_on_release(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    provider.hold()
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(chat, client) for _ in range(3)]
        assert len(provider.wait_for_calls(3)) == 3
        assert not any(answer.done() for answer in asked)
        provider.release()
        assert len({answer.result().id for answer in asked}) == 1


def test_a_late_answer_holds_up_nobody_else(provider: FakeProvider) -> None:
    provider.script(Answer(delay_s=60))
    with ThreadPoolExecutor() as threads:
        late = threads.submit(ask, provider)
        provider.wait_for_calls(1)
        assert ask(provider)[0] == 200
        assert not late.done()
        provider.close()
        assert late.exception()


def test_delays_end(provider: FakeProvider) -> None:
    provider.script(Answer(chunks=(b"a", b"b"), delay_s=0.01, chunk_delay_s=0.01))
    assert ask(provider)[2] == b"ab"
    with FakeProvider(delay_s=0.01) as slow:
        assert ask(slow)[0] == 200


def test_a_delay_of_the_provider_is_one_of_every_answer() -> None:
    with FakeProvider(delay_s=60) as slow, ThreadPoolExecutor() as threads:
        slow.script(Answer(), Status(500))
        asked = [threads.submit(ask, slow) for _ in range(3)]
        slow.wait_for_calls(3)
        assert not any(answer.done() for answer in asked)
        slow.close()
        assert all(answer.exception() for answer in asked)


def test_the_pieces_of_a_slow_stream_come_apart(provider: FakeProvider) -> None:
    provider.script(Answer(chunks=(b"a", b"b"), chunk_delay_s=60))
    with httpx2.Client() as client, client.stream("POST", provider.base_url) as reply:
        assert next(reply.iter_raw()) == b"a"
        assert ask(provider)[0] == 200
    provider.wait_for_abandoned(1)


def test_several_clients_are_served_at_once(provider: FakeProvider) -> None:
    provider.hold()
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(ask, provider) for _ in range(20)]
        provider.wait_for_calls(20)
        provider.release()
        assert {answer.result()[0] for answer in asked} == {200}


def test_an_async_client_is_served_from_its_own_loop(provider: FakeProvider) -> None:
    async def converse() -> str:
        url = provider.base_url
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as sdk:
            provider.hold()
            asked = asyncio.ensure_future(sdk.chat.completions.create(model="m", messages=QUESTION))
            await asyncio.to_thread(provider.wait_for_calls, 1)
            provider.release()
            return text_of(await asked)

    assert "made-up" in asyncio.run(converse())


def test_the_list_of_models_follows_the_dialect_of_the_client(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    assert client.models.list().data[0].owned_by == "headgate"
    with anthropic.Anthropic(base_url=provider.anthropic_base_url, api_key="k") as other:
        assert other.models.list().data[0].type == "model"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/audio"), ("GET", "/chat/completions"), ("POST", "/models"), ("PUT", "/x?y")],
)
def test_what_it_does_not_offer_is_not_found(
    provider: FakeProvider, method: str, path: str
) -> None:
    assert ask(provider, path, method)[0] == 404


def test_what_is_no_step_is_refused_where_it_is_written(provider: FakeProvider) -> None:
    wrong: Any = "Paris"
    with pytest.raises(TypeError, match="a step is an Answer, Status, Cut or Hang"):
        provider.script(Answer(), wrong)
    provider.script()
    assert ask(provider)[0] == 200


def test_the_provider_serves_inside_its_with_block_only() -> None:
    provider = FakeProvider()
    asks: list[Callable[[], Any]] = [lambda: provider.base_url, provider.hold, provider.release]
    for attempt in asks:
        with pytest.raises(RuntimeError, match="`with` block"):
            attempt()
    provider.close()
    with provider:
        assert ask(provider)[0] == 200
        url = provider.base_url
    assert len(provider.calls) == 1
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=60)


def test_close_breaks_off_what_hangs(client: openai.OpenAI) -> None:
    with FakeProvider() as provider, ThreadPoolExecutor() as threads:
        provider.script(Hang())
        asked = threads.submit(chat, client.with_options(base_url=provider.base_url))
        provider.wait_for_calls(1)
        provider.close()
        assert isinstance(asked.exception(), openai.APIConnectionError)


def test_waiting_in_vain_says_what_was_missing(provider: FakeProvider) -> None:
    with pytest.raises(TimeoutError, match=r"0 of 1 requests in 0\.01 s"):
        provider.wait_for_calls(1, timeout_s=0.01)
    with pytest.raises(TimeoutError, match=r"0 of 2 clients left in 0\.01 s"):
        provider.wait_for_abandoned(2, timeout_s=0.01)


def test_two_providers_do_not_know_of_each_other(provider: FakeProvider) -> None:
    with FakeProvider() as other:
        assert other.base_url != provider.base_url
        ask(other)
    assert (len(other.calls), provider.calls) == (1, [])
