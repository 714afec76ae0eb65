"""The environments of the frameworks, which bring too much to stand beside our own tools: one with
the SDKs of today, and one with those of the generation before, on which some still stand.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from programs import environment

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "integrations" / "frameworks"
SUITE_S = 240
TODAY, LEGACY = "frameworks", "legacy"


def passed_in_suite(name: str, where: str = TODAY) -> int:
    """How many tests of a suite passed in one of the environments. Raises AssertionError where it
    does not exist or one of them did not pass."""
    named = os.environ.get(f"HEADGATE_{where.upper()}_PYTHON", "")
    python = Path(named) if named else ROOT / f".venv-{where}" / "bin" / "python"
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
