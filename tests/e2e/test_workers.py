"""`headgate serve --workers 2`: several processes behind one port, with one cache on disk.

One worker at a time is stopped (SIGSTOP), so that the other has to answer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import PATIENT
from programs import children, is_gone, run, running, until
from workerpair import Workers

from headgate.testing import FakeProvider


@pytest.fixture
def workers(tmp_path: Path, provider: FakeProvider) -> Iterator[Workers]:
    (tmp_path / "gate.toml").write_text(
        f'[server]\nworkers = 2\nport = 0\n[cache]\npersist = true\n'
        f'{PATIENT}[providers.openai]\nbase_url = "{provider.base_url}"\n'
    )  # fmt: skip
    with running("serve", "--config", "gate.toml", cwd=tmp_path) as gateway:
        yield Workers(gateway)


def test_what_one_worker_asked_the_other_answers_from_disk(
    workers: Workers, provider: FakeProvider
) -> None:
    first, second = workers.pids
    asked = workers.ask(first)
    assert "fwd=miss; stored" in asked.headers["cache-status"]
    assert workers.written(first) == 1
    again = workers.ask(second)
    assert "; hit; " in again.headers["cache-status"]
    assert again.body == asked.body
    assert len(provider.calls) == 1
    back = workers.ask(second, "another")
    assert workers.written(second) == 2
    assert workers.ask(first, "another").body == back.body
    assert len(provider.calls) == 2
    with workers.only(second) as address:
        numbers = address.get("/api/metrics/llm").json
    assert numbers["cache"]["tiers"]["sqlite"]["hits"] == 1


def test_a_clear_reaches_the_memory_of_every_worker(
    workers: Workers, provider: FakeProvider
) -> None:
    first, second = workers.pids
    for pid in (first, second):
        workers.ask(pid)
        assert workers.written(pid) == 1
    with workers.only(first) as address:
        assert address.post("/api/admin/clear-cache", {}).json["entries_removed"] == 1
    until(lambda: "; hit; " not in workers.ask(second).headers["cache-status"])
    assert len(provider.calls) == 2


def test_sigterm_ends_all_of_them_with_status_0(workers: Workers) -> None:
    pids = children(workers.gateway.process.pid)
    assert len(pids) >= 2
    assert workers.gateway.end(signal.SIGTERM) == 0
    until(lambda: all(map(is_gone, pids)))
    assert "Traceback" not in workers.gateway.output


def test_ctrl_c_reaches_all_of_them_at_once_and_ends_with_status_0(workers: Workers) -> None:
    pids = children(workers.gateway.process.pid)
    for pid in workers.pids:
        os.kill(pid, signal.SIGINT)
    assert workers.gateway.end(signal.SIGINT) == 0
    until(lambda: all(map(is_gone, pids)))
    assert "Traceback" not in workers.gateway.output


def test_a_worker_that_dies_is_replaced(workers: Workers, provider: FakeProvider) -> None:
    dying, staying = workers.pids
    asked = workers.ask(staying)
    os.kill(dying, signal.SIGKILL)
    until(lambda: is_gone(dying))
    until(lambda: len(workers.pids) == 2)
    (fresh,) = {*workers.pids} - {staying}
    assert workers.written(staying) == 1
    assert workers.ask(fresh).body == asked.body
    assert len(provider.calls) == 1
    assert workers.gateway.end() == 0


def test_stats_are_those_of_all_workers(workers: Workers, tmp_path: Path) -> None:
    first, second = workers.pids
    for number, pid in enumerate((first, second, second)):
        workers.ask(pid, f"question {number}")

    def told() -> str:
        return run("stats", "--url", workers.address.url, cwd=tmp_path).stdout

    # Each has added what it has within a second, or does when it is asked.
    until(lambda: told().startswith("3 calls, 0 errors; hit rate 0.0% (0 hits, 3 misses)\n"))
    assert "calls and money of 2 workers" in told()
    numbers = workers.address.get("/api/metrics/llm").json
    assert (numbers["workers"], numbers["cost"]["by_reason"]["answer"]["calls"]) == (2, 3)
