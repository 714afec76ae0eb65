"""What the tests of the disk tier share: filled stores, processes, looks at the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from stores.samples import NOW_S, SCOPE, entry_of, key_of

from headgate.stores.sqlite import SqliteStore
from headgate.types import Entry

PROCESS = Path(__file__).with_name("disk_process.py")
Opened = Callable[..., SqliteStore]


def found(store: SqliteStore, number: int = 1, now_s: float = NOW_S) -> Entry | None:
    return store.get(key_of(number), SCOPE, now_s)


def filled(store: SqliteStore, count: int = 20) -> SqliteStore:
    for number in range(count):
        store.put(entry_of(number), NOW_S)
    store.flush()
    return store


def started(*arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROCESS.parents[1])}
    command = [*prefix, sys.executable, str(PROCESS), *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    told: dict[str, Any] = json.loads(printed)
    return told


def check(path: Path) -> str:
    """What SQLite itself says about the file."""
    connection = apsw.Connection(str(path))
    try:
        return str(connection.execute("PRAGMA integrity_check").get)
    finally:
        connection.close()


def set_aside(path: Path) -> list[str]:
    return sorted(f.name for f in path.parent.iterdir() if ".corrupt-" in f.name)


def change_rows(path: Path, sql: str, *values: object) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql, values)
    connection.close()
