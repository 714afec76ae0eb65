"""The store off the event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from headgate.clock import SystemClock
from headgate.jobs.base import JobStore
from headgate.jobs.disk import Disk
from headgate.stores.jobs import JobsFile


def test_work_is_done_in_one_other_thread_in_its_order(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []

    async def run(store: JobStore) -> None:
        disk = Disk(store)
        note = [
            disk.do(lambda _, n=n: done.append((n, threading.get_ident())))  # type: ignore[misc]
            for n in range(20)
        ]
        await asyncio.gather(*note)
        disk.close()

    with JobsFile(tmp_path / "jobs.db", SystemClock()) as store:
        asyncio.run(run(store))
    assert [number for number, _ in done] == [*range(20)]
    threads = {thread for _, thread in done}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_who_is_cancelled_while_it_waits_does_not_undo_what_it_asked_for(tmp_path: Path) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def slow(_: JobStore) -> None:
        begun.set()
        assert go_on.wait(20)

    async def run(store: JobStore) -> None:
        disk = Disk(store)
        first = asyncio.ensure_future(disk.do(slow))
        await asyncio.to_thread(begun.wait, 20)
        # This one has not even begun.
        second = asyncio.ensure_future(disk.do(lambda _: done.append("second")))
        await asyncio.sleep(0)
        for task in (first, second):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        go_on.set()
        await asyncio.to_thread(disk.close)

    with JobsFile(tmp_path / "jobs.db", SystemClock()) as store:
        asyncio.run(run(store))
    assert done == ["second"]


def test_what_the_store_raises_is_raised(tmp_path: Path) -> None:
    def fail(_: JobStore) -> None:
        raise KeyError("no")

    async def run(store: JobStore) -> None:
        disk = Disk(store)
        with pytest.raises(KeyError, match="no"):
            await disk.do(fail)
        disk.close()

    with JobsFile(tmp_path / "jobs.db", SystemClock()) as store:
        asyncio.run(run(store))
