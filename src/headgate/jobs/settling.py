"""Answers on their way to the disk: many in one transaction, none of them late.

What is not written yet is lost in a crash, and asked again: so little may wait, and not for long.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from headgate.jobs.base import JobStore
from headgate.jobs.disk import Disk
from headgate.jobs.failpoints import reach
from headgate.jobs.model import Lease, Settled
from headgate.jobs.states import APPLIED, FETCHED

AT_ONCE = 200
"""Answers in one transaction; so many more wait at most."""
BYTES_MAX = 8_000_000
EVERY_S = 0.5
"""How long the first of them waits for company."""


class Settling:
    """Ends items of one job, in the order in which they are given. `write` runs beside whoever
    gives. Belongs to one event loop."""

    def __init__(self, disk: Disk, lease: Lease) -> None:
        self._disk, self._lease = disk, lease
        self._waiting: list[Settled] = []
        self._size_bytes = 0
        self._shards: dict[str, str] = {}
        self._open: Counter[str] = Counter()
        self._is_full, self._has_room = asyncio.Event(), asyncio.Event()
        self._has_room.set()

    def expect(self, shard_id: str, custom_ids: Sequence[str]) -> None:
        """These items stand in a shard, which is closed when the last of them has ended."""
        self._shards |= dict.fromkeys(custom_ids, shard_id)
        self._open[shard_id] += len(custom_ids)

    async def give(self, settled: Settled) -> None:
        """Takes one more; waits where too many wait already."""
        await self._has_room.wait()
        self._waiting.append(settled)
        self._size_bytes += len(settled.body)
        if len(self._waiting) >= AT_ONCE or self._size_bytes >= BYTES_MAX:
            self._is_full.set()
        if len(self._waiting) >= 2 * AT_ONCE or self._size_bytes >= 2 * BYTES_MAX:
            self._has_room.clear()

    async def write(self) -> None:
        """Writes what comes, until it is cancelled. Raises Fenced and StoreError."""
        while True:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._is_full.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def flush(self) -> None:
        """Writes everything that waits."""
        while self._waiting:
            written, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            self._size_bytes = sum(len(one.body) for one in self._waiting)
            is_written = False
            try:
                await self._disk.do(lambda store, written=written: self._settle(store, written))  # type: ignore[misc]
                is_written = True
            finally:
                # Else nobody knows: the next try tells, and what has ended stays. They are paid
                # for, so nothing is noted of their page before they are written.
                if not is_written:
                    self._waiting = [*written, *self._waiting]
            await self._close(self._ended_with(written))
            self._has_room.set()
        self._is_full.clear()

    def _settle(self, store: JobStore, settled: Sequence[Settled]) -> None:
        reach("before_commit")
        store.settle(self._lease, settled)
        reach("after_commit")

    def _ended_with(self, written: Sequence[Settled]) -> list[str]:
        """Shards that have ended with these."""
        ended = []
        for one in written:
            shard_id = self._shards.pop(one.custom_id, "")
            self._open[shard_id] -= bool(shard_id)
            if shard_id and not self._open[shard_id]:
                ended.append(shard_id)
        return ended

    async def _close(self, shard_ids: Sequence[str]) -> None:
        for shard_id in shard_ids:
            del self._open[shard_id]
            await self._disk.do(lambda store, name=shard_id: close_shard(store, self._lease, name))  # type: ignore[misc]


def close_shard(store: JobStore, lease: Lease, shard_id: str) -> None:
    """A shard of the ordinary path has come to its end: nothing in it is under way."""
    store.advance(lease, shard_id, FETCHED)
    store.advance(lease, shard_id, APPLIED)
