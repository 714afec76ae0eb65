"""What comes back from a provider's batch: each line becomes the end of an item, once, with its
price; what has no end is queued again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import aclosing
from hashlib import sha256
from typing import Any, NamedTuple

from headgate.jobs.apis.base import AGAIN, GOOD, Answer
from headgate.jobs.base import JobStore
from headgate.jobs.disk import Disk
from headgate.jobs.failpoints import reach
from headgate.jobs.model import BATCH, Item, Learned, Lease, Settled, Shard
from headgate.jobs.shard_books import Books
from headgate.jobs.states import APPLIED, FAILED, SHARDED, SUBMITTED, SUCCEEDED

AT_ONCE = 200
"""Ends of items in one transaction."""
BYTES_MAX = 8_000_000
UNANSWERED = "unanswered"
"""In the detail of a shard: items that were perhaps done, and billed, and brought no answer."""


class Named(NamedTuple):
    """The items of one shard by the names they have at its provider."""

    shard: Shard
    items: dict[str, Item]


class Findings(NamedTuple):
    """What was strange about the results of a shard."""

    strangers: int
    """Lines that nobody asked for."""
    differences: int
    """Second lines of an item that said something else than the first; the first counts."""


class Applying:
    """Applies the results of one shard."""

    def __init__(
        self, disk: Disk, lease: Lease, named: Named, books: Books, asked_before: Counter[str]
    ) -> None:
        self._disk, self._lease, self._named, self._books = disk, lease, named, books
        self._asked_before = asked_before
        """How often an item was perhaps done, and billed, without an answer."""
        self._waiting: list[tuple[Item, Settled]] = []
        self._waiting_bytes = 0
        self._seen: dict[str, bytes] = {}
        self._again: dict[str, Answer] = {}
        self._strangers = self._differences = 0

    async def read(self, answers: AsyncIterator[Answer]) -> None:
        """Ends items as their lines come, many in one transaction."""
        async with aclosing(answers) as lines:  # type: ignore[type-var]
            async for answer in lines:
                self._take(answer)
                reach("parsed")
                if len(self._waiting) >= AT_ONCE or self._waiting_bytes >= BYTES_MAX:
                    await self._write()
        await self._write()

    async def close(self, *, is_complete: bool) -> list[str]:
        """Queues what has no end, and ends the shard; the items that may have been billed.
        `is_complete`: the provider has worked off everything, so a missing line may have been."""
        unanswered = [
            item.custom_id
            for name, item in self._named.items.items()
            if name not in self._seen and self._may_be_billed(name, is_complete=is_complete)
        ]
        detail = {
            "strangers": self._strangers,
            "differences": self._differences,
            "again": len(self._again),
        }
        shard = self._named.shard
        await self._disk.do(
            lambda store: let_go(store, self._lease, shard, (APPLIED, detail), unanswered)
        )
        return unanswered

    @property
    def findings(self) -> Findings:
        return Findings(self._strangers, self._differences)

    def _may_be_billed(self, name: str, *, is_complete: bool) -> bool:
        answer = self._again.get(name)
        return is_complete if answer is None else answer.may_be_billed

    def _take(self, answer: Answer) -> None:
        item = self._named.items.get(answer.name)
        if item is None:
            self._strangers += 1
            return
        mark = sha256(answer.kind.encode() + answer.body).digest()[:8]
        known = self._seen.get(answer.name)
        if known is not None:
            self._differences += known != mark
        elif answer.kind == AGAIN:
            self._again[answer.name] = answer
        else:
            self._seen[answer.name] = mark
            self._again.pop(answer.name, None)
            settled = self._settled(item, answer)
            self._waiting.append((item, settled))
            self._waiting_bytes += len(settled.body)

    def _settled(self, item: Item, answer: Answer) -> Settled:
        target = f"{self._named.shard.provider}/{self._named.shard.model}"
        if answer.kind != GOOD:
            return Settled(
                item.custom_id, FAILED, answer.status, answer.body, answer.code, answer.message,
                target=target, lane=BATCH,
            )  # fmt: skip
        paid = self._books.paid(self._named.shard, answer.body)
        before = self._asked_before[item.custom_id]
        return Settled(
            item.custom_id, SUCCEEDED, answer.status, answer.body, usage=paid.usage,
            cost_nanos=paid.cost_nanos, saved_batch_nanos=paid.saved_nanos,
            at_risk_nanos=before * (paid.cost_nanos or 0), target=target, lane=BATCH,
        )  # fmt: skip

    async def _write(self) -> None:
        written, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not written:
            return
        await self._disk.do(lambda store: _settle(store, self._lease, [one for _, one in written]))
        await self._books.book(written)


def _settle(store: JobStore, lease: Lease, settled: list[Settled]) -> None:
    reach("before_commit")
    store.settle(lease, settled)
    reach("after_commit")


def let_go(
    store: JobStore, lease: Lease, shard: Shard, end: tuple[str, dict[str, Any]],
    unanswered: Collection[str],
) -> None:  # fmt: skip
    """Queues the open items of a shard and ends it: `end` is its last state, and what is to be
    remembered of it. What may have been billed is noted before anything is asked again."""
    state, detail = end
    known = Learned(detail={**shard.detail, **detail, UNANSWERED: sorted(unanswered)})
    store.advance(lease, shard.id, shard.state, known)
    requeue_open(store, lease, shard)
    store.advance(lease, shard.id, state)


def requeue_open(store: JobStore, lease: Lease, shard: Shard) -> None:
    """Queues what is open in a shard."""
    left = [item for item in store.shard_items(shard.id) if item.state in (SHARDED, SUBMITTED)]
    if left:
        store.requeue(lease, [item.custom_id for item in left])


def asked_before(shards: Iterable[Shard]) -> Counter[str]:
    """How often each item was perhaps done, and billed, without an answer; of all lanes."""
    return Counter(name for shard in shards for name in shard.detail.get(UNANSWERED, ()))
