"""Which jobs go to the providers' batches, and when they are taken back: the pure plan, with what
this configuration says of providers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from headgate.clock import Clock
from headgate.core.client import Client
from headgate.jobs import plan
from headgate.jobs.disk import Disk
from headgate.jobs.model import BATCH, LIVE, Job
from headgate.jobs.shards import BatchLane
from headgate.runtime import Runtime


class Batches(NamedTuple):
    """How jobs go to the providers' batches."""

    lane: BatchLane
    choose: Callable[[Job, float], str]
    """BATCH or LIVE, for a job at a time (wall clock)."""
    rescue_s: Callable[[Job], float]
    """When (wall clock) to take back what the providers have not finished; infinity: never."""


def batches_of(
    runtime: Runtime, disk: Disk, clock: Clock, concurrency: int,
    client_of: Callable[[str], Client] | None = None,
) -> Batches:  # fmt: skip
    """Those of the providers of `runtime`."""
    lane, pace = BatchLane(runtime, disk, clock, client_of=client_of), plan.Pace(concurrency)

    def choose(job: Job, now_s: float) -> str:
        """A batch wherever one provider would take it: what it does not take stays queued."""
        return BATCH if lane.chosen(job, now_s) else LIVE

    return Batches(lane, choose, lambda job: plan.rescue_s(job, pace))
