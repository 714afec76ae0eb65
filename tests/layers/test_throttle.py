"""Requests and tokens per minute of a client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from limiting import ALICE, BOB, LoopClock, Upstream, a_call, uncounted, whole
from msgspec.structs import replace
from virtualtime import run

from headgate.core.client import KeyRecord, client_of
from headgate.core.rate import RateSettings
from headgate.errors import RateLimited, UpstreamUnreachable
from headgate.layers.throttle import throttle
from headgate.types import Invocation, Reply, Target


def throttled(upstream: Upstream, **limits: int) -> Any:
    return throttle(RateSettings(**limits), LoopClock())(upstream)


def test_without_limits_nothing_stands_in_between() -> None:
    async def scene() -> None:
        asked: list[Any] = []
        called = throttle(RateSettings(), LoopClock())(lambda call: asked.append(call) or 7)  # type: ignore[arg-type, func-returns-value, return-value]
        assert called(a_call()) == 7, "not even an awaitable of its own"
        assert len(asked) == 1

    run(scene())


def holder(key: str, family: str, tenant: str, **limits: int) -> Any:
    made = KeyRecord(key, family, tenant, b"", ("*",), 0.0, **limits)
    return client_of(made)


def test_a_key_has_limits_of_its_own_which_its_successor_shares() -> None:
    async def scene() -> None:
        ask = throttled(Upstream(0.0), requests_per_min=1)
        first, second = (holder(key, "a", "acme", requests_per_min=3) for key in "ab")
        for client in (first, second, first):
            await ask(replace(a_call(), client=client))
        with pytest.raises(RateLimited):
            await ask(replace(a_call(), client=second))

    run(scene())


def test_keys_without_limits_of_their_own_share_those_of_their_tenant() -> None:
    async def scene() -> None:
        ask = throttled(Upstream(0.0), requests_per_min=2)
        for key in "ab":
            await ask(replace(a_call(), client=holder(key, key, "acme")))
        with pytest.raises(RateLimited):
            await ask(replace(a_call(), client=holder("c", "c", "acme")))
        await ask(replace(a_call(), client=holder("d", "d", "other")))

    run(scene())


def test_a_client_has_its_minute_whatever_it_asks_and_in_which_namespace() -> None:
    async def scene() -> None:
        ask = throttled(Upstream(0.0), requests_per_min=2)
        await ask(a_call(ALICE))
        await ask(a_call(ALICE, "other", scope=b"t" * 32, target=Target("q", "other")))
        with pytest.raises(RateLimited, match="requests per minute of this client") as caught:
            await ask(a_call(ALICE, scope=b"u" * 32))
        assert caught.value.retry_after_s == pytest.approx(30)
        await ask(a_call(BOB))
        await ask(a_call(()))
        await asyncio.sleep(30)
        await ask(a_call(ALICE))

    run(scene())


def test_tokens_are_reserved_and_settled() -> None:
    async def scene() -> None:
        upstream = Upstream(0.0)
        ask = throttled(upstream, tokens_per_min=150)
        await ask(a_call())  # 40 of them, not the 100 of the estimate
        await ask(a_call())
        with pytest.raises(RateLimited, match="tokens per minute"):
            await ask(a_call())

    run(scene())


def test_counting_tokens_takes_none() -> None:
    async def scene() -> None:
        upstream = Upstream(0.0)
        upstream.script = [uncounted() for _ in range(5)]
        ask = throttled(upstream, tokens_per_min=150)
        for _ in range(5):
            await ask(a_call(operation="count_tokens"))
        await ask(a_call())

    run(scene())


def test_what_was_not_sent_costs_the_client_nothing() -> None:
    async def scene() -> None:
        upstream = Upstream(0.0)
        upstream.script = [UpstreamUnreachable("x"), RateLimited("of a target")]
        ask = throttled(upstream, requests_per_min=1)
        with pytest.raises(UpstreamUnreachable):
            await ask(a_call())
        with pytest.raises(RateLimited, match="of a target"):
            await ask(a_call())
        await ask(a_call())
        with pytest.raises(RateLimited, match="of this client"):
            await ask(a_call())

    run(scene())


def test_callables_have_no_client() -> None:
    async def answer() -> Reply:
        return whole()

    async def scene() -> None:
        ask = throttled(Upstream(0.0), requests_per_min=1)
        call = replace(a_call(), request=Invocation(answer, 1, False))
        for _ in range(3):
            await ask(call)

    run(scene())
