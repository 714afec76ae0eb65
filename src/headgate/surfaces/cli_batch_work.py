"""Works on one job in this process, until it has ended or a signal ends the work; tells how far it
is meanwhile.

Ctrl-C, once: nothing more is begun, and what is under way, and paid for, may end. Twice: at once.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable
from typing import NamedTuple

import uvloop

from headgate.clock import SystemClock
from headgate.config import Config
from headgate.errors import HeadgateError
from headgate.jobs.base import JobStore
from headgate.jobs.live import LiveSettings
from headgate.jobs.model import Job
from headgate.jobs.runner import Runner, RunnerSettings
from headgate.jobs.states import JOB_ENDS
from headgate.runtime import Runtime
from headgate.stores.jobs import JobsFile
from headgate.surfaces import cli_batch_shown as shown
from headgate.surfaces import terminal
from headgate.surfaces.cli_batch_lock import is_free

_LABEL = "asking"
_LOOK_S = 0.5
_OWNER = "command-line"
"""Of every job that is worked on here: `cli_batch_lock` lets one process at a time."""
_COLLECT_EVERY = 10_000
"""As in `headgate serve`: objects more than there were, after which Python looks for cycles."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Worked(NamedTuple):
    """What became of it."""

    job: Job
    interrupted: bool


def work(config: Config, store: JobStore, job_id: str) -> Worked:
    """Works on a job of `store` that this process holds the lock of. Raises HeadgateError where it
    cannot go on."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_EVERY, *before[1:])
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            return loop.run(_Work(config, store, job_id).run())
    finally:
        gc.set_threshold(*before)


def wait(store: JobsFile, job_id: str) -> Job:
    """Waits until nobody works on a job any more, and tells how far it is meanwhile."""
    job, pause = _job(store, job_id), threading.Event()
    with terminal.meter(job.total, _LABEL) as update:
        while not is_free(store.path, job_id):
            _tell(store, job_id, update)
            pause.wait(_LOOK_S)
    return _job(store, job_id)


class _Work:
    def __init__(self, config: Config, store: JobStore, job_id: str) -> None:
        self._config, self._store, self._job_id = config, store, job_id
        self._signals = 0

    async def run(self) -> Worked:
        loop = asyncio.get_running_loop()
        live = LiveSettings(self._config.batch.jobs.concurrency)
        settings = RunnerSettings(live, owner=_OWNER)
        async with Runtime(self._config) as runtime:
            runtime.adopt(loop)
            runner = Runner(runtime, self._store, SystemClock(), settings)
            task = asyncio.ensure_future(runner.run(self._job_id))
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._interrupt, runner, task)
            try:
                job = await self._followed(task)
            finally:
                for number in _SIGNALS:
                    loop.remove_signal_handler(number)
                await asyncio.to_thread(runner.close)
        return Worked(job, bool(self._signals) and job.state not in JOB_ENDS)

    def _interrupt(self, runner: Runner, task: asyncio.Task[Job | None]) -> None:
        self._signals += 1
        if self._signals > 1:
            task.cancel()
            return
        runner.stop()
        under_way = "waiting for the lines that are under way; once more leaves them"
        terminal.warn(f"stopping: {under_way}")

    async def _followed(self, task: asyncio.Task[Job | None]) -> Job:
        """The job at the end of the task, and its progress until then."""
        job = await asyncio.to_thread(_job, self._store, self._job_id)
        with terminal.meter(job.total, _LABEL) as update:
            while not task.done():
                await self._tell(update)
                await asyncio.wait([task], timeout=_LOOK_S)
            job = await self._tell(update)
        if not task.cancelled():
            task.result()
        return job

    async def _tell(self, update: Callable[[int, str], None]) -> Job:
        return await asyncio.to_thread(_tell, self._store, self._job_id, update)


def _tell(store: JobStore, job_id: str, update: Callable[[int, str], None]) -> Job:
    job = _job(store, job_id)
    update(shown.done_in(job.counts), shown.told(job, store.usage(job_id)))
    return job


def _job(store: JobStore, job_id: str) -> Job:
    job = store.job(job_id, None)
    if job is None:
        raise HeadgateError(f"{job_id} was removed meanwhile")
    return job
