"""The numbers of several worker processes, which are killed at random while everybody is asked: no
counter ever falls, and no more is lost than what a killed worker had not added yet.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from gates import PATIENT, Address
from programs import Running, children, is_gone, running, until
from prometheus_client.parser import text_string_to_metric_families

from headgate.monitor import Monitor
from headgate.surfaces.admin_client import AdminClient
from headgate.testing import FakeProvider

WORKERS = 3
ROUND = 20
KILLS = 3
Samples = dict[tuple[str, ...], float]


@pytest.fixture
def gateway(tmp_path: Path, provider: FakeProvider) -> Iterator[Running]:
    (tmp_path / "gate.toml").write_text(
        f'[server]\nworkers = {WORKERS}\nport = 0\n[metrics]\nnaming = "both"\n'
        f'[breaker]\nenabled = false\n[providers.openai]\nbase_url = "{provider.base_url}"\n'
        f'{PATIENT}[models.m]\ntargets = ["openai/m"]\n'
    )  # fmt: skip
    with running("serve", "--config", "gate.toml", cwd=tmp_path) as started:
        yield started


def pids(gateway: Running) -> list[int]:
    """The workers: not Python's own process that tracks semaphores."""
    return [pid for pid in children(gateway.process.pid) if b"spawn_main" in command_of(pid)]


def command_of(pid: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def samples(address: Address) -> tuple[Samples, list[float]]:
    """Every sample that may not fall, as one worker tells it, and how long ago each worker has
    added what it had. Raises where the worker is killed just then, or has been."""
    found, ages_s = {}, []
    page = address.get("/metrics")
    assert page.status == 200
    for family in text_string_to_metric_families(page.body.decode()):
        for sample in family.samples:
            if family.type != "gauge":
                found[sample.name, *map("=".join, sorted(sample.labels.items()))] = sample.value
            elif sample.name == "headgate_metrics_flush_age_seconds":
                ages_s.append(sample.value)
    return found, ages_s


class Scraper:
    """Asks all the time, whichever worker answers, and notes what has fallen."""

    def __init__(self, address: Address) -> None:
        self.pages = 0
        self.fallen: list[str] = []
        self.settled_s = 0.0
        """All that was counted before this moment is in the numbers."""
        self._address = address
        self._last: Samples = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def ask(self) -> None:
        with self._lock:
            asked_s = time.monotonic()
            found, ages_s = samples(self._address)
            self.fallen += [
                f"{name}: {before} to {found.get(name)}"
                for name, before in self._last.items()
                if found.get(name, -1.0) < before
            ]
            self._last = found
            self.pages += 1
            self.settled_s = asked_s - max(ages_s) if len(ages_s) == WORKERS else 0.0

    def counted(self) -> int:
        """Calls, when every worker has added all that it has counted until now."""
        now_s = time.monotonic()
        until(lambda: self.settled_s > now_s)
        with self._lock:
            return int(self._last["llm_cache_misses", "model=m"])

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            with suppress(OSError, HTTPException):
                self.ask()


def drive(address: Address, numbers: Iterator[int], victim: int | None) -> None:
    """One round of calls, each of another question; in its middle `victim` is killed."""

    def ask(number: int) -> None:
        question = {"model": "m", "messages": [{"role": "user", "content": f"q{number}"}]}
        # A worker that is killed takes its calls along.
        with suppress(OSError, HTTPException):
            assert address.post("/v1/chat/completions", question).status == 200

    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask, next(numbers)) for _ in range(ROUND)]
        asked[ROUND // 2].result()
        if victim is not None:
            os.kill(victim, signal.SIGKILL)
        for one in asked:
            one.result()


def test_no_counter_falls_and_a_kill_costs_what_was_not_added_yet(
    gateway: Running, provider: FakeProvider
) -> None:
    address, dice, numbers = gateway.served(), random.Random(5), itertools.count()
    until(lambda: len(pids(gateway)) == WORKERS)
    scraper = Scraper(address)
    try:
        counted = 0
        for _ in range(KILLS):
            drive(address, numbers, None)
            assert scraper.counted() == counted + ROUND, "nothing is lost where nobody is killed"
            counted += ROUND
            victim, sent = dice.choice(pids(gateway)), len(provider.calls)
            drive(address, numbers, victim)
            until(lambda victim=victim: is_gone(victim) and len(pids(gateway)) == WORKERS)
            after = scraper.counted()
            # Of this round some may be lost; of those before, which had been added, none.
            assert counted <= after <= counted + len(provider.calls) - sent
            counted = after
        drive(address, numbers, None)
        assert scraper.counted() == counted + ROUND
        assert gateway.end() == 0
    finally:
        scraper.close()
    assert scraper.pages > 20
    assert not scraper.fallen


def test_a_monitor_looks_at_all_workers_as_one(gateway: Running) -> None:
    address = gateway.served()
    until(lambda: address.get("/readyz").status == 200)
    until(lambda: len(pids(gateway)) == WORKERS)
    monitor, numbers = Monitor(AdminClient(address.url).stats), itertools.count()
    assert monitor.look() is None
    seen = 0
    for _ in range(5):
        drive(address, numbers, None)
        report = monitor.look()
        assert report is not None, "whichever worker answered"
        seen += report.totals.calls

    def everything() -> bool:
        nonlocal seen
        report = monitor.look()
        assert report is not None
        seen += report.totals.calls
        return seen == 5 * ROUND

    # Each call is in one window, once its worker has told of it.
    until(everything)
    for victim in pids(gateway):
        os.kill(victim, signal.SIGKILL)
        until(lambda victim=victim: is_gone(victim) and len(pids(gateway)) == WORKERS)
    until(lambda: has_answered(address))
    report = monitor.look()
    assert report is not None
    assert not report.is_restarted, "a worker is not the gateway"


def has_answered(address: Address) -> bool:
    try:
        return address.get("/readyz").status == 200
    except OSError:
        return False
