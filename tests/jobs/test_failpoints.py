"""A process that is told to die at a point dies there, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from headgate.jobs.failpoints import POINTS, VARIABLE, reach

PROGRAM = """
from headgate.jobs.failpoints import reach
for name in ("intent", "parsed", "parsed", "parsed", "after_commit"):
    print(name, flush=True)
    reach(name)
"""


def ran(armed: str | None) -> tuple[int, list[str]]:
    environment = {**os.environ} if armed is None else {**os.environ, VARIABLE: armed}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("armed", "count"), [("intent", 1), ("parsed", 2), ("parsed:1", 2), ("parsed:3", 4)]
)
def test_it_is_killed_when_the_point_is_reached_the_nth_time(armed: str, count: int) -> None:
    code, printed = ran(armed)
    assert code == -signal.SIGKILL
    assert len(printed) == count


@pytest.mark.parametrize("armed", [None, "fetched", "parsed:4", "pars", "parsed2", ""])
def test_what_is_not_reached_kills_nobody(armed: str | None) -> None:
    code, printed = ran(armed)
    assert code == 0
    assert len(printed) == 5


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in POINTS:
        reach(name)
    assert VARIABLE not in os.environ
    assert len(set(POINTS)) == 13
