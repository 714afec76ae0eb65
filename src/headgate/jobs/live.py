"""The ordinary path for a job: each line goes through the runtime's stack, in what others leave.

A bounded number of lines is under way, and none is begun while somebody waits for a place at its
target, or half of the places or of the rate there are taken. Where there is no room after all, or
the target is not well, all lines pause; a line that fails by itself is tried again later.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections import Counter
from collections.abc import Awaitable
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from headgate.batching import bounded
from headgate.clock import Clock
from headgate.core.client import Client
from headgate.errors import Closed
from headgate.jobs.asking import Again, Asker, Question
from headgate.jobs.disk import Disk
from headgate.jobs.model import Job, Lease, Settled
from headgate.jobs.pages import Pages, close_pages, opened
from headgate.jobs.settling import Settling
from headgate.jobs.states import EXPIRED, FAILED, QUEUED
from headgate.jobs.turns import Turns
from headgate.runtime import Runtime

_LOG = logging.getLogger("headgate.jobs")
SENT_MAX = 5
"""After so many tries that may each be billed, and brought no answer, a line has failed."""
_LOOK_S = 0.05
_LOOK_MAX_S = 0.25
_EXPIRED_AT_ONCE = 500


class LiveSettings(NamedTuple):
    """How much of the ordinary path a job may use."""

    concurrency: int = 16


class _Work(Struct):
    """A line on its way."""

    question: Question
    rounds: int = 0
    sent: int = 0
    """Tries that may be billed besides the one that answers."""
    last: Again | None = None

    @property
    def name(self) -> str:
        return self.question.item.custom_id

    @property
    def target(self) -> str:
        return self.question.plan.target.name


class LiveLane:
    """Works off the queued lines of jobs. On the home loop of `runtime`."""

    def __init__(
        self, runtime: Runtime, disk: Disk, clock: Clock, settings: LiveSettings,
        client: Client | None = None,
    ) -> None:  # fmt: skip
        self.runtime, self.disk, self.clock = runtime, disk, clock
        self.settings, self.client = settings, client
        self.stopping = asyncio.Event()

    def stop(self) -> None:
        """Begins no more lines: `run` returns when those under way have ended."""
        self.stopping.set()

    async def run(self, lease: Lease, job: Job) -> None:
        """Until none of the job's lines is open, or it was stopped. At the deadline of the job,
        lines that have no answer expire. Raises Fenced, StoreError. Stopped or cancelled, it leaves
        what has no answer queued."""
        asker = Asker(self.runtime, job, self.client)
        asked_before = await self.disk.do(lambda store: close_pages(store, lease))
        # What has expired is not read any more: where it is gone, too, the job ends.
        is_late = self.clock.wall() >= job.deadline_s
        file = io.BytesIO() if is_late else await self.disk.do(lambda store: opened(store, job))
        try:
            settling = Settling(self.disk, lease)
            pages = Pages(self.disk, lease, file, asker, settling)
            await _Run(self, job, asker, pages, settling, asked_before).work(lease)
        finally:
            file.close()


class _Run:
    """One job on the ordinary path, until it is done or left."""

    def __init__(
        self, lane: LiveLane, job: Job, asker: Asker, pages: Pages, settling: Settling,
        asked_before: Counter[str],
    ) -> None:  # fmt: skip
        self._lane, self._clock, self._job = lane, lane.clock, job
        self._asker, self._pages, self._settling = asker, pages, settling
        self._asked_before = asked_before
        self._turns: Turns[_Work] = Turns()
        self._under_way: set[str] = set()
        self._begun: Counter[str] = Counter()
        self._priced: set[str] = set()
        self._reading = asyncio.Lock()

    async def work(self, lease: Lease) -> None:
        writer = asyncio.ensure_future(self._settling.write())
        workers = asyncio.ensure_future(self._work_off())
        try:
            await asyncio.wait([writer, workers], return_when=asyncio.FIRST_COMPLETED)
            for ended in (workers, writer):
                if ended.done():
                    ended.result()
        finally:
            workers.cancel()
            writer.cancel()
            await asyncio.gather(workers, writer, return_exceptions=True)
            await self._settling.flush()
            tried = (work.name for work in self._turns.drain() if work.sent)
            sent = frozenset((*self._under_way, *tried))
            await self._lane.disk.do(lambda store: close_pages(store, lease, sent))

    async def _work_off(self) -> None:
        most = self._lane.settings.concurrency
        await bounded(range(most), self._one_by_one, most, return_exceptions=False)
        if self._is_late():
            await self._expire()

    async def _one_by_one(self, _: int) -> None:
        while (work := await self._next()) is not None:
            await self._try(work)
            self._under_way.discard(work.name)
            self._begun[work.target] -= 1

    async def _next(self) -> _Work | None:
        """A line whose turn it is; None when there is nothing to do for this worker."""
        while not (self._lane.stopping.is_set() or self._is_late()):
            if self._is_low():
                await self._read()
            turn = self._turns.next(self._clock.monotonic())
            if turn is None:
                if self._pages.is_read:
                    return None
                await self._read()
            elif isinstance(turn, float):
                await self._nap(turn)
            elif self._asker.has_spare(turn.question, self._begun[turn.target]):
                # Counted before anybody else looks: it takes its place some steps later.
                self._under_way.add(turn.name)
                self._begun[turn.target] += 1
                return turn
            else:
                self._turns.put_back(turn)
                await self._nap(_LOOK_S)
        return None

    def _is_low(self) -> bool:
        """Whether somebody should fetch more while the others go on."""
        low = self._turns.ready < self._lane.settings.concurrency
        return low and not self._pages.is_read and not self._reading.locked()

    async def _read(self) -> None:
        async with self._reading:
            if self._turns.ready < self._lane.settings.concurrency:
                for question in await self._pages.more():
                    self._turns.put(_Work(question))

    async def _try(self, work: _Work) -> None:
        """One line, asked once."""
        if work.target not in self._priced:
            await self._asker.know_price(work.target)
            self._priced.add(work.target)
        try:
            settled = await self._asker.ask(work.question)
        except Again as again:
            await self._put_off(work, again)
        except Closed:
            # The process is about to end: whoever comes next goes on here.
            self._turns.put_back(work)
            self._lane.stop()
        else:
            self._turns.succeed()
            await self._settling.give(self._weighed(work, settled))

    async def _put_off(self, work: _Work, again: Again) -> None:
        now_s, dice = self._clock.monotonic(), self._clock.random()
        work.last = again
        if again.concerns_all:
            if self._turns.pause(now_s, again.after_s, dice):
                _LOG.warning("%s pauses, and tries again: %s", self._job.id, again.message)
            self._turns.put_back(work)
            return
        work.rounds += 1
        work.sent += again.billed
        if work.sent < SENT_MAX:
            self._turns.put_off(work, work.rounds, now_s, dice)
            return
        failed = Settled(work.name, FAILED, error_code=again.code, error_message=again.message)
        await self._settling.give(failed)

    def _weighed(self, work: _Work, settled: Settled) -> Settled:
        """With what may have been billed for earlier tries, of this process or one that died: as
        much as the answer costs, for each."""
        tries = work.sent + self._asked_before[work.name]
        if not tries:
            return settled
        each_nanos = settled.cost_nanos or settled.saved_cache_nanos
        return replace(settled, at_risk_nanos=settled.at_risk_nanos + tries * each_nanos)

    def _is_late(self) -> bool:
        return self._clock.wall() >= self._job.deadline_s

    async def _expire(self) -> None:
        """Ends whatever has no answer."""
        for work in self._turns.drain():
            await self._settling.give(_expired(work.name, work.last))
        await self._settling.flush()
        disk, job_id = self._lane.disk, self._job.id
        while items := await disk.do(
            lambda store: store.items(job_id, QUEUED, limit=_EXPIRED_AT_ONCE)
        ):
            for item in items:
                await self._settling.give(_expired(item.custom_id, None))
            await self._settling.flush()

    async def _nap(self, seconds: float) -> None:
        """So long, or until it is stopped; never so long that a deadline is overslept by much."""
        await _within(min(seconds, _LOOK_MAX_S), self._lane.stopping.wait())


def _expired(name: str, last: Again | None) -> Settled:
    why = "the deadline of the job has passed"
    if last is not None:
        why = f"{why}; the last try: {last.message}"
    return Settled(name, EXPIRED, error_code="batch_expired", error_message=why, lane="")


async def _within(seconds: float, event: Awaitable[Any]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event
    except TimeoutError:
        pass
