"""Providers that refuse, stall or break, and clients that leave: clear errors, healthy after."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from gates import ONE_ATTEMPT
from ports import refusing_port

from headgate.config import Config, ProviderConfig
from headgate.layers.settings import CacheConfig
from headgate.testing import Answer, Cut, FakeProvider, Hang

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
QUESTION: Any = [{"role": "user", "content": "q"}]
BODY: dict[str, Any] = {"model": "m", "messages": QUESTION, "max_tokens": 50}


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address of this machine where nobody listens."""
    with refusing_port() as port:
        yield f"127.0.0.1:{port}"


def nowhere(host: str) -> Config:
    """Both providers at an address where nobody listens, or with a name that does not exist."""
    return Config(
        providers={
            "openai": ProviderConfig(base_url=f"http://{host}/v1"),
            "anthropic": ProviderConfig(kind="anthropic", base_url=f"http://{host}"),
        },
        **ONE_ATTEMPT,
    )


@pytest.mark.parametrize("host", ["", "no-such-host.invalid"])
def test_an_unreachable_provider_is_502_in_the_dialect_and_the_gateway_lives_on(
    open_gate: Callable[[Config], Any], refusing: str, host: str
) -> None:
    gate = open_gate(nowhere(host or refusing))
    with openai.OpenAI(base_url=gate.openai_url, api_key="k", max_retries=3) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model="m", messages=QUESTION)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="m", messages=QUESTION, stream=True)
    assert (refused.value.status_code, refused.value.code) == (502, "upstream_unreachable")
    with (
        anthropic.Anthropic(base_url=gate.url, api_key="k", max_retries=3) as other,
        pytest.raises(anthropic.InternalServerError) as failed,
    ):
        other.messages.create(model="m", messages=QUESTION, max_tokens=5)
    assert (failed.value.status_code, failed.value.type) == (502, "api_error")
    assert gate.get("/v1/models").status == 502
    assert gate.get("/healthz").status == 200
    numbers = gate.stats()
    assert numbers["metrics"]["total_calls"] == 3, "the SDKs must not retry what we refused"
    # It has never answered, so its name may be a misspelt one.
    assert numbers["metrics"]["errors"] == {"other:upstream_unreachable": 3}
    assert numbers["cache"]["size"] == 0


def test_a_provider_whose_name_does_not_exist_is_told_as_that(
    open_gate: Callable[[Config], Any],
) -> None:
    got = open_gate(nowhere("no-such-host.invalid")).post(CHAT, BODY)
    assert "host name cannot be resolved" in got.json["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_provider_that_stays_silent_is_504(
    open_gate_to: Callable[..., Any], provider: FakeProvider, path: str
) -> None:
    gate = open_gate_to(first_byte_timeout=3.0)
    provider.script(Hang(after_bytes=None))
    got = gate.post(path, BODY)
    assert got.status == 504
    assert got.json["error"]["code"] == "upstream_timeout"
    provider.wait_for_abandoned(1)
    assert gate.post(path, BODY).status == 200


def test_a_whole_answer_that_does_not_end_is_504(
    open_gate_to: Callable[..., Any], provider: FakeProvider
) -> None:
    gate = open_gate_to(idle_timeout=0.2, total_timeout=20.0)
    provider.script(Hang(after_bytes=20))
    assert gate.post(CHAT, BODY).status == 504
    provider.wait_for_abandoned(1)
    assert gate.stats()["cache"]["size"] == 0


@pytest.mark.parametrize("after_bytes", [None, 0, 1, 100])
def test_a_whole_answer_that_is_cut_is_502_and_not_stored(
    gate: Any, provider: FakeProvider, after_bytes: int | None
) -> None:
    provider.script(Cut(after_bytes=after_bytes))
    got = gate.post(CHAT, BODY)
    assert got.status == 502
    assert got.json["error"]["code"] in ("stream_broken", "upstream_failed")
    assert gate.stats()["cache"]["size"] == 0
    assert gate.post(CHAT, BODY).headers["cache-status"] == "headgate; fwd=miss; stored"


def test_an_answer_larger_than_allowed_is_502(
    open_gate_to: Callable[..., Any], provider: FakeProvider
) -> None:
    gate = open_gate_to(reply_max_bytes=2000)
    provider.script(Answer(body={"choices": [], "x": "y" * 5000}))
    got = gate.post(CHAT, BODY)
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_too_large")


@pytest.mark.parametrize(
    "body", [b"", b"<html>busy</html>", b"\xff\xfe", b"{", b"[" * 50_000], ids=lambda b: b[:8]
)
def test_an_answer_that_is_no_json_is_502_and_not_stored(
    gate: Any, provider: FakeProvider, body: bytes
) -> None:
    provider.script(Answer(body=body, headers={"content-type": "text/html"}))
    got = gate.post(CHAT, BODY)
    assert (got.status, got.json["error"]["code"]) == (502, "upstream_garbled")
    assert gate.stats()["cache"]["size"] == 0


def leave_early(gate: Any, provider: FakeProvider, body: bytes, calls: int) -> None:
    """Sends a call, waits until it is upstream, and hangs up."""
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gate.port), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        provider.wait_for_calls(calls)


@pytest.mark.parametrize("more", [b"", b', "stream": true', b', "store": true'])
def test_a_client_that_leaves_before_the_answer_takes_the_upstream_call_along(
    gate: Any, provider: FakeProvider, more: bytes
) -> None:
    provider.hold()
    body = b'{"model": "m", "messages": [{"role": "user", "content": "q"}]' + more + b"}"
    leave_early(gate, provider, body, 1)
    provider.wait_for_abandoned(1)
    provider.release()
    assert gate.post(CHAT, BODY).status == 200
    assert gate.stats()["metrics"]["total_errors"] == 0


def test_a_client_that_leaves_does_not_take_others_along(gate: Any, provider: FakeProvider) -> None:
    provider.hold()
    body = b'{"model": "m", "messages": [{"role": "user", "content": "q"}]}'
    answers: list[int] = []
    leave = threading.Thread(target=leave_early, args=(gate, provider, body, 1))
    leave.start()
    provider.wait_for_calls(1)
    stay = threading.Thread(target=lambda: answers.append(gate.post(CHAT, body).status))
    stay.start()
    leave.join()
    provider.release()
    stay.join()
    assert answers == [200]
    assert len(provider.calls) <= 2


def test_a_client_that_leaves_inside_a_stream_takes_it_along_where_nothing_is_to_be_kept(
    open_gate_to: Callable[..., Any], provider: FakeProvider
) -> None:
    gate = open_gate_to(cache=CacheConfig(finish_within=0))
    provider.script(Hang(after_bytes=1_000))
    with openai.OpenAI(base_url=gate.openai_url, api_key="k") as client:
        raw = client.chat.completions.with_streaming_response
        with raw.create(model="m", messages=QUESTION, stream=True) as response:
            assert next(response.iter_bytes())
    provider.wait_for_abandoned(1)
    assert gate.stats()["metrics"]["total_errors"] == 0


def test_identical_calls_that_fail_together_each_get_the_failure(
    open_gate: Callable[[Config], Any], provider: FakeProvider, gate: Any
) -> None:
    provider.script(*[Cut(after_bytes=0)] * 8)
    provider.hold()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(gate.post(CHAT, BODY).status))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    provider.wait_for_calls(1)
    provider.release()
    for thread in threads:
        thread.join()
    assert statuses == [502] * 8
    assert gate.stats()["cache"]["size"] == 0


def test_a_callers_deadline_ends_the_wait_and_the_upstream_call(
    gate: Any, provider: FakeProvider
) -> None:
    provider.hold()
    got = gate.post(CHAT, BODY, {"headgate-deadline": "1s"})
    assert (got.status, got.json["error"]["code"]) == (504, "upstream_timeout")
    provider.wait_for_abandoned(1)


def test_a_callers_deadline_ends_a_stream_under_way_and_nobodys_breaker_hears_of_it(
    gate: Any, provider: FakeProvider
) -> None:
    provider.script(Hang(after_bytes=900))
    hurried = {"headgate-deadline": "1500ms", "cache-control": "no-store"}
    got = gate.post(CHAT, {**BODY, "stream": True}, hurried)
    assert got.status == 200
    assert b'"code":"upstream_timeout"' in got.body
    assert b"[DONE]" not in got.body
    provider.wait_for_abandoned(1)
    assert gate.stats()["breakers"]["attempts"]["openai"] == {"left": 1}
