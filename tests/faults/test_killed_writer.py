"""Row 20, as far as the cache goes: the gateway is killed while it writes. The next one starts with
the same file, keeps nothing torn, and gives every question its own answer.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import oracle
import pytest
from e2e.conftest import Process
from effort import FULL
from gates import Got
from lab import fields_for
from rawclient import CHAT

from headgate.config import Config
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.testing import FaultServer, marks_in

KILLS = 200 if FULL else 20
IN_ONE_TEST = 4
ASKERS = 4


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def configured(server: FaultServer, folder: Path) -> Path:
    path = folder / "headgate.toml"
    path.write_text(
        f'[cache]\npersist = true\npersist_path = "{folder}/cache.db"\n'
        f'[providers.openai]\nbase_url = "{server.base_url}"\n'
    )
    return path


def asked(number: int) -> dict[str, Any]:
    return fields_for(CHAT, number, stream=number % 2 == 0)


def ask_until_it_dies(process: Process, first: int) -> None:
    """New questions, one after the other."""
    number = first
    try:
        while True:
            process.post(CHAT, asked(number))
            number += ASKERS
    except (OSError, HTTPException):
        return


def kill_in_the_middle(process: Process, first: int, after_s: float) -> None:
    """Kills it after some time of new questions, which begin at `first`."""
    with ThreadPoolExecutor(ASKERS) as threads:
        for number in range(ASKERS):
            threads.submit(ask_until_it_dies, process, first + number)
        time.sleep(after_s)
        process.running.kill()


def is_own_answer(server: FaultServer, got: Got, number: int) -> bool:
    """Whether it is an answer to this question, whoever gave it."""
    calls = {call.serial: call for call in server.calls}
    marks = marks_in(got.body)
    return bool(marks) and all(
        calls[mark.serial].body["messages"] == asked(number)["messages"] for mark in marks
    )


@pytest.mark.parametrize("seed", range(KILLS // IN_ONE_TEST))
def test_a_gateway_that_is_killed_while_it_writes_tears_nothing(
    server: FaultServer, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    config = configured(server, tmp_path)
    known, slowness = 0, 1.0
    for kill in range(IN_ONE_TEST):
        process = Process(config, tmp_path / f"log-{kill}", {})
        try:
            for number in range(min(known, 5)):
                got = process.post(CHAT, asked(number))
                assert got.status == 200
                assert is_own_answer(server, got, number)
            after_s = slowness * (0.05 + 0.3 * dice.random())
            kill_in_the_middle(process, kill * 10_000, after_s)
        finally:
            process.close()
        assert "Traceback" not in process.output()
        known = kept_whole(server, tmp_path / "cache.db")
        # On a busy machine nothing may be written yet.
        slowness = 1.0 if known else 4 * slowness
    assert known > 0


def kept_whole(server: FaultServer, path: Path) -> int:
    """How many entries there are; all of them are whole and as their provider sent them."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    with Runtime(Config(cache=CacheConfig(persist=True, persist_path=str(path)))) as runtime:
        oracle.only_verified_entries(runtime, {call.serial: call for call in server.calls})
        (_, disk) = runtime.tiers.stats()
        assert (disk.integrity_failures, disk.errors) == (0, 0)
        return disk.entries
