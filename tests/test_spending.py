"""What calls took of a rate when they are over."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from limiting import Upstream, a_call, whole
from virtualtime import run

from headgate.core.outcome import OUTCOMES, Outcome
from headgate.core.rate import Rate, RateSettings, Reservation
from headgate.errors import UpstreamUnreachable
from headgate.spending import Charge, followed, give_back, reported_tier, reported_usage
from headgate.stream import Value, Whole
from headgate.types import NO_USAGE, Reply, Usage

PER_MIN = 600


def taken(reason: str, reply: Reply | None, estimate: int = 100) -> tuple[int, int]:
    """Requests and tokens that a call took which ended like this."""
    rate = Rate(RateSettings(requests_per_min=PER_MIN, tokens_per_min=PER_MIN), 0.0)
    reservation = rate.reserve(estimate, 0.0)
    assert isinstance(reservation, Reservation)
    give_back(rate, reservation, OUTCOMES[reason], reply, 0.0)
    assert rate.pending == 0
    assert rate._requests is not None
    assert rate._tokens is not None
    return round(PER_MIN - rate._requests.level), round(PER_MIN - rate._tokens.level)


@pytest.mark.parametrize(
    ("reason", "tokens"),
    [("ok", 40), ("bad_request", 0), ("rate_limit", 0), ("authentication", 0),
     ("server_error", 100), ("first_token_timeout", 100), ("cut", 100), ("left", 100)],
)  # fmt: skip
def test_tokens_are_those_reported_or_none_or_the_estimate(reason: str, tokens: int) -> None:
    assert taken(reason, whole(tokens=40)) == (1, tokens)


@pytest.mark.parametrize("reason", ["unreachable", "connect_timeout", "refused"])
def test_what_was_not_sent_costs_nothing(reason: str) -> None:
    assert taken(reason, None) == (0, 0)


def test_what_nobody_counted_costs_its_estimate() -> None:
    assert taken("ok", Reply(200, (), Whole(b"{}"))) == (1, 100)
    assert taken("total_timeout", None) == (1, 100)


def test_a_stream_that_was_left_costs_what_it_had_reported_if_that_is_more() -> None:
    assert taken("left", whole(tokens=300)) == (1, 300)


def looked_at(usage: Usage, tier: str = "") -> Any:
    return SimpleNamespace(inspection=SimpleNamespace(usage=usage, tier=tier))


def test_the_tier_is_the_one_that_the_reply_names() -> None:
    assert reported_tier(Reply(200, (), Whole(b'{"service_tier": "flex"}'))) == "flex"
    assert reported_tier(Reply(200, (), Whole(b"{}"))) == ""
    assert reported_tier(Reply(200, (), looked_at(NO_USAGE, "priority"))) == "priority"
    assert reported_tier(Reply(200, (), Value.of({}), tier="batch")) == "batch"


def test_usage_is_found_where_it_stands() -> None:
    content = b'{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
    assert reported_usage(whole(tokens=40)).tokens == 40
    assert reported_usage(Reply(200, (), Whole(content))) == Usage(3, 4)
    assert reported_usage(Reply(200, (), looked_at(Usage(5, 6)))) == Usage(5, 6)
    body: Any = SimpleNamespace()
    assert reported_usage(Reply(200, (), body)) is NO_USAGE


def test_a_call_that_is_followed_tells_once_how_it_ended() -> None:
    async def scene() -> list[tuple[str, bool]]:
        upstream = Upstream()
        told: list[tuple[str, bool]] = []

        def tell(outcome: Outcome, reply: Reply | None) -> None:
            told.append((outcome.reason, reply is not None))

        await followed(upstream, a_call(), tell)
        upstream.script.append(UpstreamUnreachable("refused"))
        with pytest.raises(UpstreamUnreachable):
            await followed(upstream, a_call(), tell)
        leaving = asyncio.ensure_future(followed(upstream, a_call(), tell))
        await asyncio.sleep(0.5)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        return told

    assert run(scene())[0] == [("ok", True), ("unreachable", False), ("left", False)]


def charged(*parts: tuple[str, Reply | None], estimate: int = 100) -> tuple[int, int]:
    """Requests and tokens that a call took whose parts ended like this, each thought to take 30."""
    rate = Rate(RateSettings(requests_per_min=PER_MIN, tokens_per_min=PER_MIN), 0.0)
    reservation = rate.reserve(estimate, 0.0)
    assert isinstance(reservation, Reservation)
    charge = Charge(rate, reservation)
    for _ in parts:
        charge.begin()
    for reason, reply in parts:
        assert rate.pending == 1
        charge.end(30, OUTCOMES[reason], reply, 0.0)
    assert rate.pending == 0
    assert rate._requests is not None
    assert rate._tokens is not None
    return round(PER_MIN - rate._requests.level), round(PER_MIN - rate._tokens.level)


@pytest.mark.parametrize(
    ("reasons", "tokens"),
    [(("ok", "ok"), (1, 80)), (("ok", "bad_request"), (1, 40)), (("cut", "ok"), (1, 70)),
     (("refused", "ok"), (1, 40)), (("refused", "refused"), (0, 0))],
)  # fmt: skip
def test_the_parts_of_one_call_are_one_request_and_all_their_tokens(
    reasons: tuple[str, ...], tokens: tuple[int, int]
) -> None:
    parts = [(reason, whole(tokens=40) if reason == "ok" else None) for reason in reasons]
    assert charged(*parts) == tokens


def test_a_charge_ends_once_whatever_comes_later() -> None:
    rate = Rate(RateSettings(requests_per_min=PER_MIN), 0.0)
    reservation = rate.reserve(0, 0.0)
    assert isinstance(reservation, Reservation)
    charge = Charge(rate, reservation)
    for _ in range(2):
        charge.begin()
        charge.end(0, OUTCOMES["refused"], None, 0.0)
    assert rate.pending == 0
    assert rate._requests is not None
    assert rate._requests.level == PER_MIN
