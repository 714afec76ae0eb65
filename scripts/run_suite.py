"""Runs the suite, and tells a broken test from one that fails once in a while.

Ten thousand tests with real sockets, processes and clocks meet every bad moment of a machine.
Where no more than `FEW` failed, each of them runs `TIMES` times more, alone. Failing once more is
failing. Passing each time is a defect of the test: it is named as unstable on the last lines, and
the suite passes. More than `FEW`, or anything else than failed tests, is never tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FEW = 3
TIMES = 5
FAILED = 1
"""Pytest's exit status where tests ran and some failed."""
NOTES = Path(".pytest_cache/v/cache/lastfailed")


def main(arguments: list[str]) -> int:
    """The exit status of the suite under pytest with `arguments`."""
    NOTES.unlink(missing_ok=True)
    status = pytest(arguments)
    failed = noted() if status == FAILED else []
    if not failed or len(failed) > FEW:
        return status
    broken = [test for test in failed if not passes_each_time(test)]
    for test in failed:
        said = "fails again" if test in broken else f"UNSTABLE: passed {TIMES} times alone"
        sys.stdout.write(f"{said}: {test}\n")
        sys.stdout.flush()
    return FAILED if broken else 0


def pytest(arguments: list[str]) -> int:
    """The exit status of one run."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - what make was given


def noted() -> list[str]:
    """The tests that failed, as pytest's cache has them."""
    return list(json.loads(NOTES.read_text())) if NOTES.exists() else []


def passes_each_time(test: str) -> bool:
    """Whether the test passes `TIMES` times without others beside it."""
    return all(pytest(["-p", "no:cacheprovider", test]) == 0 for _ in range(TIMES))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
