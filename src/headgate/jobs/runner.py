"""One job from its claim to its end: the lease and its heartbeat, the choice of the lane, the wish
to cancel, the deadline.

Knows no command line and no HTTP: whoever has jobs runs them with this, in the home loop of a
runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from headgate.clock import Clock, secret_bytes
from headgate.core.client import Client
from headgate.errors import BadRequest, HeadgateError, StoreError
from headgate.jobs.base import JobStore
from headgate.jobs.choosing import batches_of
from headgate.jobs.disk import Disk
from headgate.jobs.live import LiveLane, LiveSettings
from headgate.jobs.model import BATCH, Job, Lease, Settled
from headgate.jobs.pages import close_pages
from headgate.jobs.states import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    FINALIZING,
    IN_PROGRESS,
    JOB_CANCELLED,
    JOB_EXPIRED,
    QUEUED,
    SHARDED,
    SUBMITTED,
)
from headgate.runtime import Runtime

LEASE_S = 10.0
LOOK_S = 1.0
"""How soon a wish to cancel is seen."""
GRACE_S = 30.0
"""How long lines that are under way may take to end, when their job is cancelled: they are paid
for."""
_AT_ONCE = 500
_FIRST = asyncio.FIRST_COMPLETED
_OPEN = frozenset({QUEUED, SHARDED, SUBMITTED})
_GOES_ON, _CANCEL, _RESCUE, _STOP = "", "cancel", "rescue", "stop"


class RunnerSettings(NamedTuple):
    """How jobs are worked on."""

    live: LiveSettings = LiveSettings()
    lease_s: float = LEASE_S
    grace_s: float = GRACE_S
    owner: str = ""
    """In whose name jobs are claimed; "": in one that nobody else has. Whoever makes sure that one
    process at a time uses a name need not wait for the lease of one that was killed."""


class Runner:
    """Works on jobs of `store`, one `run` at a time for each job. On the home loop of `runtime`.

    `client_of` finds the client key by whose limits a job is asked, by its id; it raises
    HeadgateError where the key may not be used any more. Close it when nothing runs any more.
    """

    def __init__(
        self, runtime: Runtime, store: JobStore, clock: Clock, settings: RunnerSettings,
        client_of: Callable[[str], Client] | None = None,
    ) -> None:  # fmt: skip
        self._runtime, self._clock, self._settings = runtime, clock, settings
        self._client_of = client_of
        self._disk = Disk(store)
        concurrency = settings.live.concurrency
        self._batches = batches_of(runtime, self._disk, clock, concurrency, client_of)
        self._stopping = asyncio.Event()
        self.owner = settings.owner or f"worker-{secret_bytes(8).hex()}"

    def stop(self) -> None:
        """Every `run` returns soon: when the lines that are under way have ended. What is not done
        stays queued."""
        self._stopping.set()

    def close(self) -> None:
        """Waits for the disk."""
        self._disk.close()

    async def run(self, job_id: str) -> Job | None:
        """Works on a job until it has ended, or `stop`; the job as it is then. None: somebody else
        works on it, or there is nothing to do. Raises Fenced where another worker has taken it
        over. Cancelled, it leaves the job to whoever comes next."""
        lease = await self._disk.do(
            lambda store: store.claim(job_id, self.owner, self._settings.lease_s)
        )
        if lease is None:
            return None
        try:
            await _Run(self, lease).work()
        finally:
            await self._disk.do(lambda store: store.release(lease))
        return await self._disk.do(lambda store: store.job(job_id, None))


class _Run:
    """One job under one lease."""

    def __init__(self, runner: Runner, lease: Lease) -> None:
        self._runner, self._lease = runner, lease
        self._disk, self._clock = runner._disk, runner._clock
        self._lease_s = runner._settings.lease_s

    async def work(self) -> None:
        job = await self._job()
        if job.cancel_asked_s is None:
            await self._set(IN_PROGRESS)
        file = await self._disk.do(lambda store: store.file(job.input_file_id, None))
        try:
            client = self._client(job)
            if file is None:
                raise BadRequest("the input file was deleted", code="input_deleted")
        except HeadgateError as error:
            # What was begun at a provider may be billed: it is cancelled, and what came of it kept.
            await self._kept(self._runner._batches.lane.cancel(self._lease, job))
            await self._end_rest(FAILED, error.code, error.message)
            outcome = _GOES_ON
        else:
            outcome = await self._through_lanes(job, client)
        if outcome == _CANCEL:
            await self._end_rest(CANCELLED, "batch_cancelled", "the job was cancelled")
        job = await self._job()
        if _OPEN.isdisjoint(job.counts):
            await self._end(job, outcome)
        # Else it was stopped; or a batch waits for review: nothing of it may be asked again.

    async def _through_lanes(self, job: Job, client: Client | None) -> str:
        """Why it ended before everything was done; `_GOES_ON`: it did not."""
        batches, outcome = self._runner._batches, _GOES_ON
        if job.cancel_asked_s is not None:
            outcome = _CANCEL
        elif batches.choose(job, self._clock.wall()) == BATCH:
            lane = batches.lane.run(self._lease, job)
            outcome = await self._watched(lane, batches.rescue_s(job), _no_stop)
        if outcome in (_CANCEL, _RESCUE):
            await self._kept(batches.lane.cancel(self._lease, job))
        if outcome in (_GOES_ON, _RESCUE):
            live = LiveLane(
                self._runner._runtime, self._disk, self._clock, self._runner._settings.live, client
            )
            outcome = await self._watched(live.run(self._lease, job), float("inf"), live.stop)
        return outcome

    async def _watched(
        self, lane: Coroutine[Any, Any, None], rescue_s: float, stop: Callable[[], None]
    ) -> str:
        """Runs a lane under the heartbeat of the lease. Ends it early when the job is to be
        cancelled or rescued, or the runner stops, and says which; it goes by `stop` at first, so
        that what is under way may end."""
        work = asyncio.ensure_future(lane)
        watch = asyncio.ensure_future(self._watch(rescue_s))
        keep: asyncio.Future[None] | None = None
        try:
            await asyncio.wait([work, watch], return_when=_FIRST)
            if work.done():
                work.result()
                return _STOP if self._runner._stopping.is_set() else _GOES_ON
            outcome = watch.result()
            stop()
            keep = asyncio.ensure_future(self._keep())
            patience_s = 0.0 if stop is _no_stop else self._runner._settings.grace_s
            await asyncio.wait([work, keep], timeout=patience_s, return_when=_FIRST)
            if work.done():
                work.result()
            return outcome
        finally:
            await _cancelled(work, watch, keep)

    async def _watch(self, rescue_s: float) -> str:
        """Keeps the lease until the lane is to be ended, and says why. Raises Fenced."""
        renewed_s = self._clock.monotonic()
        while True:
            if self._runner._stopping.is_set():
                return _STOP
            job = await self._job()
            if job.cancel_asked_s is not None:
                return _CANCEL
            if self._clock.wall() >= rescue_s:
                return _RESCUE
            now_s = self._clock.monotonic()
            if now_s - renewed_s >= self._lease_s / 3:
                await self._renew()
                # From before: the lease is counted from somewhere during the renewal.
                renewed_s = now_s
            try:
                async with asyncio.timeout(min(LOOK_S, self._lease_s / 3)):
                    await self._runner._stopping.wait()
            except TimeoutError:
                pass

    async def _kept(self, work: Coroutine[Any, Any, None]) -> None:
        """`work`, under the heartbeat of the lease."""
        task, keep = asyncio.ensure_future(work), asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait([task, keep], return_when=_FIRST)
            for ended in (task, keep):
                if ended.done():
                    ended.result()
        finally:
            await _cancelled(task, keep)

    async def _keep(self) -> None:
        """Renews the lease for ever. Raises Fenced."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            await self._renew()

    async def _renew(self) -> None:
        await self._disk.do(lambda store: store.renew(self._lease, self._lease_s))

    async def _job(self) -> Job:
        job = await self._disk.do(lambda store: store.job(self._lease.job_id, None))
        if job is None:
            raise StoreError(f"{self._lease.job_id} was removed while it was worked on")
        return job

    def _client(self, job: Job) -> Client | None:
        if not job.options.client or self._runner._client_of is None:
            return None
        return self._runner._client_of(job.options.client)

    async def _end_rest(self, state: str, code: str, message: str) -> None:
        """Ends every line that is queued, or was under way on the ordinary path, in this way."""
        job_id = self._lease.job_id
        await self._disk.do(lambda store: close_pages(store, self._lease))
        while items := await self._disk.do(lambda store: store.items(job_id, QUEUED, 0, _AT_ONCE)):
            ended = [
                Settled(item.custom_id, state, error_code=code, error_message=message, lane="")
                for item in items
            ]
            await self._disk.do(lambda store, ended=ended: store.settle(self._lease, ended))  # type: ignore[misc]

    async def _end(self, job: Job, outcome: str) -> None:
        await self._set(FINALIZING)
        ended = JOB_EXPIRED if EXPIRED in job.counts else COMPLETED
        await self._set(JOB_CANCELLED if outcome == _CANCEL else ended)

    async def _set(self, state: str) -> None:
        await self._disk.do(lambda store: store.set_state(self._lease, state))


def _no_stop() -> None:
    """A lane that is ended by cancelling its task."""


async def _cancelled(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancels them, and waits until they have ended."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
