"""What is counted, as a reader of the SDK collects it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from telemetry.tracing import CHAT, Trace, traced_gate

from headgate.config import PriceConfig
from headgate.layers.settings import RetryConfig
from headgate.providers.settings import ModelConfig
from headgate.telemetry import names
from headgate.testing import FaultServer, Status

MODELS = {"m": ModelConfig(targets=("openai/m",))}
PRICES = {"openai/m": PriceConfig(input=1.0, output=2.0)}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def asked(about: str = "France", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"Capital of {about}?"}], **more}


def test_an_attempt_is_measured_and_a_hit_is_not(server: FaultServer) -> None:
    trace = Trace()
    with traced_gate(server, trace, models=MODELS) as gate:
        usage = gate.post(CHAT, asked()).json["usage"]
        gate.post(CHAT, asked())
        (duration,) = trace.points(names.DURATION_METRIC)
        assert duration.count == 1
        assert tuple(duration.explicit_bounds) == names.SECONDS_BOUNDS
        assert dict(duration.attributes) == {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "m", "server.address": "127.0.0.1",
        }  # fmt: skip
        tokens = {
            dict(p.attributes)[names.TOKEN_TYPE]: p for p in trace.points(names.TOKENS_METRIC)
        }
        assert {kind: point.sum for kind, point in tokens.items()} == {
            "input": usage["prompt_tokens"], "output": usage["completion_tokens"]
        }  # fmt: skip
        assert tuple(tokens["input"].explicit_bounds) == names.TOKENS_BOUNDS
        assert trace.points(names.FIRST_CHUNK_METRIC) == []


def test_a_stream_measures_its_first_chunk(server: FaultServer) -> None:
    trace = Trace()
    with traced_gate(server, trace, models=MODELS) as gate:
        gate.post(CHAT, asked(stream=True))
        trace.attempts(1)
        (first,) = trace.points(names.FIRST_CHUNK_METRIC)
        (duration,) = trace.points(names.DURATION_METRIC)
        assert first.count == duration.count == 1
        assert 0 < first.sum <= duration.sum


def test_failures_are_measured_apart(server: FaultServer) -> None:
    trace = Trace()
    server.script(Status(500))
    with traced_gate(server, trace, models=MODELS, retry=RetryConfig(backoff=0.01)) as gate:
        gate.post(CHAT, asked())
        trace.attempts(2)
        errors = [dict(p.attributes).get(names.ERROR) for p in trace.points(names.DURATION_METRIC)]
        assert sorted(errors, key=str) == [None, "server_error"]


def test_calls_and_dollars_are_read_from_the_runtimes_own_counters(server: FaultServer) -> None:
    trace = Trace()
    with traced_gate(server, trace, models=MODELS, prices=PRICES) as gate:
        gate.post(CHAT, asked())
        gate.post(CHAT, asked())
        trace.calls(2)
        calls = {dict(p.attributes)[names.CALL_RESULT]: p.value
                 for p in trace.points(names.CALLS_METRIC)}  # fmt: skip
        assert calls["hit_exact"] == calls["upstream"] == 1
        assert sum(calls.values()) == 2
        cost = {dict(p.attributes)[names.KIND]: p.value for p in trace.points(names.COST_METRIC)}
        sums = gate.runtime.ledger.sums()["m"]
        assert cost == {kind: one.nanos / 1e9 for kind, one in sums.items()}
        assert cost["answer"] > 0


def test_names_that_clients_invent_make_no_series(server: FaultServer) -> None:
    trace = Trace()
    with traced_gate(server, trace) as gate:
        for number in range(5):
            server.script(Status(404))
            gate.post(CHAT, asked(model=f"invented-{number}"))
        trace.attempts(5)
        models = {dict(p.attributes)[names.REQUEST_MODEL]
                  for p in trace.points(names.DURATION_METRIC)}  # fmt: skip
        assert models == {"other"}
