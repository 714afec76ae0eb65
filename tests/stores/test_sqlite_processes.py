"""The disk tier in processes of their own: killed, out of room, several on one file."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from effort import FULL
from msgspec.structs import replace
from programs import until
from stores.disk import Opened, check, ended, set_aside, started
from stores.disk_process import numbered
from stores.samples import NOW_S

from headgate.stores.sqlite import SqliteStore
from headgate.testing import FakeClock
from headgate.types import Entry

KILLED = 120 if FULL else 20


def is_intact(number: int, entry: Entry) -> bool:
    """Whether it is the entry of this number, apart from the time at which it was made."""
    return replace(numbered(number), created_s=entry.created_s) == entry


def test_when_writing_fails_reads_go_on_and_writes_come_back(tmp_path: Path) -> None:
    told = ended(started("fill", tmp_path / "cache.db", 3_000_000))
    assert 0 in told["seen"], "written before the limit"
    assert 10 < len(told["seen"]) < 300
    assert told["errors"] >= 100
    assert told["integrity_failures"] == 0
    assert check(tmp_path / "cache.db") == "ok"
    # The same without a limit: the file is whole and takes entries again.
    told = ended(started("fill", tmp_path / "cache.db", 0))
    assert told["seen"] == list(range(400))
    assert told["errors"] == 0


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    """A file system of 3 MB, in a mount namespace of its own. Where the kernel does not give one
    to this user, a limit on the size of files stands for it."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=3m none {folder}"
    probe = ["unshare", "-rm", "sh", "-c", mount]
    if shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0:
        prefix = ("unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh")
        told = ended(started("fill", folder / "cache.db", 0, prefix=prefix))
    else:
        told = ended(started("fill", folder / "cache.db", 2_000_000))
    assert 0 in told["seen"]
    assert 10 < len(told["seen"]) < 200
    assert told["errors"] >= 100
    assert told["integrity_failures"] == 0


@pytest.mark.parametrize("first", range(0, KILLED, 20))
def test_killed_writers_lose_nothing_that_was_flushed_and_tear_nothing(
    path: Path, clock: FakeClock, first: int
) -> None:
    """Half of the entries are streams; twenty processes are killed in the middle of writing."""
    for seed in range(first, first + 20):
        process = started("write", path, seed)
        assert process.stdout is not None
        flushed: list[int] = []
        for _ in range(1 + seed % 4):
            flushed += map(int, process.stdout.readline().split())
        time.sleep(0.003 * (seed % 7))
        process.kill()
        flushed += map(int, process.communicate()[0].split())
        assert check(path) == "ok"
        store = SqliteStore(path, 5_000_000, clock)
        listed = store.list(now_s=NOW_S, limit=10_000)
        stats = store.stats()
        store.close()
        entries = {int.from_bytes(e.key, "big"): e for e in listed}
        assert set(flushed[-100:]) <= set(entries)
        assert all(is_intact(number, entry) for number, entry in entries.items())
        assert {entry.kind for entry in listed} == {"whole", "stream"}
        assert (stats.integrity_failures, stats.errors) == (0, 0)
        assert stats.entries == len(listed)
        assert stats.size_bytes <= 5_000_000
    assert set_aside(path) == []


def test_several_processes_write_read_and_remove_in_one_file(path: Path, opened: Opened) -> None:
    processes = [started("share", path, seed, 400) for seed in range(4)]
    for told in map(ended, processes):
        assert told["wrong"] == told["errors"] == told["integrity_failures"] == 0
        assert told["hits"] > 0
        assert told["size_bytes"] <= 2_000_000
    assert check(path) == "ok"
    store = opened()
    listed = store.list(now_s=NOW_S, limit=1000)
    assert store.stats().entries == len(listed) > 0


def test_a_file_set_aside_by_one_process_is_left_by_the_others_too(
    path: Path, opened: Opened
) -> None:
    process = started("write", path, 1)
    assert process.stdout is not None
    process.stdout.readline()
    for suffix in ("-wal", "-shm", ""):
        path.with_name(f"cache.db{suffix}").rename(path.with_name(f"cache.db.corrupt-1{suffix}"))
    # What was printed before, and is still in the pipe, says nothing of the file that comes then.
    until(lambda: kept(opened))
    newest = max(kept(opened))
    flushed = [0]
    while flushed[-1] <= newest:
        line = process.stdout.readline()
        assert line, "it goes on writing"
        flushed += map(int, line.split())
    process.kill()
    flushed += map(int, process.communicate()[0].split())
    assert flushed[-1] in kept(opened)
    assert check(path) == "ok"


def kept(opened: Opened) -> set[int]:
    """The numbers of the entries in the file that bears our name now."""
    return {int.from_bytes(entry.key, "big") for entry in opened().list(now_s=NOW_S, limit=1000)}
