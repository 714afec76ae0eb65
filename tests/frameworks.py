"""The environment of the frameworks, which bring too much to stand beside our own tools."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from programs import environment

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "integrations" / "frameworks"
SUITE_S = 240


def passed_in_suite(name: str) -> int:
    """How many tests of a suite passed in that environment. Raises AssertionError where it does
    not exist or one of them did not pass."""
    named = os.environ.get("HEADGATE_FRAMEWORKS_PYTHON", "")
    python = Path(named) if named else ROOT / ".venv-frameworks" / "bin" / "python"
    assert python.exists(), f"{python} does not exist: run `make test`, which installs frameworks"
    command = [str(python), "-m", "pytest", "-c", "pytest.ini", name]
    done = subprocess.run(
        command,
        cwd=FOLDER,
        env=environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        timeout=SUITE_S,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    told = re.search(r"^(\d+) passed in", done.stdout, re.M)
    assert told is not None, f"not all passed: {done.stdout[-500:]}"
    return int(told[1])
