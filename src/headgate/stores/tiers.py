"""Where entries are kept: memory first, then an optional slower store whose finds are copied up.

Knows nothing of calls and replies. A tier that fails is a miss, never a failed answer.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Sequence

from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.fingerprint import shape_key
from headgate.core.freshness import is_fresh
from headgate.stores.base import FastStore, SharedStore, Store, StoreStats
from headgate.types import EVERYTHING, Call, Entry, Selection

FOLLOW_EVERY_S = 1.0
"""How long what another process removed may still be served from this one's memory."""


class Tiers:
    """The memory tier and, with `cache.persist`, the disk tier below it. Safe from any thread."""

    def __init__(self, memory: FastStore, below: SharedStore | None, clock: Clock) -> None:
        self.memory = memory
        self.below = below
        self.generation = 0
        """Rises with every removal: an answer asked for in an earlier one is not to be stored."""
        self._clock = clock
        self._removals = -1 if below is None else below.removals()
        self._follower: asyncio.Task[None] | None = None

    async def find(self, call: Call, stale_s: float = 0.0) -> Entry | None:
        """An entry of any tier that is fresh, or past its time by at most `stale_s`; memory once
        more at the end, as it may have come meanwhile."""
        if self.below is None:
            return self._in_memory(call, stale_s)
        self._begin_to_follow()
        return (
            self._in_memory(call, stale_s)
            or await self._below(call, stale_s)
            or self._in_memory(call, stale_s)
        )

    async def find_all(self, calls: Sequence[Call]) -> dict[bytes, Entry]:
        """As `find`, of many calls of one scope at once, by their keys: one visit to the slower
        tier for all of them."""
        found = self._all_in_memory(calls)
        missing = [call for call in calls if call.key not in found]
        if self.below is None or not missing:
            return found
        self._begin_to_follow()
        now_s, generation = self._clock.epoch(), self.generation
        get = self.below.get
        entries = await asyncio.get_running_loop().run_in_executor(
            None, lambda: [get(call.key, call.scope, now_s, 0.0) for call in missing]
        )
        for call, entry in zip(missing, entries, strict=True):
            if entry is not None and is_fresh(entry, call.controls, now_s, 0.0):
                found[call.key] = entry
                if generation == self.generation:
                    self.memory.put(entry, now_s)
        return found | self._all_in_memory(missing)

    def _all_in_memory(self, calls: Sequence[Call]) -> dict[bytes, Entry]:
        entries = ((call.key, self._in_memory(call, 0.0)) for call in calls)
        return {key: entry for key, entry in entries if entry is not None}

    def put(self, entry: Entry) -> None:
        """Keeps `entry` in every tier that can hold it."""
        now_s = self._clock.epoch()
        self.memory.put(entry, now_s)
        if self.below is not None and entry.kind != "object":
            self.below.put(entry, now_s)

    def remove(self, selection: Selection, *, dry_run: bool = False) -> int:
        """Removes the selected entries from every tier (with `dry_run` only counts them).

        Returns how many there were; one that stood in two tiers counts once. A selected key stands
        for the entries of either shape that were made under it, too.
        """
        self.generation += not dry_run
        if selection.key is None:
            return self._remove(selection, dry_run)
        shapes = [shape_key(selection.key, streamed=streamed) for streamed in (True, False)]
        return sum(
            self._remove(replace(selection, key=key), dry_run) for key in (selection.key, *shapes)
        )

    def _remove(self, selection: Selection, dry_run: bool) -> int:
        now_s = self._clock.epoch()
        removed = self.memory.remove(selection, now_s=now_s, dry_run=dry_run)
        if self.below is None:
            return removed
        return max(removed, self.below.remove(selection, now_s=now_s, dry_run=dry_run))

    def follow(self) -> None:
        """Empties memory if any process (this one included) removed entries from the slower tier
        since the last time: which of them stand here too is not worth finding out."""
        removals = -1 if self.below is None else self.below.removals()
        if removals != self._removals:
            self._removals = removals
            self.generation += 1
            self.memory.remove(EVERYTHING, now_s=self._clock.epoch())

    def _begin_to_follow(self) -> None:
        if self._follower is None or self._follower.done():
            self._follower = asyncio.ensure_future(self._follow_for_ever())

    async def _follow_for_ever(self) -> None:
        """On the home loop, from the first miss on: before that memory holds nothing."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(FOLLOW_EVERY_S)
            await loop.run_in_executor(None, self.follow)

    def list(self, selection: Selection, *, limit: int) -> builtins.list[Entry]:
        """Up to `limit` selected entries of the lowest tier (which has them all), or of memory."""
        store: Store = self.below or self.memory
        return store.list(selection, now_s=self._clock.epoch(), limit=limit)

    def stats(self) -> builtins.list[StoreStats]:
        """Of each tier, memory first."""
        tiers = [self.memory, self.below] if self.below is not None else [self.memory]
        return [tier.stats() for tier in tiers]

    def problem(self) -> str:
        """What keeps the slower tier from working just now; "" if nothing does."""
        return "" if self.below is None else self.below.problem()

    def unfollow(self) -> None:
        """Looks for removals by others no longer, on the home loop: others own these stores now."""
        if self._follower is not None:
            self._follower.cancel()

    def close(self) -> None:
        """Flushes the slower tier and lets go of its file."""
        if self.below is not None:
            self.below.close()

    def _in_memory(self, call: Call, stale_s: float) -> Entry | None:
        now_s = self._clock.epoch()
        entry = self.memory.peek(call.key, now_s, stale_s)
        return entry if entry and is_fresh(entry, call.controls, now_s, stale_s) else None

    async def _below(self, call: Call, stale_s: float) -> Entry | None:
        if self.below is None:
            return None
        now_s, generation = self._clock.epoch(), self.generation
        loop = asyncio.get_running_loop()
        get = self.below.get
        entry = await loop.run_in_executor(None, get, call.key, call.scope, now_s, stale_s)
        if entry is None or not is_fresh(entry, call.controls, now_s, stale_s):
            return None
        if generation == self.generation:
            self.memory.put(entry, now_s)
        return entry
