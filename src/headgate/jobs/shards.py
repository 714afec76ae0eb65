"""The batch lane: what is queued in a job goes to the batch APIs of providers, at their price.

A batch is intended in the store before anything is sent, so that after a crash it is known what
may be there; see `shard_life`. What the lane cannot bring to an end stays queued, for the ordinary
path.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, BinaryIO, NamedTuple

from headgate.clock import Clock
from headgate.core.client import Client
from headgate.errors import HeadgateError, SpendExhausted, StoreError, Unpriced
from headgate.jobs.apis.asking import Patience
from headgate.jobs.apis.base import BatchApi
from headgate.jobs.apis.opening import open_api
from headgate.jobs.asking import Asker
from headgate.jobs.disk import Disk
from headgate.jobs.failpoints import reach
from headgate.jobs.ids import shard_id, submit_token
from headgate.jobs.limits import BatchLimits, limits_of, shipped
from headgate.jobs.limits_settings import BatchApiConfig
from headgate.jobs.model import BATCH, LIVE, Intent, Job, Lease, Shard
from headgate.jobs.plan import Pace, choose
from headgate.jobs.shard_books import Books
from headgate.jobs.shard_life import Life, Lives, Place
from headgate.jobs.shard_plan import Draft, Drafting
from headgate.jobs.shard_results import asked_before, requeue_open
from headgate.jobs.states import SHARD_ENDS
from headgate.providers.settings import ProviderConfig
from headgate.runtime import Runtime


class LaneSettings(NamedTuple):
    """How the lane goes about it."""

    attempts_max: int = 3
    """How often an item is sent in a batch; then it is left for the ordinary path."""
    failures_max: int = 5
    """After so many batches that could not be made, a provider gets no more of this job."""
    confirm_s: float = 3600.0
    """How long a batch that may be ours is waited for, where only its results can tell."""
    cancel_max_s: float = 1200.0
    """How long after it was cancelled a batch may take to end."""
    overdue_s: float = 3600.0
    """How long after its window a batch is taken back."""
    patience: Patience = Patience()


class BatchLane:
    """Works off jobs at the providers' batch APIs. On the home loop of `runtime`."""

    def __init__(
        self, runtime: Runtime, disk: Disk, clock: Clock,
        settings: LaneSettings = LaneSettings(),
        client_of: Callable[[str], Client] | None = None,
    ) -> None:  # fmt: skip
        self.runtime, self.disk, self.clock = runtime, disk, clock
        self.settings, self.client_of = settings, client_of

    def limits(self, endpoint: str) -> dict[str, BatchLimits]:
        """What the providers take whose batch APIs take this endpoint."""
        config, table = self.runtime.config, shipped()
        found = {
            name: limits_of(name, provider, config.batch_api, table)
            for name, provider in config.providers.items()
        }
        return {name: one for name, one in found.items() if one and one.takes(endpoint)}

    def limits_begun(self, names: Iterable[str]) -> dict[str, BatchLimits]:
        """What providers take that get no more batches, and still have some."""
        providers, table = self.runtime.config.providers, shipped()
        found = {
            name: limits_of(name, providers[name], {name: _spoken(providers[name])}, table)
            for name in names
            if name in providers and providers[name].kind != "fake"
        }
        return {name: one for name, one in found.items() if one is not None}

    def chosen(self, job: Job, now_s: float) -> dict[str, BatchLimits]:
        """Those of them that are best for what is left of a job, at a wall-clock time."""
        pace = Pace(self.runtime.config.batch.jobs.concurrency)
        limits = self.limits(job.endpoint)
        return {name: one for name, one in limits.items() if choose(job, one, now_s, pace) == BATCH}

    async def run(self, lease: Lease, job: Job) -> None:
        """Until nothing of the job is at a provider any more, and nothing that is queued can go
        there. Raises Fenced, StoreError. Cancelled, it leaves everything as it is at the
        providers, to be gone on with by the next `run` or `cancel`."""
        await self._work(lease, job, is_cancelling=False)

    async def cancel(self, lease: Lease, job: Job) -> None:
        """Cancels what is at providers, waits for their word, books what was done, and queues the
        rest. Raises as `run`. A job of which nothing was ever there does not need its input."""
        shards = await self.disk.do(lambda store: store.shards(job.id))
        if all(shard.provider == LIVE for shard in shards):
            return
        await self._work(lease, job, is_cancelling=True)

    async def _work(self, lease: Lease, job: Job, *, is_cancelling: bool) -> None:
        async with AsyncExitStack() as opened:
            client = _client(self, job, may_have_ended=is_cancelling)
            run = await _open(self, lease, job, client, opened)
            await run.resume(is_cancelling=is_cancelling)
            if not is_cancelling:
                await run.submit()


class _Run:
    """One job, with everything that it takes."""

    def __init__(self, lives: Lives, drafting: Drafting, settings: LaneSettings) -> None:
        self._lives, self._drafting, self._settings = lives, drafting, settings
        self._room = {
            # Where only so many tokens may wait, one batch takes all of them.
            name: asyncio.Semaphore(
                1 if place.limits.enqueued_tokens_max else place.limits.batches_at_once
            )
            for name, place in lives.places.items()
        }

    async def resume(self, *, is_cancelling: bool) -> None:
        """Brings to an end what was begun before."""
        lives = self._lives
        shards = await lives.disk.do(lambda store: store.shards(lives.job.id))
        own = [shard for shard in shards if shard.provider != LIVE]
        for shard in own:
            if shard.state in SHARD_ENDS:
                await lives.disk.do(lambda store, it=shard: requeue_open(store, lives.lease, it))  # type: ignore[misc]
        waiting = [shard for shard in own if shard.state not in SHARD_ENDS]
        known = [shard for shard in waiting if shard.provider in lives.places]
        await _together([Life(lives, shard).resume(is_cancelling=is_cancelling) for shard in known])

    async def submit(self) -> None:
        """Round by round: what came back of one goes into the next, as often as it may."""
        while await self._round():
            pass

    async def _round(self) -> bool:
        """Whether anything was sent."""
        tasks: list[asyncio.Task[None]] = []
        try:
            async for draft in self._drafting.drafts(self._lives.shut):
                await self._settle()
                await self._room[draft.target.provider].acquire()
                tasks.append(asyncio.ensure_future(self._send(draft)))
                _raise_failed(tasks)
            await self._settle()
            await _all(tasks)
        finally:
            await _cancelled(tasks)
        return bool(tasks)

    async def _send(self, draft: Draft) -> None:
        lives, provider = self._lives, draft.target.provider
        try:
            if provider not in lives.shut:
                async with lives.places[provider].books.reserved(draft.target, draft.items):
                    await Life(lives, await self._intend(draft)).begin()
        except (SpendExhausted, Unpriced):
            # The ordinary path says so of each line.
            lives.shut.add(provider)
        finally:
            self._room[draft.target.provider].release()

    async def _intend(self, draft: Draft) -> Shard:
        target, lives = draft.target, self._lives
        wanted = Intent(shard_id(), lives.job.id, target.provider, submit_token(), target.model)
        names = [item.custom_id for item in draft.items]
        shard = await lives.disk.do(lambda store: store.intend(lives.lease, wanted, names))
        reach("intent")
        return shard

    async def _settle(self) -> None:
        """Writes down what has ended without anybody being asked."""
        lives, settled = self._lives, self._drafting.settled
        if settled:
            self._drafting.settled = []
            await lives.disk.do(lambda store: store.settle(lives.lease, settled))


def _spoken(provider: ProviderConfig) -> BatchApiConfig:
    return BatchApiConfig(api="anthropic" if provider.kind == "anthropic" else "openai")


def _client(lane: BatchLane, job: Job, *, may_have_ended: bool) -> Client | None:
    """By whose key the job is asked. One that has ended asks nothing any more: what it has asked is
    brought to its end without it."""
    if not job.options.client or lane.client_of is None:
        return None
    try:
        return lane.client_of(job.options.client)
    except HeadgateError:
        if may_have_ended:
            return None
        raise


async def _open(
    lane: BatchLane, lease: Lease, job: Job, client: Client | None, opened: AsyncExitStack
) -> _Run:
    disk, settings = lane.disk, lane.settings
    file = await disk.do(lambda store: _input(store, job))
    opened.callback(file.close)
    asker = Asker(lane.runtime, job, client)
    limits = lane.limits(job.endpoint)
    shards = await disk.do(lambda store: store.shards(job.id))
    begun = {shard.provider for shard in shards if shard.state not in SHARD_ENDS} - limits.keys()
    places: dict[str, Place] = {}
    for name, one in {**lane.limits_begun(begun), **limits}.items():
        api = _api(lane, job, name, one)
        opened.push_async_callback(api.aclose)
        purse = None if client is None else client.purse
        places[name] = Place(api, one, Books(lane.runtime, disk, asker, file, one, purse))
    before: Counter[str] = asked_before(shards)
    lives = Lives(disk, lane.clock, lease, job, file, places, settings, before, set(), Counter())
    chosen = lane.chosen(job, lane.clock.wall())
    drafting = Drafting(disk, job, file, asker, chosen, settings.attempts_max)
    return _Run(lives, drafting, settings)


def _api(lane: BatchLane, job: Job, name: str, limits: BatchLimits) -> BatchApi:
    provider = lane.runtime.config.providers[name]
    said = tuple(
        (header.encode(), value.encode("latin-1")) for header, value in job.options.headers
    )
    return open_api(provider, limits.api, lane.clock, said, lane.settings.patience)


def _input(store: Any, job: Job) -> BinaryIO:
    file = store.file(job.input_file_id, None)
    if file is None:
        raise StoreError(f"{job.id}: its input {job.input_file_id} is gone")
    opened: BinaryIO = store.open_file(file)
    return opened


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of them at once; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await _all(tasks)
    finally:
        await _cancelled(tasks)


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Waits for all; raises at once what one of them raises."""
    if tasks:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()


def _raise_failed(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
