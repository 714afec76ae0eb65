"""The jobs of this process: their store, which is opened when somebody first needs it, and the
threads that wait for its disk.

Nothing is made before the first upload: whoever only looks finds no jobs where there is no file.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from headgate.clock import Clock
from headgate.errors import ConfigError, QueueFull, Refused, StoreError
from headgate.jobs.base import Fenced, InUse, JobStore
from headgate.stores.jobs import JobsFile

THREADS = 4
"""For what is short."""
STUDIES = 2
"""For what looks through whole files; more would take the processor from calls."""
UPLOADS_MAX = 16
"""Uploads of one process at a time; each has a thread, which waits for its client."""
UPLOADS_OF_TENANT_MAX = 4
AGAIN_S = 10.0
"""How long a file that was found broken is not read through again."""
FAILING_S = 60.0
"""How long a failure of the disk is told of."""

T = TypeVar("T")
Seen = tuple[int, int, int, int]
_LOG = logging.getLogger("headgate.jobs")


class Desk:
    """The store at `path`. Its methods belong to one event loop; `close` to any thread."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.wake: Callable[[], None] = _nobody
        """Called where there may be something to work on."""
        self._store: JobStore | None = None
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, "headgate-jobs")
        self._studying = ThreadPoolExecutor(STUDIES, "headgate-study")
        self._uploading = ThreadPoolExecutor(UPLOADS_MAX, "headgate-upload")
        self._uploads: dict[str, int] = {}
        self._problem = ""
        self._refused: Seen | None = None
        self._again_at_s = self._failing_until_s = -math.inf

    async def look(self, work: Callable[[JobStore], T]) -> T | None:
        """What `work` finds in the store, None where there is none yet. Raises Refused where it
        cannot be used."""
        return await self._run(functools.partial(self._found, work))

    def glance(self, work: Callable[[JobStore], T]) -> asyncio.Future[T | None]:
        """As `look`, for whoever has no task to wait in; raises what the store does."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, self._found, work)

    async def make(self, work: Callable[[JobStore], T]) -> T:
        """What `work` does with the store, which is made if there is none."""
        return await self._run(lambda: work(self.opened()))

    async def study(self, work: Callable[[JobStore], T]) -> T:
        """As `make`, for what looks through all of a file: few do at a time, and keep nobody else
        from what is short."""
        return await self._run(lambda: work(self.opened()), self._studying)

    async def upload(self, tenant: str, work: Callable[[JobStore], T]) -> T:
        """As `make`, for what waits for its client. Raises QueueFull where too many do."""
        count = self._uploads.get(tenant, 0)
        if count >= UPLOADS_OF_TENANT_MAX or sum(self._uploads.values()) >= UPLOADS_MAX:
            raise QueueFull("too many uploads at a time: wait until one is done", retry_after_s=1)
        self._uploads[tenant] = count + 1
        try:
            return await self._run(lambda: work(self.opened()), self._uploading)
        finally:
            self._uploads[tenant] -= 1
            if not self._uploads[tenant]:
                del self._uploads[tenant]

    async def read(self, pieces: Iterator[bytes], least_bytes: int) -> bytes:
        """The next pieces, at least so many bytes together; fewer at the end, none behind it."""

        def join() -> bytes:
            read: list[bytes] = []
            size_bytes = 0
            while size_bytes < least_bytes and (piece := next(pieces, b"")):
                read.append(piece)
                size_bytes += len(piece)
            return b"".join(read)

        return await self._run(join)

    async def let_go(self, pieces: Iterator[bytes]) -> None:
        """Closes what pieces were read from, where it can be."""
        close = getattr(pieces, "close", None)
        if close is not None:
            await self._run(close)

    def opened(self) -> JobStore:
        """The store; in a thread that may wait for the disk."""
        with self._opening:
            if self._store is None:
                self._store = self._open()
            return self._store

    def problem(self) -> str:
        """What is wrong just now, for people; "" if nothing is."""
        if not self._problem and self.clock.monotonic() < self._failing_until_s:
            return "durable jobs: their file, or its disk, has failed within the last minute"
        return self._problem

    def note(self, error: StoreError) -> None:
        """The store has failed at something. Told to people here, to clients never: it names
        files."""
        now_s = self.clock.monotonic()
        if now_s >= self._failing_until_s:
            _LOG.warning("the store of durable jobs fails: %s", error.message)
        self._failing_until_s = now_s + FAILING_S

    def close(self) -> None:
        """Lets go of the file, when what runs has ended."""
        self._uploading.shutdown()
        self._studying.shutdown()
        self._threads.shutdown()
        with self._opening:
            if self._store is not None:
                self._store.close()
                self._store = None

    async def _run(self, work: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        """In one of `threads`. Raises Refused where the store fails."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads or self._threads, work)
        except (Fenced, InUse):
            raise
        except StoreError as error:
            self.note(error)
            raise _unavailable() from None

    def _found(self, work: Callable[[JobStore], T]) -> T | None:
        is_there = self._store is not None or self._is_there()
        return work(self.opened()) if is_there else None

    def _is_there(self) -> bool:
        """Whether there is a file; where nobody can tell, opening it says why."""
        try:
            self.path.stat()
        except FileNotFoundError:
            return False
        except OSError:
            pass
        return True

    def _open(self) -> JobStore:
        seen = _seen(self.path)
        now_s = self.clock.monotonic()
        if seen is not None and seen == self._refused and now_s < self._again_at_s:
            raise _unavailable()
        try:
            store = JobsFile(self.path, self.clock)
        except ConfigError as error:
            if not self._problem:
                _LOG.warning("durable jobs are not served: %s", error.message)
            self._problem = "durable jobs are not served: their file cannot be used"
            self._refused, self._again_at_s = seen, now_s + AGAIN_S
            raise _unavailable() from None
        self._problem = ""
        return store


def _nobody() -> None:
    """Nobody works here yet."""


def _seen(path: Path) -> Seen | None:
    """By what a file is known again, as it is now; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _unavailable() -> Refused:
    refused = Refused("the operator of this gateway has to look after its file of jobs")
    refused.code = "jobs_unavailable"
    return refused
