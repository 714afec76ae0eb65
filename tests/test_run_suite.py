"""`scripts/run_suite.py`: a broken test fails the suite, one that failed once is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "run_suite.py"
TIMES = 5
BROKEN = "def test_broken{n}():\n    assert False\n"
ONCE = """
import pathlib

def test_once():
    note = pathlib.Path("noted")
    count = len(note.read_text()) if note.exists() else 0
    note.write_text("x" * (count + 1))
    assert count not in {failing}
"""


def run(folder: Path, content: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output of the script over a suite of one file."""
    (folder / "test_them.py").write_text(content)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, str(SCRIPT), "-q", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_suite_without_failures_passes_and_runs_once(tmp_path: Path) -> None:
    status, said = run(tmp_path, "def test_well():\n    pass\n")
    assert (status, said.count("1 passed")) == (0, 1)


def test_a_broken_test_fails_the_suite_after_one_more_try(tmp_path: Path) -> None:
    status, said = run(tmp_path, BROKEN.format(n=1))
    assert (status, said.count("1 failed")) == (1, 2)
    assert "fails again: test_them.py::test_broken1" in said


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_what_failed_once_and_then_never_is_named_and_passes(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    status, said = run(tmp_path, ONCE.format(failing={0}), *workers)
    assert (status, said.count("1 passed")) == (0, TIMES)
    assert said.rstrip().endswith(f"UNSTABLE: passed {TIMES} times alone: test_them.py::test_once")


@pytest.mark.parametrize("other", range(1, 1 + TIMES))
def test_what_fails_a_second_time_fails_the_suite(tmp_path: Path, other: int) -> None:
    status, said = run(tmp_path, ONCE.format(failing={0, other}))
    assert status == 1
    assert "fails again: test_them.py::test_once" in said


def test_many_failures_are_not_tried_again(tmp_path: Path) -> None:
    status, said = run(tmp_path, "".join(BROKEN.format(n=n) for n in range(4)))
    assert (status, said.count("4 failed")) == (1, 1)
    assert "again" not in said


def test_what_cannot_be_collected_is_not_tried_again(tmp_path: Path) -> None:
    status, said = run(tmp_path, "import nowhere_to_be_found\n")
    assert status == 2
    assert "again:" not in said
