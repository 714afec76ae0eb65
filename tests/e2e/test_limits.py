"""Limits as clients see them: official SDKs and raw requests before a real gateway."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
import pytest
from dialects import PATHS, question, streamed
from gates import JSON, Gate, providers_at

from headgate.config import Config
from headgate.layers.settings import LimitsConfig
from headgate.testing import FakeProvider

LONG_S = 15.0
OPERATIONS_PLANE = ("/healthz", "/readyz", "/metrics", "/api/metrics/llm")
NO_WAITING = {"concurrency_max": 1, "queue_max": 0}

Opened = Callable[..., Gate]


@pytest.fixture
def limited(open_gate: Callable[[Config], Gate], provider: FakeProvider) -> Opened:
    """Opens a gateway with these `[limits]`; `per_minute` are settings of its providers."""

    def open_one(per_minute: dict[str, int] | None = None, **limits: Any) -> Gate:
        providers = providers_at(provider, **(per_minute or {}))
        return open_gate(Config(limits=LimitsConfig(**limits), providers=providers))

    return open_one


def ask_by_sdk(gate: Gate, dialect: str, text: str, retries: int = 0) -> Any:
    """What the official SDK of this dialect returns or raises."""
    kind: Any = openai.OpenAI if dialect == "chat" else anthropic.Anthropic
    url = gate.openai_url if dialect == "chat" else gate.url
    with kind(base_url=url, api_key="k", max_retries=retries) as client:
        resource = client.chat.completions if dialect == "chat" else client.messages
        return resource.create(**question(dialect, text))


@contextmanager
def held(gate: Gate, provider: FakeProvider) -> Iterator[None]:
    """One call is under way at the provider."""
    provider.hold()
    begun = len(provider.calls)
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(gate.post, PATHS["chat"], question("chat", "held"))
        provider.wait_for_calls(begun + 1)
        try:
            yield
        finally:
            provider.release()
            assert asking.result(LONG_S).status == 200


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_a_target_used_up_for_this_minute_is_a_rate_limit_error_of_the_sdk(
    limited: Opened, provider: FakeProvider, dialect: str
) -> None:
    gate = limited({"requests_per_minute": 2})
    for number in range(2):
        ask_by_sdk(gate, dialect, f"q{number}")
    kind = openai.RateLimitError if dialect == "chat" else anthropic.RateLimitError
    with pytest.raises(kind) as caught:
        ask_by_sdk(gate, dialect, "q2")
    error: Any = caught.value
    assert 25 <= int(error.response.headers["retry-after"]) <= 30
    assert "x-should-retry" not in error.response.headers
    told = error.response.json()["error"]
    assert told["code"] == "rate_limited"
    assert told["type"] == ("invalid_request_error" if dialect == "chat" else "rate_limit_error")
    assert "requests per minute" in told["message"]
    assert len(provider.calls) == 2
    ask_by_sdk(gate, dialect, "q1")


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_an_sdk_waits_for_a_limit_by_itself_and_then_gets_its_answer(
    limited: Opened, provider: FakeProvider, dialect: str
) -> None:
    gate = limited({"requests_per_minute": 60})
    for number in range(60):
        assert gate.post(PATHS[dialect], question(dialect, f"q{number}")).status == 200
    assert ask_by_sdk(gate, dialect, "one more", retries=2).model == "m"
    assert len(provider.calls) == 61


def test_a_client_used_up_is_429_and_others_and_hits_are_not(limited: Opened) -> None:
    gate = limited(client_requests_per_minute=1)
    body, alice, bob = question("chat", "a"), {"authorization": "a"}, {"authorization": "b"}
    assert gate.post(PATHS["chat"], body, alice).status == 200
    other_names = {**alice, "headgate-namespace": "another"}
    for headers in (alice, other_names):
        refused = gate.post(PATHS["chat"], question("chat", "b"), headers)
        assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limited")
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    assert gate.post(PATHS["chat"], body, alice).headers["cache-status"].startswith("headgate; hit")
    assert gate.post(PATHS["chat"], body, bob).status == 200


@pytest.mark.parametrize("shape", [question, streamed])
def test_tokens_are_settled_with_what_the_provider_reported(limited: Opened, shape: Any) -> None:
    gate = limited({"tokens_per_minute": 1000})
    # By their estimates, 400 for the answer and some more, only two would pass.
    for number in range(3):
        got = gate.post(PATHS["chat"], shape("chat", f"q{number}", max_completion_tokens=400))
        assert got.status == 200
    huge = gate.post(PATHS["chat"], shape("chat", "x" * 4000, max_completion_tokens=400))
    assert (huge.status, huge.json["error"]["code"]) == (429, "rate_limited")
    assert "tokens per minute" in huge.json["error"]["message"]


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_no_place_and_no_queue_is_503_that_no_sdk_repeats(
    limited: Opened, provider: FakeProvider, dialect: str
) -> None:
    gate = limited(**NO_WAITING)
    with held(gate, provider):
        body = question("chat", "another")
        refused = gate.post(PATHS["chat"], body)
        assert refused.status == 503
        assert refused.headers["x-should-retry"] == "false"
        assert refused.headers["retry-after"] in ("1", "2", "3")
        assert refused.json["error"]["code"] == "queue_full"
    kind = openai.APIStatusError if dialect == "chat" else anthropic.APIStatusError
    gate = limited(calls_max=1)
    with held(gate, provider):
        with pytest.raises(kind) as caught:
            ask_by_sdk(gate, dialect, "another", retries=2)
        error: Any = caught.value
        assert error.status_code == 503
        told = error.response.json()["error"]
        assert told["code"] == "queue_full"
        assert told["type"] == ("api_error" if dialect == "chat" else "overloaded_error")
        assert gate.door.shed == 1, "asked once"


def test_who_waits_gets_its_turn(limited: Opened, provider: FakeProvider) -> None:
    gate = limited(concurrency_max=1, queue_wait=LONG_S)
    provider.hold()
    with ThreadPoolExecutor(5) as threads:
        bodies = [question("chat", f"q{number}") for number in range(5)]
        asking = [threads.submit(gate.post, PATHS["chat"], body) for body in bodies]
        provider.wait_for_calls(1)
        provider.release()
        assert [asked.result(LONG_S).status for asked in asking] == [200] * 5
    assert len(provider.calls) == 5


def test_a_caller_with_a_short_deadline_does_not_wait_longer(
    limited: Opened, provider: FakeProvider
) -> None:
    gate = limited(concurrency_max=1, queue_wait=LONG_S)
    with held(gate, provider):
        hurried = {"headgate-deadline": "0.2"}
        got = gate.post(PATHS["chat"], question("chat", "hurried"), hurried)
        assert got.status in (503, 504)
        assert len(provider.calls) == 1


def test_a_client_that_leaves_its_stream_gives_its_place_back(
    limited: Opened, provider: FakeProvider
) -> None:
    gate = limited(**NO_WAITING)
    for number in range(3):
        provider.hold()
        connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=LONG_S)
        body = json.dumps(streamed("chat", f"left {number}"))
        connection.request("POST", PATHS["chat"], body, JSON)
        provider.wait_for_calls(2 * number + 1)
        connection.close()
        provider.wait_for_abandoned(number + 1)
        provider.release()
        assert gate.post(PATHS["chat"], question("chat", f"after {number}")).status == 200


# The door.


def test_what_is_no_call_is_answered_while_calls_are_shed(
    limited: Opened, provider: FakeProvider
) -> None:
    gate = limited(calls_max=1)
    with held(gate, provider):
        assert gate.post(PATHS["chat"], question("chat", "another")).status == 503
        assert [gate.get(path).status for path in OPERATIONS_PLANE] == [200] * 4
    assert gate.post(PATHS["chat"], question("chat", "another")).status == 200


def test_memory_over_the_limit_sheds_calls_in_both_dialects(limited: Opened) -> None:
    gate = limited(memory_max_bytes=1_000_000)
    for dialect in ("chat", "messages"):
        got = gate.post(PATHS[dialect], question(dialect))
        assert (got.status, got.json["error"]["code"]) == (503, "queue_full")
        assert "memory" in got.json["error"]["message"]
    assert gate.get("/healthz").status == 200


def test_a_loop_that_does_not_keep_up_sheds_calls_until_it_does(limited: Opened) -> None:
    gate = limited(loop_lag_max=0.2)
    third, sent = threading.Event(), threading.Event()

    def block(loop: asyncio.AbstractEventLoop, times: int) -> None:
        if times == 1:
            third.set()
            sent.wait(LONG_S)
        time.sleep(0.4)
        if times > 1:
            loop.call_soon(block, loop, times - 1)

    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=LONG_S)

    def ask() -> tuple[int, Any]:
        body = json.dumps(question("chat", "late"))
        connection.request("POST", PATHS["chat"], body, JSON)
        sent.set()
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())

    assert ask()[0] == 200
    sent.clear()
    gate.loop.call_soon_threadsafe(block, gate.loop, 3)
    assert third.wait(LONG_S)
    status, body = ask()
    assert (status, body["error"]["code"]) == (503, "queue_full")
    assert "runs late" in body["error"]["message"]
    until_s = time.monotonic() + LONG_S
    while ask()[0] != 200:
        assert time.monotonic() < until_s
    connection.close()
