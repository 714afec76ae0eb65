"""Limits inside the whole stack: with cache, coalescing, retries, fallbacks and breakers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from limiting import ALICE, BOB, LoopClock, Upstream, a_call, whole
from msgspec.structs import replace
from virtualtime import run

from headgate import pipeline
from headgate.config import Config, ProviderConfig
from headgate.errors import QueueFull, RateLimited
from headgate.layers.fill import Fill
from headgate.layers.settings import LimitsConfig
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.pricing import Prices
from headgate.stores.memory import MemoryStore
from headgate.stores.tiers import Tiers
from headgate.stream import Whole
from headgate.types import Call, Reply, Route, Service, Target, Usage

ANSWER = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}'


class Answering(Upstream):
    """An upstream whose answers may be kept."""

    async def __call__(self, call: Call) -> Reply:
        reply = await super().__call__(call)
        return replace(reply, body=Whole(ANSWER)) if reply.status == 200 else reply


def a_stack(bottom: Service, limits: LimitsConfig, **more: Any) -> Service:
    """As a runtime builds it, in the running loop's time."""
    clock = LoopClock()
    config = Config(limits=limits, providers={"p": ProviderConfig(**more), "q": ProviderConfig()})
    tiers, metrics = Tiers(MemoryStore(), None, clock), Metrics()
    throttled, limited = pipeline.limits(pipeline.limiting(config, clock), clock)
    observed = pipeline.observed(metrics, Ledger(Prices(config), clock), clock)
    fill = Fill(tiers, clock, metrics)
    front = pipeline.front(config.cache, tiers, fill, clock, observed, throttled)
    guarded = pipeline.per_target(config, pipeline.resilience(config, clock), clock, limited)
    return pipeline.stack(front + guarded, bottom)


def asked(number: int, **more: Any) -> Call:
    return a_call(key=number.to_bytes(32, "big"), **more)


async def ends(ask: Service, *calls: Call) -> list[str]:
    ended = await asyncio.gather(*map(ask, calls), return_exceptions=True)
    return [str(end.status) if isinstance(end, Reply) else type(end).__name__ for end in ended]


def test_a_thousand_callers_never_exceed_ten_places() -> None:
    async def scene() -> None:
        upstream = Answering(0.5)
        limits = LimitsConfig(concurrency_max=10, queue_max=1000, queue_wait=100.0)
        told = await ends(a_stack(upstream, limits), *map(asked, range(1000)))
        assert told == ["200"] * 1000
        assert (upstream.most_inside, upstream.asked) == (10, 1000)

    assert run(scene())[1] == pytest.approx(50.0, rel=0.01)


def test_who_has_no_place_in_time_is_refused_and_the_provider_never_sees_it() -> None:
    async def scene() -> None:
        upstream = Answering(0.4)
        limits = LimitsConfig(concurrency_max=10, queue_max=100, queue_wait=1.0)
        told = await ends(a_stack(upstream, limits), *map(asked, range(1000)))
        # At once, after 0.4 s and after 0.8 s; who would have come after 1.2 s was refused at 1 s.
        assert (told.count("200"), told.count("QueueFull")) == (30, 970)
        assert (upstream.most_inside, upstream.asked) == (10, 30)

    run(scene())


def test_hits_and_joined_calls_take_no_place_and_no_request() -> None:
    async def scene() -> None:
        upstream = Answering(0.1)
        limits = LimitsConfig(concurrency_max=1, queue_max=0, client_requests_per_minute=1)
        ask = a_stack(upstream, limits, requests_per_minute=1)
        for _ in range(2):
            assert await ends(ask, *[asked(1)] * 50) == ["200"] * 50
        assert upstream.asked == 1
        assert await ends(ask, asked(2)) == ["RateLimited"]

    run(scene())


def test_a_target_without_a_place_is_passed_over_for_another() -> None:
    async def scene() -> None:
        upstream = Answering(0.1)
        limits = LimitsConfig(concurrency_max=1, queue_max=0)
        routes = Route(Target("p", "m")), Route(Target("q", "m"))
        calls = [asked(number, routes=routes) for number in range(3)]
        told = await ends(a_stack(upstream, limits), *calls)
        assert sorted(told) == ["200", "200", "QueueFull"]
        assert upstream.asked == 2

    run(scene())


def test_a_retry_takes_a_place_and_a_request_anew() -> None:
    async def scene() -> None:
        upstream = Answering(0.1)
        upstream.script = [whole(500)]
        ask = a_stack(upstream, LimitsConfig(concurrency_max=1), requests_per_minute=2)
        assert await ends(ask, asked(1)) == ["200"]
        assert upstream.asked == 2
        assert await ends(ask, asked(2)) == ["RateLimited"]

    run(scene())


def test_the_usage_that_an_attempt_was_judged_by_settles_its_reservation() -> None:
    counted = ANSWER[:-1] + b', "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'

    async def bottom(call: Call) -> Reply:
        return Reply(200, (), Whole(counted), Usage())

    async def scene() -> None:
        limits = LimitsConfig(client_tokens_per_minute=200)
        ask = a_stack(bottom, limits, tokens_per_minute=200)
        # Estimates of 100 would let two pass; they cost 5 each.
        for number in range(21):
            assert await ends(ask, asked(number)) == ["200"]
        assert await ends(ask, asked(21)) == ["RateLimited"]

    run(scene())


def test_clients_that_send_other_credentials_do_not_share_a_minute() -> None:
    async def scene() -> None:
        ask = a_stack(Answering(0.1), LimitsConfig(client_requests_per_minute=1))
        calls = asked(1, credential=ALICE), asked(2, credential=ALICE), asked(3, credential=BOB)
        assert await ends(ask, *calls) == ["200", "RateLimited", "200"]

    run(scene())


def test_refusals_say_when_to_come_back() -> None:
    async def scene() -> None:
        limits = LimitsConfig(concurrency_max=1, queue_max=0)
        ask = a_stack(Answering(1.0), limits, requests_per_minute=2)
        ended = await asyncio.gather(*map(ask, map(asked, range(2))), return_exceptions=True)
        full = ended[1]
        assert isinstance(full, QueueFull)
        assert full.retry_after_s == 2.0
        await ask(asked(3))
        with pytest.raises(RateLimited) as caught:
            await ask(asked(4))
        assert caught.value.retry_after_s == pytest.approx(28, abs=1)

    run(scene())
