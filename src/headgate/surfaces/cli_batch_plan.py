"""What a job would be, before it is one: its lane, its batches, its cost. Asks nobody."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from headgate.admission import Admission
from headgate.clock import Clock
from headgate.config import Config
from headgate.core.money import NANOS_PER_DOLLAR, Price
from headgate.jobs.limits import BatchLimits, limits_of, shipped
from headgate.jobs.lines import OPERATIONS, Checked, Load
from headgate.jobs.model import BATCH, Job, JobOptions
from headgate.jobs.plan import Choice, Estimate, Pace, choice, estimate, shard_count
from headgate.pricing import Prices
from headgate.types import Target


class Part(Struct, frozen=True):
    """The lines of one model."""

    model: str
    target: str
    chosen: Choice
    estimate: Estimate
    batches: int

    @property
    def cost_nanos(self) -> int | None:
        """In its lane; None: nobody knows the price."""
        if self.estimate.unpriced:
            return None
        is_batch = self.chosen.lane == BATCH
        return self.estimate.batch_nanos if is_batch else self.estimate.live_nanos


class Planner:
    """Plans jobs under one configuration."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self._admission = Admission(config)
        self._prices = Prices(config, clock=clock, uses_list=True)
        self._table = shipped()

    def choices(
        self, checked: Checked, options: JobOptions, deadline_s: float
    ) -> dict[str, Choice]:
        """The lane of each model."""
        job = self._job(checked, options, deadline_s)
        return {model: self._choice(job, self._target(job, model)) for model in checked.loads}

    def plan(self, checked: Checked, options: JobOptions, deadline_s: float) -> list[Part]:
        """A part for each model. May wait for the table of prices."""
        job = self._job(checked, options, deadline_s)
        return [self._part(job, model, load) for model, load in checked.loads.items()]

    def _job(self, checked: Checked, options: JobOptions, deadline_s: float) -> Job:
        now_s = self._clock.wall()
        return Job("", "", checked.endpoint, "", now_s, now_s + deadline_s, options=options)

    def _target(self, job: Job, model: str) -> Target:
        _, routes = self._admission.resolve(model, OPERATIONS[job.endpoint])
        return routes[0].target

    def _choice(self, job: Job, target: Target) -> Choice:
        pace = Pace(self._config.batch.jobs.concurrency)
        return choice(job, self._limits(target), job.created_s, pace)

    def _part(self, job: Job, model: str, load: Load) -> Part:
        target = self._target(job, model)
        limits = self._limits(target)

        def price(_: str, batch: bool) -> Price | None:
            return self._prices.resolve(target.provider, target.model, batch=batch)

        chosen, batches = self._choice(job, target), 0
        if limits is not None and chosen.lane == BATCH:
            batches = shard_count({model: load}, limits)
        return Part(model, target.name, chosen, estimate({model: load}, price, limits), batches)

    def _limits(self, target: Target) -> BatchLimits | None:
        config = self._config
        provider = config.providers[target.provider]
        return limits_of(target.provider, provider, config.batch_api, self._table)


def plan_as_json(checked: Checked, parts: list[Part]) -> dict[str, Any]:
    """A plan as one JSON object."""
    return {
        "endpoint": checked.endpoint,
        "lines": len(checked.lines),
        "different": len(checked.lines) - checked.followers,
        "models": [_part_as_json(part) for part in parts],
        "cost_usd": None if _unpriced(parts) else _dollars(_sum(parts)),
    }


def plan_in_rows(parts: list[Part]) -> list[tuple[object, ...]]:
    """A row for each model: with `PLAN_COLUMNS`."""
    return [
        (
            part.model, part.target, part.estimate.lines, f"{part.estimate.tokens_in:,}",
            f"{part.estimate.tokens_out:,}", part.chosen.lane, part.batches or "-",
            _shown(part.cost_nanos),
        )
        for part in parts
    ]  # fmt: skip


PLAN_COLUMNS = (
    "model", "target", "asked", "tokens in", "out at most", "lane", "batches", "dollars",
)  # fmt: skip


def plan_in_words(checked: Checked, parts: list[Part]) -> list[str]:
    """What stands below the table."""
    count, followers = len(checked.lines), checked.followers
    # The sum of those that have a price is not what it costs.
    least = "at least" if _unpriced(parts) else "about"
    lines = [f"{count:,} lines of {checked.endpoint}, {count - followers:,} different: "
             f"{least} ${_shown(_sum(parts))}, less what the cache has"]  # fmt: skip
    lines += [f"{part.model}: {part.chosen.lane}: {part.chosen.reason}" for part in parts]
    lines += [f"{model}: its price is not known, and not counted" for model in _unpriced(parts)]
    return [*lines, "nothing was sent, and nothing written"]


def _part_as_json(part: Part) -> dict[str, Any]:
    return {
        "model": part.model,
        "target": part.target,
        "asked": part.estimate.lines,
        "tokens_in": part.estimate.tokens_in,
        "tokens_out": part.estimate.tokens_out,
        "lane": part.chosen.lane,
        "reason": part.chosen.reason,
        "batches": part.batches,
        "cost_usd": _dollars(part.cost_nanos),
    }


def _unpriced(parts: list[Part]) -> list[str]:
    """Models of which nobody knows the price."""
    return [part.model for part in parts if part.cost_nanos is None]


def _sum(parts: list[Part]) -> int:
    return sum(part.cost_nanos or 0 for part in parts)


def _dollars(nanos: int | None) -> float | None:
    return None if nanos is None else nanos / NANOS_PER_DOLLAR


def _shown(nanos: int | None) -> str:
    return "-" if nanos is None else f"{nanos / NANOS_PER_DOLLAR:,.4f}"
