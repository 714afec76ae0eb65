"""A process that writes to a ledger until it is killed, or so many rows. Not a test: the tests of
the ledger start it. Prints the number of each row when `flush` has acknowledged it.

    ledger_process.py write PATH SEED [COUNT]
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from stores.ledgers import a_row

from headgate.clock import SystemClock
from headgate.stores.ledger import LedgerFile

CLOCK = SystemClock()


def write(path: str, seed: str, count: str = "") -> None:
    ledger = LedgerFile(Path(path), CLOCK, 1e9, 1_000_000)
    first = int(seed) * 1_000_000
    numbers = itertools.count(first, 7)
    for number in numbers if not count else range(first, first + int(count), 7):
        some = range(number, number + 7)
        ledger.append([a_row(one, at_s=CLOCK.epoch()) for one in some])
        if ledger.flush():
            print(*some, flush=True)
    ledger.close()


if __name__ == "__main__":
    write(*sys.argv[2:])
