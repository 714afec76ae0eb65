"""Spans as a program that traces sees them: through the real SDK, a gateway and a fault server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from gates import ONE_ATTEMPT, Gate, providers_at
from opentelemetry.trace import SpanKind, StatusCode
from oracle import until
from telemetry.tracing import CHAT, PARENT, TRACE, TRACED, Trace, ids, said, traced_gate

from headgate.config import Config, ModelConfig
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.telemetry import names
from headgate.testing import Answer, Cut, FakeClock, FaultServer, Status


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def trace() -> Trace:
    return Trace()


@pytest.fixture
def gate(server: FaultServer, trace: Trace) -> Iterator[Gate]:
    with traced_gate(server, trace) as opened:
        yield opened


def asked(about: str = "France", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"Capital of {about}?"}], **more}


def test_a_miss_is_a_call_with_an_attempt_in_it(gate: Gate, trace: Trace) -> None:
    reply = gate.post(CHAT, asked())
    (call,), (attempt,) = trace.calls(), trace.attempts()
    assert (call.name, attempt.name) == ("call m", "chat m")
    assert ids(call)[2] == ""
    assert ids(attempt)[2] == ids(call)[1]
    assert said(call) == {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m",
        "gen_ai.request.stream": False, "llm.cache.result": "miss",
        "headgate.call.id": gate.runtime.calls.records()[0].name,
    }  # fmt: skip
    usage = reply.json["usage"]
    assert said(attempt) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m", "gen_ai.response.model": reply.json["model"],
        "gen_ai.request.stream": False, "server.address": "127.0.0.1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
    }  # fmt: skip
    assert call.start_time is not None
    assert attempt.start_time is not None
    assert call.end_time is not None
    assert attempt.end_time is not None
    assert call.start_time <= attempt.start_time <= attempt.end_time <= call.end_time


def test_a_hit_is_a_call_without_an_attempt(gate: Gate, trace: Trace) -> None:
    gate.post(CHAT, asked())
    assert gate.post(CHAT, asked(), TRACED).headers["cache-status"].startswith("headgate; hit")
    _, hit = trace.calls(2)
    trace.attempts(1)
    assert said(hit)[names.CACHE_RESULT] == "hit"
    assert ids(hit)[0::2] == (TRACE, PARENT)
    assert names.INPUT_TOKENS not in said(hit)


def test_a_hit_that_enters_the_stack_is_one_too(gate: Gate, trace: Trace) -> None:
    gate.post(CHAT, asked())
    gate.post(CHAT, asked(), {"headgate-ttl": "5m"})
    assert said(trace.calls(2)[1])[names.CACHE_RESULT] == "hit"
    trace.attempts(1)


def test_a_bypass_says_so(gate: Gate, trace: Trace) -> None:
    gate.post(CHAT, asked(), {"cache-control": "no-store, no-cache"})
    assert said(trace.calls()[0])[names.CACHE_RESULT] == "bypass"


def test_a_repeat_is_a_second_attempt_of_one_call(
    gate: Gate, server: FaultServer, trace: Trace
) -> None:
    server.script(Status(500))
    assert gate.post(CHAT, asked()).status == 200
    (call,), (first, second) = trace.calls(), trace.attempts(2)
    assert ids(first)[2] == ids(second)[2] == ids(call)[1]
    assert said(first)[names.ERROR] == "server_error"
    assert first.status.status_code is StatusCode.ERROR
    assert names.ERROR not in said(second) | said(call)
    assert second.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
def test_a_stream_has_its_first_chunk_and_ends_with_its_last(
    gate: Gate, trace: Trace, path: str
) -> None:
    fields = {"model": "m", "stream": True, "max_tokens": 300, "input": "Capital?",
              "messages": [{"role": "user", "content": "Capital?"}]}  # fmt: skip
    del fields["messages" if path == "/v1/responses" else "input"]
    if path == "/v1/responses":
        del fields["max_tokens"]
    assert gate.post(path, fields).status == 200
    (call,), (attempt,) = trace.calls(), trace.attempts()
    known = said(attempt)
    assert attempt.end_time is not None
    assert attempt.start_time is not None
    took_s = (attempt.end_time - attempt.start_time) / 1e9
    assert 0 < known[names.FIRST_CHUNK] <= took_s + 0.001
    assert known[names.OUTPUT_TOKENS] > 0
    assert known[names.RESPONSE_MODEL] == "m"
    assert len(known[names.FINISH_REASONS]) == 1
    assert known[names.STREAM] is said(call)[names.STREAM] is True
    assert said(call)[names.CACHE_RESULT] == "miss"


def test_a_stream_that_breaks_is_an_error_of_both(
    gate: Gate, server: FaultServer, trace: Trace
) -> None:
    server.script(Cut(900))
    gate.post(CHAT, asked(stream=True))
    (call,), (attempt,) = trace.calls(), trace.attempts()
    for span in (call, attempt):
        assert said(span)[names.ERROR]
        assert span.status.status_code is StatusCode.ERROR


def test_a_failure_is_an_error_of_the_call_too(
    gate: Gate, server: FaultServer, trace: Trace
) -> None:
    server.script(Status(400), times=None)
    assert gate.post(CHAT, asked()).status == 400
    (call,), (attempt,) = trace.calls(), trace.attempts()
    assert said(call)[names.CACHE_RESULT] == "miss"
    assert said(call)[names.ERROR] == "bad_request"
    assert call.status.status_code is attempt.status.status_code is StatusCode.ERROR


def test_a_client_that_leaves_is_no_error(gate: Gate, server: FaultServer, trace: Trace) -> None:
    server.hold()
    thread = threading.Thread(target=gate.raw, args=(_request(asked()),))
    thread.start()
    server.wait_for_calls(1)
    thread.join()
    (call,) = trace.calls()
    assert said(call)[names.ERROR] == "cancelled"
    assert call.status.status_code is StatusCode.UNSET
    server.release()


def _request(fields: dict[str, Any]) -> bytes:
    body = json.dumps(fields).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + body


def test_joined_calls_are_calls_of_their_own_around_one_attempt(
    gate: Gate, server: FaultServer, trace: Trace
) -> None:
    server.hold()
    runtime = gate.runtime
    head, body = runtime.admission.head([]), json.dumps(asked()).encode()

    async def ask_thrice() -> None:
        plan, _ = runtime.find("chat", head, body, b"")
        path = "/chat/completions"
        await asyncio.gather(*(runtime.forward(path, head, body, plan) for _ in range(3)))

    answered = runtime.portal.spawn(ask_thrice)
    server.wait_for_calls(1)
    server.release()
    answered.result(60)
    calls, (attempt,) = trace.calls(3), trace.attempts()
    results = [said(call)[names.CACHE_RESULT] for call in calls]
    assert sorted(results) == ["collapsed", "collapsed", "miss"]
    assert ids(attempt)[2] == ids(calls[results.index("miss")])[1]


def test_the_provider_hears_of_the_attempt_and_not_of_the_client(
    gate: Gate, server: FaultServer, trace: Trace
) -> None:
    server.script(Status(500))
    gate.post(CHAT, asked(), TRACED)
    (call,) = trace.calls()
    assert ids(call)[0::2] == (TRACE, PARENT)
    for span, exchange in zip(trace.attempts(2), server.calls, strict=True):
        trace_id, span_id, parent = ids(span)
        assert (trace_id, parent) == (TRACE, ids(call)[1])
        assert exchange.headers["traceparent"] == f"00-{TRACE}-{span_id}-01"
        assert exchange.headers["tracestate"] == "vendor=1"


def test_who_was_not_sampled_is_not_and_the_provider_hears_it(
    gate: Gate, server: FaultServer, trace: Trace
) -> None:
    gate.post(CHAT, asked(), {"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert trace.exporter.get_finished_spans() == ()
    sent = server.calls[0].headers["traceparent"]
    assert sent.startswith(f"00-{TRACE}-")
    assert sent.endswith("-00")
    assert PARENT not in sent


@pytest.mark.parametrize("value", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", "0" * 5000])
def test_a_parent_that_is_none_begins_a_trace(
    gate: Gate, trace: Trace, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert gate.post(CHAT, asked(), {"traceparent": value}).status == 200
    assert ids(trace.calls()[0])[2] == ""
    assert not caplog.records


def test_no_text_is_in_any_span(
    gate: Gate, server: FaultServer, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_and_event")
    server.script(Answer("canary-of-the-answer"))
    headers = {"authorization": "Bearer sk-canary-key", **TRACED}
    gate.post(CHAT, asked("canary-of-the-prompt"), headers)
    gate.post(CHAT, asked("canary-of-the-prompt"), headers)
    server.script(Status(400, body=b'{"error": {"message": "canary sk-canary-key"}}'))
    gate.post(CHAT, asked("another canary"), headers)
    trace.calls(3)
    told = [span.to_json() for span in trace.exporter.get_finished_spans()]
    assert "canary" not in str(told)
    assert "canary" not in str(trace.reader.get_metrics_data())


def test_library_calls_have_their_callers_span_for_parent(trace: Trace) -> None:
    tracer = trace.tracers.get_tracer("program")
    with Runtime(telemetry=trace.telemetry) as runtime:
        with tracer.start_as_current_span("outer") as outer:
            runtime.cached_llm_call("q", "m", {}, lambda: "a")
            runtime.cached_llm_call("q", "m", {}, lambda: "b")

            async def ask() -> Any:
                async def answer() -> str:
                    return "c"

                return await runtime.acached_llm_call("other", "m", {}, answer)

            asyncio.run(ask())
        above = f"{outer.get_span_context().span_id:016x}"
    spans = [span for span in trace.calls(4) if span.name == "call m"]
    assert [said(span)[names.CACHE_RESULT] for span in spans] == ["miss", "hit", "miss"]
    assert [ids(span)[2] for span in spans] == [above] * 3
    trace.attempts(0)


def test_without_a_telemetry_there_is_no_layer_for_it(server: FaultServer, trace: Trace) -> None:
    with Runtime(Config()) as off, Runtime(telemetry=trace.telemetry) as on:
        assert len(on.layers) == len(off.layers) + 2
        assert not {"span", "attempt span"} & {placed.name for placed in off.layers}


def test_a_successor_goes_on_reporting(trace: Trace) -> None:
    with Runtime(telemetry=trace.telemetry) as first:
        second = first.successor(Config())
        second.cached_llm_call("q", "m", {}, lambda: "a")
        trace.calls(1)


@pytest.mark.parametrize("is_traced", [False, True])
def test_an_sdk_that_makes_its_own_span_has_no_second_one_around_it(
    server: FaultServer, trace: Trace, *, is_traced: bool
) -> None:
    headers = TRACED if is_traced else {}
    with Runtime(telemetry=trace.telemetry) as runtime, runtime.http_client() as client:
        url = f"{server.base_url}/chat/completions"
        assert client.post(url, json=asked(), headers=headers).status_code == 200
        assert client.post(url, json=asked(), headers=headers).status_code == 200
    miss, hit = trace.calls(2)
    assert said(hit)[names.CACHE_RESULT] == "hit"
    (sent,) = server.calls
    if is_traced:
        trace.attempts(0)
        assert ids(miss)[0::2] == (TRACE, PARENT)
        assert sent.headers["traceparent"] == TRACED["traceparent"]
    else:
        (attempt,) = trace.attempts()
        named = f"00-{ids(attempt)[0]}-{ids(attempt)[1]}-"
        assert sent.headers["traceparent"].startswith(named)


def test_another_model_that_stands_in_is_an_attempt_of_the_same_call(
    server: FaultServer, trace: Trace
) -> None:
    models = {"m": ModelConfig(targets=("openai/a",), fallbacks=("openai/b",))}
    server.script(Status(500), model="a", times=None)
    with traced_gate(server, trace, models=models) as gate:
        assert gate.post(CHAT, asked()).status == 200
    until(lambda: "chat b" in attempted(trace), "the second model was asked")
    assert set(attempted(trace)) == {"chat a", "chat b"}
    trace.calls(1)


def attempted(trace: Trace) -> list[str]:
    """Names of the attempts so far."""
    spans = trace.exporter.get_finished_spans()
    return [span.name for span in spans if span.kind is SpanKind.CLIENT]


def test_a_stale_answer_says_so(server: FaultServer, trace: Trace) -> None:
    clock = FakeClock()
    cache = CacheConfig(ttl=10, stale_if_error=100.0, max_stale=1000)
    with Runtime(
        Config(cache=cache, providers=providers_at(server), **ONE_ATTEMPT),
        clock=clock, telemetry=trace.telemetry,
    ) as runtime:  # fmt: skip
        head, body = runtime.admission.head([]), json.dumps(asked()).encode()

        async def ask() -> None:
            plan, _ = runtime.find("chat", head, body, b"")
            await runtime.forward("/chat/completions", head, body, plan)

        runtime.portal.spawn(ask).result(60)
        clock.advance(20)
        server.script(Status(500), times=None)
        runtime.portal.spawn(ask).result(60)
    assert [said(call)[names.CACHE_RESULT] for call in trace.calls(2)] == ["miss", "stale"]
