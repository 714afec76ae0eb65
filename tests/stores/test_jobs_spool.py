"""The folder of files: private, whole or absent, and swept."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.errors import ConfigError, StoreError
from headgate.stores.jobs import JobsFile
from headgate.stores.jobs_spool import STRAY_S, Spool
from headgate.testing import FakeClock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db-files"


def test_what_is_written_is_private_and_known_by_its_digest(folder: Path) -> None:
    spool = Spool(folder)
    size_bytes, sha256 = spool.write("file_1", [b"a" * 1000, b"b"])
    assert (size_bytes, sha256) == (1001, hashlib.sha256(b"a" * 1000 + b"b").hexdigest())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(spool.path("file_1").stat().st_mode) == 0o600
    with spool.open("file_1") as content:
        assert content.read() == b"a" * 1000 + b"b"
    spool.remove("file_1")
    spool.remove("file_1")
    with pytest.raises(StoreError, match="file_1"):
        spool.open("file_1")


def test_while_it_is_written_it_bears_another_name(folder: Path) -> None:
    spool = Spool(folder)

    def content() -> Iterator[bytes]:
        yield b"a"
        assert os.listdir(folder) == ["file_1.part"]
        yield b"b"

    spool.write("file_1", content())
    assert os.listdir(folder) == ["file_1"]


def test_what_breaks_off_leaves_nothing(folder: Path) -> None:
    spool = Spool(folder)

    def content() -> Iterator[bytes]:
        yield b"a"
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="No space left"):
        spool.write("file_1", content())
    assert os.listdir(folder) == []


def test_leftovers_of_crashes_go_when_they_are_a_day_old(folder: Path) -> None:
    clock = FakeClock()
    path = folder.with_name("jobs.db")
    with JobsFile(path, clock) as store:
        kept = store.add_file("acme", "batch", "a", [b"a"])
    old_s = clock.wall() - STRAY_S - 1
    for name, age_s in {"file_x.part": old_s, "file_y": old_s, "file_z.part": clock.wall()}.items():
        (folder / name).write_bytes(b"left")
        os.utime(folder / name, (age_s, age_s))
    os.utime(folder / kept.id, (old_s, old_s))
    JobsFile(path, clock).close()
    assert sorted(os.listdir(folder)) == sorted([kept.id, "file_z.part"])


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    folder.write_bytes(b"a file is in the way")
    with pytest.raises(ConfigError, match=r"jobs\.db-files"):
        JobsFile(folder.with_name("jobs.db"), FakeClock())
