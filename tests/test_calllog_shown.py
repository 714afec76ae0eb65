"""One call as JSON: against a real provider that fails, is slow, and counts tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from calling import FAKE, Asker
from gates import ONE_ATTEMPT, Gate
from keyring import a_record
from oracle import until

from headgate.calllog_causes import Cause
from headgate.calllog_shown import explained
from headgate.config import Config, PriceConfig, ProviderConfig
from headgate.core.client import client_of
from headgate.core.difference import Change
from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.runtime import Runtime
from headgate.testing import Answer, FakeClock, FakeProvider, Status

QUESTION: Any = [{"role": "user", "content": "Capital of France?"}]
PRICES = {"m": PriceConfig(input=Decimal(1), output=Decimal(2))}


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def gate(provider: FakeProvider) -> Iterator[Gate]:
    settings = ProviderConfig(kind="openai", base_url=provider.base_url)
    config = Config(
        providers={"openai": settings}, prices=PRICES,
        retry=RetryConfig(attempts=3, backoff=0.001), breaker=BreakerConfig(enabled=False),
    )  # fmt: skip
    gate = Gate(config)
    yield gate
    gate.close()


@pytest.fixture
def ask(gate: Gate) -> Iterator[Callable[..., Any]]:
    with openai.OpenAI(base_url=gate.openai_url, api_key="sk-canary", max_retries=0) as client:

        def one(**more: Any) -> Any:
            return client.chat.completions.create(model="m", messages=QUESTION, **more)

        yield one


def last(gate: Gate, count: int = 1) -> dict[str, Any]:
    """The last call, once there are so many."""
    until(lambda: len(gate.get("/api/calls").json["calls"]) == count, f"{count} calls")
    found: dict[str, Any] = gate.get("/api/calls").json["calls"][0]
    return found


def test_each_attempt_is_shown_with_how_it_ended(
    gate: Gate, provider: FakeProvider, ask: Callable[..., Any]
) -> None:
    provider.script(Status(503), Status(429, {"retry-after": "0"}))
    ask()
    one = last(gate)
    assert [(it["target"], it["outcome"], it["status"]) for it in one["attempts"]] == [
        ("openai/m", "unavailable", 503), ("openai/m", "rate_limit", 429), ("openai/m", "ok", 200),
    ]  # fmt: skip
    assert (one["status"], one["error"], one["cache"], one["stored"]) == (200, "", "miss", True)
    began = [it["began_ms"] for it in one["attempts"]]
    assert began == sorted(began)
    assert 0 <= one["queue_ms"] <= began[-1] <= one["first_ms"] <= one["total_ms"]


def test_a_call_that_fails_shows_its_error(
    gate: Gate, provider: FakeProvider, ask: Callable[..., Any]
) -> None:
    provider.script(*[Status(500)] * 3)
    with pytest.raises(openai.InternalServerError):
        ask()
    one = last(gate)
    assert (one["status"], one["error"], len(one["attempts"])) == (500, "server_error", 3)
    assert (one["stored"], one["tokens"]["output"], one["saved_usd"]) == (False, 0, "0")


def test_tokens_and_dollars_are_those_of_the_ledger(gate: Gate, ask: Callable[..., Any]) -> None:
    usage = ask().usage
    ask()
    cost = gate.get("/api/metrics/llm").json["cost"]
    found = gate.get("/api/calls").json["calls"]
    assert [one["cache"] for one in found] == ["hit", "miss"]
    for one in found:
        tokens = one["tokens"]
        assert (tokens["input"], tokens["output"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert float(found[1]["cost_usd"]) == cost["billed_usd"] > 0
    assert float(found[0]["saved_usd"]) == cost["saved_usd"] == cost["billed_usd"]
    assert (found[0]["cost_usd"], found[1]["saved_usd"]) == ("0", "0")


def test_a_stream_is_shown_when_it_has_ended(gate: Gate, ask: Callable[..., Any]) -> None:
    list(ask(stream=True))
    one = last(gate)
    assert (one["stream"], one["stored"], one["error"]) == (True, True, "")
    assert one["attempts"][0]["outcome"] == "ok"
    assert one["first_ms"] <= one["total_ms"]
    assert one["tokens"]["output"] > 0


def test_a_stream_whose_client_leaves_is_cancelled(gate: Gate, ask: Callable[..., Any]) -> None:
    with ask(stream=True, max_tokens=4000) as stream:
        next(iter(stream))
    one = last(gate)
    assert one["error"] in ("", "cancelled")
    assert one["stream"]


def test_calls_that_joined_one_under_way_are_shown_as_such(
    gate: Gate, provider: FakeProvider, ask: Callable[..., Any]
) -> None:
    provider.script(Answer(delay_s=0.5))
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(provider.calls) == 1
    last(gate, 3)
    found = gate.get("/api/calls").json["calls"]
    # One that came late is a hit.
    assert {one["cache"] for one in found} <= {"miss", "joined", "hit"}
    (leader,) = [one for one in found if one["cache"] == "miss"]
    for one in found:
        if one is not leader:
            assert (one["attempts"], one["why"]["reason"]) == ([], one["cache"])
            assert one["saved_usd"] == leader["cost_usd"]


def test_a_stale_answer_is_shown_with_the_attempts_it_stood_in_for() -> None:
    clock = FakeClock()
    with FakeProvider() as provider:
        settings = ProviderConfig(kind="openai", base_url=provider.base_url)
        with Asker(clock, providers={"openai": settings}, **ONE_ATTEMPT) as asker:
            asker.ask()
            clock.advance(3_700)
            provider.script(Status(503))
            record = asker.ask(("cache-control", "stale-if-error=600"))
            one = asker.shown(record)
            assert (one["cache"], one["status"]) == ("stale", 200)
            assert [it["outcome"] for it in one["attempts"]] == ["unavailable"]
            assert asker.why(record).reason == "stale"


def test_a_refusal_is_shown_without_attempts() -> None:
    with Asker() as asker:
        one = asker.shown(asker.ask(("cache-control", "only-if-cached")))
        assert (one["status"], one["attempts"], one["queue_ms"]) == (None, [], None)
        assert one["error"]
        assert (one["cache"], one["first_ms"]) == ("miss", None)


def test_what_kept_the_cache_out_is_named() -> None:
    with Asker() as asker:
        shown = [
            asker.shown(asker.ask(("cache-control", said))) for said in ("no-cache", "no-store")
        ]
        assert [(one["cache"], one["cache_reason"]) for one in shown] == [
            ("bypass", "no_cache"), ("bypass", "no_store"),
        ]  # fmt: skip
        assert [(one["stored"], one["not_stored"]) for one in shown] == [
            (True, ""), (False, "no_store"),
        ]  # fmt: skip


def test_moments_are_of_the_clock_and_names_are_digests() -> None:
    clock = FakeClock()
    with Asker(clock, providers=FAKE) as asker:
        clock.advance(61)
        record = asker.ask(("headgate-namespace", "team"))
        one = asker.shown(record)
        assert one["at"] == "2026-01-01T00:01:01.000+00:00"
        assert (one["key"], one["tenant"]) == (record.key[:8].hex(), record.scope[:8].hex())
        assert (one["namespace"], one["target"], one["operation"]) == ("team", "fake/m", "chat")


def test_whose_call_it_was_is_shown_as_in_the_ledger_for_hits_too() -> None:
    client = client_of(a_record("acme", id="first"))
    with Asker(providers=FAKE) as asker:
        shown = [asker.shown(asker.ask(client=client)) for _ in range(2)]
        assert [one["cache"] for one in shown] == ["miss", "hit"]
        assert {(one["tenant"], one["client"]) for one in shown} == {("acme", "first")}
        assert asker.shown(asker.ask())["client"] == ""


def test_nobody_knows_what_a_callable_costs() -> None:
    with Runtime() as runtime, Asker() as asker:
        runtime.cached_llm_call("q", "m", None, lambda: "a")
        (record,) = runtime.calls.records()
        one = asker.shown(record)
        assert (one["cost_usd"], one["saved_usd"]) == (None, None)


def test_why_is_shown_with_values_only_where_they_may_be() -> None:
    cause = Cause("differs", "words", "c-1", 12.0004, (
        Change("temperature", "changed", 0, 0.7, True), Change("messages[0].content"),
    ))  # fmt: skip
    assert explained(cause) == {
        "reason": "differs", "text": "words", "compared_with": "c-1", "earlier_s": 12.0,
        "differs": [
            {"field": "temperature", "kind": "changed", "was": 0, "now": 0.7},
            {"field": "messages[0].content", "kind": "changed"},
        ],
    }  # fmt: skip
    assert explained(Cause("first", "words"))["compared_with"] is None
