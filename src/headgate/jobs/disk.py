"""The store of jobs, off the event loop: one thread, so that writes stand in one order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from headgate.jobs.base import JobStore

T = TypeVar("T")


class Disk:
    """Whoever works on jobs has one. Close it when nobody works any more; the store stays open."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self._thread = ThreadPoolExecutor(1, "headgate-jobs")

    async def do(self, work: Callable[[JobStore], T]) -> T:
        """What `work` does with the store. Who is cancelled while it waits does not stop it: what
        was begun is done."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, work, self.store))

    def close(self) -> None:
        """Waits for what has been begun."""
        self._thread.shutdown()
