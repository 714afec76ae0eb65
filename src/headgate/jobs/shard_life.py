"""The life of one shard: intended, handed in, looked at, its results applied.

What is not known is found out before anything is sent again: a batch whose id was lost is looked
for at its provider by the token that it was made with.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import Any, BinaryIO, NamedTuple

import msgspec

from headgate.clock import Clock
from headgate.core.rewrite import renamed
from headgate.errors import UpstreamFailed
from headgate.jobs.apis.base import (
    ENDED,
    INVALID,
    RUNNING,
    TOO_MANY_TOKENS,
    Asked,
    BatchApi,
    Handed,
    Refused,
    Remote,
    Uncertain,
    Vanished,
)
from headgate.jobs.apis.spool import Spooled
from headgate.jobs.disk import Disk
from headgate.jobs.failpoints import reach
from headgate.jobs.limits import BatchLimits
from headgate.jobs.model import Item, Job, Learned, Lease, Shard
from headgate.jobs.shard_books import Books
from headgate.jobs.shard_plan import read_lines
from headgate.jobs.shard_results import Applying, Named, let_go
from headgate.jobs.states import (
    ABANDONED,
    APPLIED,
    CREATED,
    FETCHED,
    INTENT,
    NEEDS_REVIEW,
    POLLING,
    SUBMITTED,
    TERMINAL,
    UPLOADED,
)

CANCELLED = "cancelled_s"
"""In the detail of a shard: when it was cancelled."""
_SKEW_S = 600.0
"""How much earlier by its provider's clock a batch may have been made."""
_PACKED_AT_ONCE = 200
_RESULT_TRIES = 8


class Place(NamedTuple):
    """A provider's batch API, as one job uses it."""

    api: BatchApi
    limits: BatchLimits
    books: Books


class Lives(NamedTuple):
    """What the shards of one job share."""

    disk: Disk
    clock: Clock
    lease: Lease
    job: Job
    file: BinaryIO
    places: dict[str, Place]
    settings: Any
    """`shards.LaneSettings`."""
    asked_before: Counter[str]
    """How often an item was perhaps done, and billed, without an answer."""
    shut: set[str]
    """Providers that get no more of this job."""
    failures: Counter[str]
    """Batches that could not be made, by provider."""


class _Ambiguous(Exception):
    """It is not to be found out whether a batch is ours."""


class Life:
    """One shard."""

    def __init__(self, lives: Lives, shard: Shard) -> None:
        self._lives, self._shard = lives, shard
        self._api, self._limits, self._books = lives.places[shard.provider]
        self._is_cancelling = False
        self._handed = Handed(
            shard.submit_token, lives.job.endpoint, self._limits.window_s, shard.input_file_id
        )

    async def begin(self) -> None:
        """From the intent to its end."""
        remote = await self._handed_in()
        if remote is not None:
            await self._follow()

    async def resume(self, *, is_cancelling: bool) -> None:
        """From wherever it stands to its end; a batch is cancelled at its provider, if it is not
        over."""
        self._is_cancelling = is_cancelling
        if self._shard.state in (INTENT, UPLOADED, NEEDS_REVIEW) and not await self._found():
            return
        await self._follow()

    # Handing in.

    async def _handed_in(self) -> Remote | None:
        """The batch, with its id in the store; None where there is none: its items are queued."""
        try:
            return await self._created()
        except Uncertain:
            return await self._found()
        except (Refused, Vanished) as refused:
            # It would say the same of the next: the ordinary path says it of each item.
            self._lives.shut.add(self._shard.provider)
            await self._abandon(refused.message)
        except UpstreamFailed as failed:
            await self._abandon(failed.message)
        return None

    async def _created(self) -> Remote:
        await self._books.know_price(self._shard.provider, self._shard.model)
        with await self._lives.disk.do(lambda _: Spooled()) as spooled:
            await self._pack(spooled)
            if self._api.takes_files:
                file_id = await self._api.upload(self._handed, spooled.upload)
                reach("upload_answered")
                await self._advance(UPLOADED, Learned(input_file_id=file_id))
                self._handed = msgspec.structs.replace(self._handed, file_id=file_id)
                reach("file_stored")
            remote = await self._api.create(self._handed, spooled.upload)
        reach("create_answered")
        await self._adopt(remote)
        return remote

    async def _pack(self, spooled: Spooled) -> None:
        items = await self._lives.disk.do(lambda store: store.shard_items(self._shard.id))
        await self._lives.disk.do(
            lambda _: self._api.pack(spooled.file, self._handed, self._asked(items))
        )

    def _asked(self, items: list[Item]) -> Iterator[Asked]:
        """What is sent of each; reads the disk."""
        for start in range(0, len(items), _PACKED_AT_ONCE):
            for item, line in read_lines(self._lives.file, items[start : start + _PACKED_AT_ONCE]):
                body = bytes(msgspec.json.decode(line, type=_Line).body)
                yield Asked(name_of(self._shard, item), renamed(body, self._shard.model))

    async def _adopt(self, remote: Remote) -> None:
        await self._advance(CREATED, Learned(provider_batch_id=remote.id))
        reach("batch_stored")

    # Finding what may be there.

    async def _found(self) -> Remote | None:
        """The batch that was made of this shard; None where there is none, or nobody can tell."""
        try:
            remote = await self._search()
        except _Ambiguous:
            await self._doubt()
            return None
        except Refused as refused:
            self._lives.shut.add(self._shard.provider)
            await self._doubt(refused.message)
            return None
        if remote is None:
            await self._abandon("it was never made")
        else:
            await self._adopt(remote)
        return remote

    async def _search(self) -> Remote | None:
        """Raises _Ambiguous, Refused."""
        looks = 0
        while True:
            try:
                found, is_certain = await self._looked_for(looks)
            except (UpstreamFailed, Vanished):
                is_certain = False
                if self._is_cancelling and looks >= _RESULT_TRIES:
                    raise _Ambiguous from None
            if is_certain:
                return found
            looks += 1
            await self._nap()

    async def _looked_for(self, looks: int) -> tuple[Remote | None, bool]:
        """The batch, if there is one, and whether that is certain: what was just made may take a
        moment to be listed."""
        if self._limits.reconcile != "metadata":
            return await self._by_results(), True
        found = await self._by_token()
        return found, found is not None or looks > 0

    async def _by_token(self) -> Remote | None:
        async with aclosing(self._api.recent(self._shard.created_s - _SKEW_S)) as batches:  # type: ignore[type-var]
            async for remote in batches:
                if remote.token == self._shard.submit_token:
                    return remote
        return None

    async def _by_results(self) -> Remote | None:
        """The batch whose results bear our names. One that is under way may be ours as long as it
        has as many items. Raises _Ambiguous where it takes too long to know."""
        began_s = self._lives.clock.monotonic()
        patience_s = 0.0 if self._is_cancelling else self._lives.settings.confirm_s
        known = await self._known_ids()
        while True:
            candidates = await self._candidates(known)
            for remote in candidates:
                if remote.state == ENDED and await self._is_ours(remote):
                    return remote
            if all(remote.state == ENDED for remote in candidates):
                return None
            known |= {remote.id for remote in candidates if remote.state == ENDED}
            if self._lives.clock.monotonic() - began_s >= patience_s:
                raise _Ambiguous
            await self._nap()

    async def _known_ids(self) -> set[str]:
        shards = await self._lives.disk.do(lambda store: store.shards(self._lives.job.id))
        return {shard.provider_batch_id for shard in shards if shard.provider_batch_id}

    async def _candidates(self, known: set[str]) -> list[Remote]:
        async with aclosing(self._api.recent(self._shard.created_s - _SKEW_S)) as batches:  # type: ignore[type-var]
            return [
                remote
                async for remote in batches
                if remote.id not in known and remote.count == self._shard.count
            ]

    async def _is_ours(self, remote: Remote) -> bool:
        token = self._shard.submit_token
        async with aclosing(self._api.results(remote)) as answers:  # type: ignore[type-var]
            async for answer in answers:
                return answer.name.startswith(f"{token}-")
        return False

    async def _doubt(self, reason: str = "nobody knows whether it was made") -> None:
        """It may be there, and billed: it is sent again at a risk, or left for people to decide.
        Who cancels the job has decided."""
        if self._lives.job.options.resubmit or self._is_cancelling:
            await self._abandon(reason, is_at_risk=True)
        elif self._shard.state != NEEDS_REVIEW:
            await self._advance(NEEDS_REVIEW, Learned(detail={**self._shard.detail, "why": reason}))

    # Waiting for its end.

    async def _follow(self) -> None:
        """From a batch whose id is known to the end of the shard."""
        try:
            remote = await self._ended()
        except Vanished as vanished:
            await self._abandon(vanished.message, is_at_risk=True)
            return
        if remote is None:
            await self._abandon("it did not end, though it was cancelled", is_at_risk=True)
        elif remote.state == INVALID:
            await self._invalid(remote)
        else:
            if self._shard.state != FETCHED:
                await self._advance(FETCHED)
            reach("fetched")
            await self._apply(remote)

    async def _ended(self) -> Remote | None:
        """The batch as it has ended; None: it does not. Raises Vanished."""
        if self._shard.state == CREATED:
            await self._advance(POLLING)
        while True:
            if self._is_cancelling and self._shard.state != FETCHED and not self._is_cancelled:
                await self._cancel()
            try:
                remote = await self._api.retrieve(self._shard.provider_batch_id)
            except (UpstreamFailed, Refused):
                # It is there, whatever stands between us: the next look may find it.
                remote = None
            if remote is not None and remote.state != RUNNING:
                return remote
            if self._is_given_up():
                return None
            self._is_cancelling = self._is_cancelling or self._is_overdue(remote)
            await self._nap()
            reach("between_polls")

    async def _cancel(self) -> None:
        # Where it has ended already, or cannot be reached, the next look tells.
        with suppress(Refused, UpstreamFailed):
            await self._api.cancel(self._shard.provider_batch_id)
        reach("cancel_sent")
        now_s = self._lives.clock.wall()
        detail = {**self._shard.detail, CANCELLED: now_s}
        await self._advance(self._shard.state, Learned(detail=detail))

    @property
    def _is_cancelled(self) -> bool:
        return CANCELLED in self._shard.detail

    def _is_given_up(self) -> bool:
        cancelled_s = self._shard.detail.get(CANCELLED)
        limit_s = self._lives.settings.cancel_max_s
        return cancelled_s is not None and self._lives.clock.wall() - cancelled_s > limit_s

    def _is_overdue(self, remote: Remote | None) -> bool:
        age_s = self._lives.clock.wall() - self._shard.created_s
        limit_s = self._limits.window_s + self._lives.settings.overdue_s
        return remote is not None and age_s > limit_s

    async def _invalid(self, remote: Remote) -> None:
        """The provider refuses its file: the ordinary path says why, item by item; what only waits
        for others to end is sent again."""
        codes = {code for code, _ in remote.problems}
        if TOO_MANY_TOKENS in codes:
            await self._abandon(TOO_MANY_TOKENS)
            await self._nap()
            return
        self._lives.shut.add(self._shard.provider)
        said = "; ".join(f"{code}: {message}" for code, message in remote.problems[:3])
        await self._abandon(said or "refused")

    # Its results, and its end.

    async def _apply(self, remote: Remote) -> None:
        await self._books.know_price(self._shard.provider, self._shard.model)
        tries = 0
        while True:
            applying = await self._applying()
            try:
                await applying.read(self._api.results(remote))
                break
            except Vanished:
                break
            except UpstreamFailed:
                tries += 1
                if self._is_cancelling and tries >= _RESULT_TRIES:
                    break
                await self._nap()
        unanswered = await applying.close(is_complete=remote.is_complete)
        self._lives.asked_before.update(unanswered)

    async def _applying(self) -> Applying:
        items = await self._lives.disk.do(lambda store: store.shard_items(self._shard.id))
        named = {name_of(self._shard, item): item for item in items if item.state == SUBMITTED}
        lives = self._lives
        return Applying(
            lives.disk, lives.lease, Named(self._shard, named), self._books, lives.asked_before
        )

    async def _abandon(self, reason: str, *, is_at_risk: bool = False) -> None:
        """Its items are queued again; `is_at_risk`: they may have been done, and billed."""
        lives, shard = self._lives, self._shard
        lives.failures[shard.provider] += 1
        if lives.failures[shard.provider] >= lives.settings.failures_max:
            lives.shut.add(shard.provider)
        unanswered: list[str] = []
        if is_at_risk:
            items = await lives.disk.do(lambda store: store.shard_items(shard.id))
            unanswered = [item.custom_id for item in items if item.state not in TERMINAL]
        # What was fetched is applied, if there is nothing to apply.
        end = (APPLIED if shard.state == FETCHED else ABANDONED, {"why": reason[:500]})
        await lives.disk.do(lambda store: let_go(store, lives.lease, shard, end, unanswered))
        lives.asked_before.update(unanswered)

    async def _advance(self, state: str, learned: Learned = Learned()) -> None:
        lives, shard = self._lives, self._shard
        self._shard = await lives.disk.do(
            lambda store: store.advance(lives.lease, shard.id, state, learned)
        )

    async def _nap(self) -> None:
        """Between one and two poll times, so that many do not look at once."""
        await asyncio.sleep(self._limits.poll_s * (1 + self._lives.clock.random()))


class _Line(msgspec.Struct):
    body: msgspec.Raw


def name_of(shard: Shard, item: Item) -> str:
    """What an item is called at its provider: what users call theirs may be too long for it, or in
    letters that it does not take."""
    return f"{shard.submit_token}-{item.line_no}"
