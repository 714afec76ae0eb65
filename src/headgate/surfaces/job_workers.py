"""Works on jobs beside the calls of a gateway: those that its clients have made, by whichever
process is free, one process for each.

A process that ends gives its jobs up, one that dies loses their leases: in both cases another takes
them over, or the next that starts. Jobs of the command line are left to it: who stopped one there
wants it stopped.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from headgate.clients import Clients
from headgate.errors import HeadgateError, StoreError
from headgate.jobs.base import Fenced, JobStore
from headgate.jobs.live import LiveSettings
from headgate.jobs.model import Job, Waiting
from headgate.jobs.runner import Runner, RunnerSettings
from headgate.jobs.states import JOB_ENDS
from headgate.runtime import Runtime
from headgate.surfaces.job_desk import Desk

AT_ONCE = 32
"""Jobs of one process; their lines share what calls leave over. Most of them wait, for a provider's
batch or for a budget."""
AT_ONCE_OF_TENANT = 4
LOOK_S = 1.0
SWEEP_EVERY_S = 600.0
REST_S = 30.0
"""How long a job is left alone that could not be worked on."""

_LOG = logging.getLogger("headgate.jobs")


class Serving(Protocol):
    """A runtime, and how much it is busy with: it is not closed before that is nothing."""

    runtime: Runtime
    running: int


class _Working(Struct):
    """A job that this process works on."""

    job: Job
    runner: Runner
    task: asyncio.Task[Job | None]
    is_stopped: bool = False
    """It goes on elsewhere, or ends, as soon as somebody begins with it again."""

    def stop(self) -> None:
        """Lets what is under way end, and begins nothing more of it."""
        self.is_stopped = True
        self.runner.stop()


class JobWorkers:
    """Of one process, over all its configurations. Belongs to the home loop of its runtimes."""

    def __init__(self, desk: Desk, clients: Clients) -> None:
        self._desk = desk
        self._clients = clients
        self._serving: Serving | None = None
        self._working: dict[str, _Working] = {}
        self._rests_until_s: dict[str, float] = {}
        self._sweeps_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Future[list[Job] | None] | None = None
        self._is_woken = False
        self._is_draining = False
        self._has_failed = False

    @property
    def is_idle(self) -> bool:
        """Whether no job is being worked on."""
        return not self._working

    def serve(self, serving: Serving) -> None:
        """From now on jobs are asked by `serving`. Those under way stop when the lines that are
        under way have ended, and go on there."""
        self._serving = serving
        self._stop_all()

    def start(self) -> None:
        """Begins to look for jobs, in the running loop. Timers and threads do it: there is a task
        only where there is a job."""
        self._desk.wake = self._wake
        self._look()

    def drain(self) -> None:
        """Begins no more, and stops what is under way as `serve` does."""
        self._is_draining = True
        if self._timer is not None:
            self._timer.cancel()
        self._stop_all()

    def end(self) -> None:
        """Gives up what is under way, now."""
        for working in self._working.values():
            working.task.cancel()

    async def close(self) -> None:
        """Ends all of it."""
        self.drain()
        self.end()
        tasks = [working.task for working in self._working.values()]
        looking = [] if self._looking is None else [self._looking]
        await asyncio.gather(*tasks, *looking, return_exceptions=True)

    def _stop_all(self) -> None:
        for working in self._working.values():
            working.stop()

    def _wake(self) -> None:
        """Looks now, or again at once where it is looking already."""
        self._is_woken = True
        if self._timer is not None and self._looking is None and not self._is_draining:
            self._timer.cancel()
            self._look()

    def _look(self) -> None:
        """Stops the jobs whose keys have ended, and looks for those for which there is room."""
        self._is_woken = False
        for working in self._working.values():
            if self._has_lost_its_key(working.job):
                working.stop()
        now_s = self._desk.clock.monotonic()
        rests = self._rests_until_s
        self._rests_until_s = {name: at_s for name, at_s in rests.items() if at_s > now_s}
        left = frozenset((*self._working, *self._rests_until_s))
        busy = [working.job.tenant for working in self._working.values()]
        before_s = self._old_before_s(now_s)
        self._looking = self._desk.glance(lambda store: _found(store, left, busy, before_s))
        self._looking.add_done_callback(self._take)

    def _old_before_s(self, now_s: float) -> float:
        """Before when (wall clock) what has ended goes: now and then; else 0, and nothing does."""
        if now_s < self._sweeps_at_s or self._serving is None:
            return 0.0
        self._sweeps_at_s = now_s + SWEEP_EVERY_S
        return self._desk.clock.wall() - self._serving.runtime.config.batch.jobs.keep

    def _take(self, looking: asyncio.Future[list[Job] | None]) -> None:
        """Begins with what was found, and looks again later."""
        self._looking = None
        if looking.cancelled():
            return
        error = looking.exception()
        self._note(error)
        if error is None and self._serving is not None and not self._is_draining:
            for job in looking.result() or []:
                self._begin(job, self._serving)
        if error is not None and not self._has_failed:
            _LOG.warning("jobs are not worked on: %s", error)
        self._has_failed = error is not None
        if not self._is_draining:
            wait_s = 0.0 if self._is_woken else LOOK_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _note(self, error: BaseException | None) -> None:
        if isinstance(error, StoreError) and not isinstance(error, Fenced):
            self._desk.note(error)

    def _has_lost_its_key(self, job: Job) -> bool:
        try:
            if job.options.client:
                self._clients.holder(job.options.client)
        except HeadgateError:
            return True
        return False

    def _begin(self, job: Job, serving: Serving) -> None:
        runner = Runner(
            serving.runtime,
            self._desk.opened(),
            self._desk.clock,
            RunnerSettings(LiveSettings(serving.runtime.config.batch.jobs.concurrency)),
            client_of=self._clients.holder,
        )
        task = asyncio.ensure_future(_worked_on(runner, job.id))
        self._working[job.id] = _Working(job, runner, task)
        serving.running += 1
        task.add_done_callback(functools.partial(self._ended, job.id, serving))

    def _ended(self, job_id: str, serving: Serving, task: asyncio.Task[Job | None]) -> None:
        serving.running -= 1
        working = self._working.pop(job_id)
        self._note(None if task.cancelled() else task.exception())
        is_over = task.cancelled() or _has_ended(task)
        if not is_over and not working.is_stopped:
            self._rests_until_s[job_id] = self._desk.clock.monotonic() + REST_S
        self._wake()


def _has_ended(task: asyncio.Task[Job | None]) -> bool:
    """Whether a job that was worked on is done; a failure is written down."""
    error = task.exception()
    if error is None:
        job = task.result()
        return job is not None and job.state in JOB_ENDS
    if not isinstance(error, Fenced):
        _LOG.warning("a job is left alone for a while: %s: %s", type(error).__name__, error)
    return False


async def _worked_on(runner: Runner, job_id: str) -> Job | None:
    try:
        return await runner.run(job_id)
    finally:
        await asyncio.to_thread(runner.close)


def _found(
    store: JobStore, left: Collection[str], busy: Sequence[str], before_s: float
) -> list[Job]:
    """The jobs that are begun with: of those that clients have made and nobody works on, without
    those in `left`. What ended before `before_s` goes."""
    if before_s:
        store.forget_old(before_s)
    waiting = [job for job in store.waiting() if job.tenant and job.id not in left]
    found = (store.job(name, None) for name in turns(waiting, busy))
    return [job for job in found if job is not None]


def turns(waiting: Iterable[Waiting], busy: Sequence[str]) -> list[str]:
    """Which jobs are begun with, of those that wait (the oldest first), where one of each tenant in
    `busy` is worked on: those of whoever has fewest, then the oldest. A job that is only to be
    ended needs no room, or it would wait for those that it does not want to wait for."""
    queues: dict[str, deque[str]] = {}
    ending: list[str] = []
    for job in waiting:
        if job.is_cancelled and len(ending) < AT_ONCE_OF_TENANT:
            ending.append(job.id)
        else:
            queues.setdefault(job.tenant, deque()).append(job.id)
    counts, begun = Counter(busy), []
    for _ in range(AT_ONCE - len(busy)):
        free = [one for one in queues if queues[one] and counts[one] < AT_ONCE_OF_TENANT]
        if not free:
            break
        tenant = min(free, key=lambda one: counts[one])
        begun.append(queues[tenant].popleft())
        counts[tenant] += 1
    return ending + begun
