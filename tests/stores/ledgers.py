"""Rows for the tests of the ledger, and looks at its file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from headgate.core.booking import ANSWER, Row
from headgate.core.money import Tokens
from headgate.stores.base import Booked
from headgate.stores.ledger import LedgerFile, read_rows
from headgate.testing import FakeClock

DAY_S = 86_400.0
PROCESS = Path(__file__).with_name("ledger_process.py")
FOR_EVER_S = 1e12


def a_row(number: int = 0, at_s: float = 0.0, model: str = "m", **more: Any) -> Booked:
    row = Row(ANSWER, "p/m", Tokens(number, 1, 2, 3, 4), number, "v1")
    return Booked(at_s, f"call-{number}", model, "t", replace(row, **more))


def a_ledger(
    path: Path, clock: FakeClock, keep_s: float = FOR_EVER_S, most: int = 10_000
) -> LedgerFile:
    return LedgerFile(path, clock, keep_s, most)


def written(path: Path) -> list[Booked]:
    return list(read_rows(path, -FOR_EVER_S, FOR_EVER_S))


def started(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
        [str(PROCESS.parents[1]), os.environ.get("PYTHONPATH", "")]
    )}  # fmt: skip
    command = [sys.executable, str(PROCESS), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
