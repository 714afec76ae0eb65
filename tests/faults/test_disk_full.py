"""Row 22, as far as the cache goes: the disk is full. Calls are answered as if nothing had
happened, what could not be kept is counted, and when there is room again answers are kept again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.disks import mounted, on_disk
from gates import gate_before
from lab import PATHS, Lab, fields_for
from oracle import until
from rawclient import CHAT

from headgate.layers.settings import CacheConfig
from headgate.stores.sqlite_writer import RETRY_AFTER_S
from headgate.testing import Answer, FakeClock, FakeProvider

DISK = "size=2m"
LONG = "x" * 30_000
"""A hundred answers of this length are more than the disk has room for."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", DISK) as folder:
        yield folder


def fill(folder: Path) -> Path:
    """A file that leaves no room."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    return path


def errors(lab: Lab) -> int:
    return int(lab.gate.stats()["cache"]["tiers"]["sqlite"]["errors"])


def test_a_disk_that_fills_up_costs_nobody_an_answer(
    open_lab: Callable[..., Lab], disk: Path
) -> None:
    lab = open_lab(lambda server: on_disk(server, disk / "cache.db"), beside=True)
    with lab.healthy_meanwhile() as enough:
        for number in range(120):
            lab.server.script(Answer(text=f"{number} {LONG}"))
            reply = lab.ask(PATHS[number % 4], about=number, stream=number % 3 == 0)
            assert (reply.status, reply.is_whole) == (200, True)
        until(lambda: errors(lab) > 0, "some could not be written")
        enough()
    assert len(lab.server.calls) == 120
    assert os.statvfs(disk).f_bavail * 4096 < 1_000_000
    lab.is_healthy()


def test_when_there_is_room_again_answers_are_kept_again(disk: Path) -> None:
    clock = FakeClock()
    cache = CacheConfig(persist=True, persist_path=str(disk / "cache.db"), maxsize=1)

    def is_hit(about: object) -> bool:
        got = gate.post(CHAT, fields_for(CHAT, about))
        assert got.status == 200
        return "; hit" in got.headers["cache-status"]

    def written() -> dict[str, int]:
        numbers: dict[str, int] = gate.stats()["cache"]["tiers"]["sqlite"]
        return numbers

    with FakeProvider() as provider, gate_before(provider, cache, clock) as gate:
        assert not is_hit("before")
        until(lambda: written()["entries"] == 1, "it is written")
        filler = fill(disk)
        for number in range(20):
            provider.script(Answer(text=f"{number} {LONG}"))
            assert not is_hit(number)
        until(lambda: written()["errors"] >= 20, "none of them can be written")
        filler.unlink()
        clock.advance(RETRY_AFTER_S + 1)
        assert not is_hit("after")
        until(lambda: written()["entries"] == 2, "it is written again")
        assert is_hit("before")
        assert is_hit("after"), "memory has room for the other one only"


def test_a_disk_that_is_full_at_the_start_costs_nobody_an_answer(
    open_lab: Callable[..., Lab], disk: Path
) -> None:
    fill(disk)
    lab = open_lab(lambda server: on_disk(server, disk / "cache.db"))
    for number in range(20):
        assert lab.ask(about=number).status == 200
    lab.is_healthy()
