"""What is to be done with a job: where it runs, until when, for how much. Pure: times and prices
are arguments. Which line goes into which batch is decided where lines are read (`shard_plan.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

from headgate.core.money import Price, Tokens, cost_nanos, times
from headgate.jobs.limits import BatchLimits
from headgate.jobs.lines import Load
from headgate.jobs.model import BATCH, LIVE, Job
from headgate.jobs.states import QUEUED, SHARDED, SUBMITTED

USUAL_S = 3 * 3600.0
"""How long all but one in twenty batches take, where nobody has observed it: 90 % of 230 000 took
less than an hour (OpenRouter, two months of 2026), a twentieth is a guess."""
LINE_S = 5.0
"""How long one line takes on the ordinary path, where nobody has observed it."""
CANCEL_S = 600.0
"""How long a provider may take to cancel a batch (OpenAI: ten minutes)."""
_SAFETY = 1.5
_GRACE_S = 900.0
# What our own custom_id, the method and the url add to a line.
_ADDED_BYTES = 128


class Choice(NamedTuple):
    """Where a job runs, and why, for people."""

    lane: str
    reason: str


class Pace(NamedTuple):
    """How fast things go."""

    concurrency: int = 16
    """Lines under way at a time on the ordinary path."""
    line_s: float = LINE_S
    batch_s: float = USUAL_S
    """All but one in twenty batches take less."""


USUAL_PACE = Pace()


class Estimate(Struct, frozen=True):
    """What a job will take, before any of it is asked. Nothing is known of cached answers."""

    lines: int
    tokens_in: int
    tokens_out: int
    live_nanos: int
    """On the ordinary path."""
    batch_nanos: int
    unpriced: tuple[str, ...] = ()
    """Models without a known price, which count nothing here."""


def choose(job: Job, limits: BatchLimits | None, now_s: float, pace: Pace = USUAL_PACE) -> str:
    """BATCH or LIVE for what is left of a job at the wall-clock time `now_s`. `limits` are those of
    its provider; None: it has no batch API."""
    return choice(job, limits, now_s, pace).lane


def choice(job: Job, limits: BatchLimits | None, now_s: float, pace: Pace = USUAL_PACE) -> Choice:
    """As `choose`, with the reason."""
    wanted = job.options.lane
    if wanted == LIVE:
        return Choice(LIVE, "asked for")
    if limits is None:
        return Choice(LIVE, "the provider has no batch API that headgate may use")
    if not limits.takes(job.endpoint):
        return Choice(LIVE, f"the batch API of {limits.name} does not take {job.endpoint}")
    if wanted == BATCH:
        return Choice(BATCH, "asked for")
    if limits.price_factor >= 1:
        return Choice(LIVE, f"a batch at {limits.name} costs no less")
    left_s = job.deadline_s - now_s
    # A little less than the window is the window: the job was made a moment ago.
    if left_s >= limits.window_s - _GRACE_S:
        return Choice(BATCH, f"{_hours(left_s)} are left, {limits.name} promises less")
    if not job.options.rescue:
        return Choice(LIVE, f"{limits.name} promises nothing within {_hours(left_s)}")
    if left_s >= 2 * pace.batch_s and rescue_s(job, pace) - now_s >= pace.batch_s:
        return Choice(BATCH, f"most batches take less than half of the {_hours(left_s)} left")
    return Choice(LIVE, f"{_hours(left_s)} are too short for a batch")


def rescue_s(job: Job, pace: Pace = USUAL_PACE) -> float:
    """When (wall clock) what a provider's batch has not finished is to be taken back, so that the
    ordinary path can still do it by the deadline; infinity: never."""
    if not job.options.rescue:
        return math.inf
    remaining = sum(job.counts.get(state, 0) for state in (QUEUED, SHARDED, SUBMITTED))
    return job.deadline_s - CANCEL_S - live_s(remaining, pace)


def live_s(lines: int, pace: Pace = USUAL_PACE) -> float:
    """How long so many lines take on the ordinary path, with a margin of a half."""
    rounds = math.ceil(lines / pace.concurrency)
    return _SAFETY * rounds * pace.line_s


def shard_count(loads: Mapping[str, Load], limits: BatchLimits) -> int:
    """How many batches these loads come to, about."""
    return sum(_count(load, limits) for load in loads.values())


def estimate(
    loads: Mapping[str, Load],
    price: Callable[[str, bool], Price | None],
    limits: BatchLimits | None = None,
) -> Estimate:
    """What these loads cost. `price` knows a model's price, on the ordinary path (False) and in a
    batch (True); without one for batches the factor in `limits` counts."""
    live_nanos = batch_nanos = 0
    unpriced = []
    for model, load in loads.items():
        tokens = Tokens(input=load.tokens_in, output=load.tokens_out)
        live, batch = price(model, False), price(model, True)
        if live is None:
            unpriced.append(model)
            continue
        live_cost = cost_nanos(live, tokens)
        live_nanos += live_cost
        if batch is not None:
            batch_nanos += cost_nanos(batch, tokens)
        else:
            batch_nanos += live_cost if limits is None else times(live_cost, limits.price_factor)
    return Estimate(
        sum(load.lines for load in loads.values()),
        sum(load.tokens_in for load in loads.values()),
        sum(load.tokens_out for load in loads.values()),
        live_nanos,
        batch_nanos,
        tuple(unpriced),
    )


def _count(load: Load, limits: BatchLimits) -> int:
    size_bytes = load.size_bytes + load.lines * _ADDED_BYTES
    counts = [load.lines / limits.shard_items, size_bytes / limits.shard_bytes]
    if limits.enqueued_tokens_max is not None:
        counts.append((load.tokens_in + load.tokens_out) / limits.enqueued_tokens_max)
    return math.ceil(max(counts))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h"
