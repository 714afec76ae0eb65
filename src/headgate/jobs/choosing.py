"""Which jobs go to the batch APIs of providers, and when they are taken back: what a runner asks."""

from __future__ import annotations

from collections.abc import Callable

from headgate.clock import Clock
from headgate.core.client import Client
from headgate.jobs import plan
from headgate.jobs.base import JobStore
from headgate.jobs.disk import Disk
from headgate.jobs.model import BATCH, LIVE, Job
from headgate.jobs.runner import Batches
from headgate.jobs.shards import BatchLane, LaneSettings
from headgate.runtime import Runtime


def open_batches(
    runtime: Runtime, store: JobStore, clock: Clock,
    client_of: Callable[[str], Client] | None = None,
    settings: LaneSettings = LaneSettings(),  # noqa: B008
) -> Batches:  # fmt: skip
    """The batch lane for a runner over the same runtime and store, which closes it."""
    disk = Disk(store)
    lane = BatchLane(runtime, disk, clock, settings, client_of)
    pace = plan.Pace(runtime.config.batch.jobs.concurrency)

    def choose(job: Job, now_s: float) -> str:
        return BATCH if lane.chosen(job, now_s) else LIVE

    def rescue_s(job: Job, _: float) -> float:
        return plan.rescue_s(job, pace)

    return Batches(lane, choose, rescue_s, disk.close)
