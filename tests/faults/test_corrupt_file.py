"""Row 23, as far as the cache goes: a file that is not what was written. Whatever was harmed, every
question gets its own answer, from the file or from the provider; what cannot be read is set aside.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from effort import FULL
from faults.disks import on_disk
from lab import Lab
from oracle import until

QUESTIONS = 12
CHANGED = 500 if FULL else 25


def random_page(raw: bytes) -> bytes:
    place = random.Random(7).randrange(1, len(raw) // 4096) * 4096
    return raw[:place] + b"\xa5" * 4096 + raw[place + 4096 :]


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "header": lambda raw: b"X" * 16 + raw[16:],
    "random page": random_page,
    "half of it": lambda raw: raw[: len(raw) // 2],
    "zeros": lambda raw: bytes(len(raw)),
    "nothing": lambda raw: b"",
    "text": lambda raw: b"no database " * 1000,
}


@pytest.fixture
def lab(open_lab: Callable[..., Lab], tmp_path: Path) -> Lab:
    """A gateway that has kept some answers in a file and is still running."""
    lab = open_lab(lambda server: on_disk(server, tmp_path / "original.db"))
    for number in range(QUESTIONS):
        assert lab.ask(about=number, stream=number % 2 == 0).status == 200
    until(lambda: written(lab) == QUESTIONS, "all of them are written")
    return lab


def written(lab: Lab) -> int:
    return int(lab.gate.stats()["cache"]["tiers"]["sqlite"]["entries"])


def copied(tmp_path: Path, name: str) -> Path:
    """The file as it is now, in a folder of its own, everything in one file."""
    path = tmp_path / name / "cache.db"
    path.parent.mkdir()
    source = sqlite3.connect(tmp_path / "original.db")
    target = sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path


def asked_again(lab: Lab, path: Path) -> int:
    """Asks everything again, of another gateway with this file; how often the file knew it."""
    with lab.another_gate(on_disk(lab.server, path)):
        hits = 0
        for number in range(QUESTIONS):
            reply = lab.ask(about=number, stream=number % 2 == 0)
            # Whose answer it is, and to what question, is the oracle's to say.
            assert (reply.status, reply.is_whole) == (200, True)
            hits += "; hit" in reply.headers["cache-status"]
        return hits


def test_a_file_that_is_whole_knows_every_answer(lab: Lab, tmp_path: Path) -> None:
    assert asked_again(lab, copied(tmp_path, "whole")) == QUESTIONS


@pytest.mark.parametrize("name", HARMS)
def test_a_harmed_file_costs_nobody_an_answer(lab: Lab, tmp_path: Path, name: str) -> None:
    path = copied(tmp_path, "harmed")
    path.write_bytes(HARMS[name](path.read_bytes()))
    assert asked_again(lab, path) <= QUESTIONS
    assert asked_again(lab, path) == QUESTIONS, "what came then was kept"


def test_a_file_of_another_version_is_set_aside(lab: Lab, tmp_path: Path) -> None:
    path = copied(tmp_path, "version")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert asked_again(lab, path) == 0
    assert [file for file in path.parent.iterdir() if ".corrupt-" in file.name]


def test_a_log_that_was_cut_gives_no_wrong_answer(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"original.db{suffix}", folder / f"cache.db{suffix}")
    log = folder / "cache.db-wal"
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 2 // 3])
    asked_again(lab, folder / "cache.db")
    assert asked_again(lab, folder / "cache.db") == QUESTIONS


def test_a_changed_byte_anywhere_gives_no_wrong_answer(lab: Lab, tmp_path: Path) -> None:
    original = copied(tmp_path, "original").read_bytes()
    places: list[Any] = random.Random(11).sample(range(len(original)), CHANGED)
    for place in places:
        path = tmp_path / str(place) / "cache.db"
        path.parent.mkdir()
        path.write_bytes(original[:place] + bytes([original[place] ^ 0xFF]) + original[place + 1 :])
        asked_again(lab, path)
        shutil.rmtree(path.parent)
