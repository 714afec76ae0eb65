"""Where a job runs, until when and for how much."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import pytest
from msgspec.structs import replace

from headgate.core.money import Price, Rates
from headgate.jobs.limits import BatchLimits
from headgate.jobs.lines import Load
from headgate.jobs.model import AUTO, BATCH, LIVE, Job, JobOptions
from headgate.jobs.plan import (
    CANCEL_S,
    Pace,
    choice,
    choose,
    estimate,
    live_s,
    rescue_s,
    shard_count,
)
from headgate.jobs.states import QUEUED, SUBMITTED, SUCCEEDED

CHAT = "/v1/chat/completions"
HOUR_S = 3600.0
NOW_S = 1_000_000.0
LIMITS = BatchLimits(
    "openai", "openai", datetime.date(2026, 11, 12), endpoints=(CHAT,), requests_max=50_000,
    file_max_bytes=200_000_000, price_factor=Decimal("0.5"), reconcile="metadata",
)  # fmt: skip


def a_job(hours: float = 24, lane: str = AUTO, lines: int = 100, rescue: bool = True) -> Job:
    options = JobOptions(lane=lane, rescue=rescue)
    return Job("job_1", "", CHAT, "file_1", NOW_S, NOW_S + hours * HOUR_S, options=options,
               counts={QUEUED: lines})  # fmt: skip


@pytest.mark.parametrize(
    ("job", "lane", "why"),
    [
        (a_job(24), BATCH, "24 h are left"),
        (a_job(240), BATCH, "240 h are left"),
        (a_job(23), BATCH, "most batches take less than half"),
        (a_job(6.5), BATCH, "most batches take less than half"),
        (a_job(5.9), LIVE, "too short"),
        (a_job(0), LIVE, "too short"),
        (a_job(23, rescue=False), LIVE, "promises nothing within 23 h"),
        (a_job(24, rescue=False), BATCH, "24 h are left"),
        (a_job(24, LIVE), LIVE, "asked for"),
        (a_job(1, BATCH), BATCH, "asked for"),
        # So many lines that the ordinary path would have to begin at once.
        (a_job(7, lines=50_000), LIVE, "too short"),
        (a_job(24, lines=50_000), BATCH, "24 h are left"),
    ],
)
def test_deadline_and_wish_choose_the_lane(job: Job, lane: str, why: str) -> None:
    chosen = choice(job, LIMITS, NOW_S + 2)
    assert chosen.lane == lane == choose(job, LIMITS, NOW_S + 2)
    assert why in chosen.reason


def test_without_a_batch_api_that_takes_it_a_job_is_asked_on_the_ordinary_path() -> None:
    job = a_job(24, BATCH)
    assert choice(job, None, NOW_S) == (LIVE, "the provider has no batch API that headgate may use")
    elsewhere = replace(LIMITS, endpoints=("/v1/embeddings",))
    assert choice(job, elsewhere, NOW_S).reason == (
        "the batch API of openai does not take /v1/chat/completions"
    )
    assert choose(job, replace(LIMITS, api=""), NOW_S) == LIVE


def test_a_batch_that_costs_no_less_is_no_use() -> None:
    dear = replace(LIMITS, price_factor=Decimal(1))
    assert choose(a_job(24), dear, NOW_S) == LIVE
    assert choose(a_job(24, BATCH), dear, NOW_S) == BATCH


def test_what_has_been_observed_counts() -> None:
    assert choose(a_job(2.5), LIMITS, NOW_S, Pace(batch_s=HOUR_S)) == BATCH
    assert choose(a_job(8), LIMITS, NOW_S, Pace(batch_s=5 * HOUR_S)) == LIVE


def test_what_is_left_when_time_is_short_goes_the_ordinary_way() -> None:
    assert choose(a_job(24), LIMITS, NOW_S + 20 * HOUR_S) == LIVE


def test_the_rescue_leaves_time_to_cancel_and_to_ask_all_that_is_open() -> None:
    job = replace(a_job(24), counts={QUEUED: 100, SUBMITTED: 60, SUCCEEDED: 999})
    pace = Pace(concurrency=16, line_s=4.0)
    assert live_s(160, pace) == 1.5 * 10 * 4.0
    assert live_s(161, pace) == 1.5 * 11 * 4.0
    assert live_s(0, pace) == 0
    assert rescue_s(job, pace) == job.deadline_s - CANCEL_S - 60.0
    assert rescue_s(a_job(24, rescue=False), pace) == math.inf


def test_the_number_of_batches_is_foretold() -> None:
    loads = {"a": Load(25_000, 1000, 1000, 5_000_000), "b": Load(1, 1, 1, 100)}
    assert shard_count(loads, LIMITS) == 3 + 1
    assert shard_count(loads, replace(LIMITS, file_max_bytes=2_000_000)) == 5 + 1
    assert shard_count(loads, replace(LIMITS, enqueued_tokens_max=300)) == 7 + 1
    assert shard_count({}, LIMITS) == 0


# Money.


def prices(model: str, batch: bool) -> Price | None:
    if model == "unknown" or (batch and model == "no batch"):
        return None
    share = 5 if batch else 10
    return Price(Rates(share * 10**9, 0, 0, 4 * share * 10**9, 0), "v1")


def test_a_job_costs_the_sum_of_its_loads() -> None:
    loads = {"a": Load(2, 1000, 500, 1), "no batch": Load(1, 1000, 0, 1)}
    told = estimate(loads, prices, LIMITS)
    assert (told.lines, told.tokens_in, told.tokens_out) == (3, 2000, 500)
    assert told.live_nanos == (1000 * 10 + 500 * 40 + 1000 * 10) * 1000
    # The one has a price for batches, the other the provider's factor.
    assert told.batch_nanos == told.live_nanos // 2
    assert estimate(loads, prices).batch_nanos == (15_000 + 10_000) * 1000
    assert told.unpriced == ()


def test_what_has_no_price_is_named_and_counts_nothing() -> None:
    told = estimate({"unknown": Load(5, 100, 100, 1), "a": Load(1, 1, 0, 1)}, prices, LIMITS)
    assert told.unpriced == ("unknown",)
    assert (told.lines, told.live_nanos, told.batch_nanos) == (6, 10_000, 5_000)
