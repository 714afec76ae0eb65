"""Works on one job in this process, until it has ended or a signal ends the work; tells how far it
is meanwhile.

Ctrl-C, once: nothing more is begun, and what is under way, and paid for, may end. Twice: at once.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import NamedTuple

import uvloop

from headgate.clock import SystemClock
from headgate.config import Config
from headgate.errors import HeadgateError
from headgate.jobs.base import JobStore
from headgate.jobs.live import LiveSettings
from headgate.jobs.model import Job
from headgate.jobs.runner import LEASE_S, Runner, RunnerSettings
from headgate.jobs.states import JOB_ENDS
from headgate.runtime import Runtime
from headgate.surfaces import cli_batch_shown as shown
from headgate.surfaces import terminal

_LOOK_S = 0.5
_CLAIM_AGAIN_S = 0.25
_CLAIM_WAIT_S = LEASE_S + 5.0
"""A process that was killed holds its job for so long after its last sign of life."""
_COLLECT_EVERY = 10_000
"""As in `headgate serve`: objects more than there were, after which Python looks for cycles."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Worked(NamedTuple):
    """What became of it."""

    job: Job
    interrupted: bool


def work(config: Config, store: JobStore, job_id: str) -> Worked:
    """Works on a job of `store`. Raises HeadgateError where somebody else does, or it was taken
    away."""
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        return loop.run(_Work(config, store, job_id).run())


class _Work:
    def __init__(self, config: Config, store: JobStore, job_id: str) -> None:
        self._config, self._store, self._job_id = config, store, job_id
        self._signals = 0

    async def run(self) -> Worked:
        loop = asyncio.get_running_loop()
        settings = RunnerSettings(LiveSettings(self._config.batch.jobs.concurrency))
        async with Runtime(self._config) as runtime:
            runtime.adopt(loop)
            runner = Runner(runtime, self._store, SystemClock(), settings)
            task = asyncio.ensure_future(self._claimed(runner))
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._interrupt, runner, task)
            try:
                job = await self._followed(task)
            finally:
                for number in _SIGNALS:
                    loop.remove_signal_handler(number)
                await asyncio.to_thread(runner.close)
        return Worked(job, bool(self._signals) and job.state not in JOB_ENDS)

    def _interrupt(self, runner: Runner, task: asyncio.Task[None]) -> None:
        self._signals += 1
        if self._signals > 1:
            task.cancel()
            return
        runner.stop()
        under_way = "waiting for the lines that are under way; once more leaves them"
        terminal.warn(f"stopping: {under_way}")

    async def _claimed(self, runner: Runner) -> None:
        """Runs the job as soon as it is free: whoever was killed still holds it for a moment."""
        waited_s = 0.0
        while await runner.run(self._job_id) is None and not self._signals:
            if (await self._job()).state in JOB_ENDS:
                return
            if waited_s >= _CLAIM_WAIT_S:
                raise HeadgateError(f"another process works on {self._job_id}")
            if not waited_s:
                terminal.warn(f"another process has {self._job_id}; waiting until it gives it up")
            waited_s += _CLAIM_AGAIN_S
            await asyncio.sleep(_CLAIM_AGAIN_S)

    async def _followed(self, task: asyncio.Task[None]) -> Job:
        """The job at the end of the task, and its progress until then."""
        job = await self._job()
        with terminal.meter(job.total, job.id) as update:
            while not task.done():
                await self._tell(update)
                await asyncio.wait([task], timeout=_LOOK_S)
            job = await self._tell(update)
        if not task.cancelled():
            task.result()
        return job

    async def _tell(self, update: Callable[[int, str], None]) -> Job:
        job = await self._job()
        usage = await asyncio.to_thread(self._store.usage, self._job_id)
        update(shown.done_in(job.counts), shown.told(job, usage))
        return job

    async def _job(self) -> Job:
        job = await asyncio.to_thread(self._store.job, self._job_id, None)
        if job is None:
            raise HeadgateError(f"{self._job_id} was removed meanwhile")
        return job
