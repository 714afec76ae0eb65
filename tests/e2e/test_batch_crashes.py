"""`headgate batch run` killed at every point of the ordinary path, then `resume`: the provider's
own record, the output and the job's ledger agree. Whatever was paid twice is told as at risk.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchruns import Bench

from headgate.testing import FaultServer

LINES = 230
"""Three pages, and two transactions of answers."""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: FaultServer) -> Iterator[Bench]:
    bench = Bench(tmp_path, server)
    bench.ask(LINES)
    yield bench
    bench.close()


def killed_at(bench: Bench, point: str) -> None:
    done = bench.run(HEADGATE_FAILPOINT=point)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not bench.out.exists()


def agrees(bench: Bench, *, kills: int = 1, has_cache: bool = False) -> None:
    """Whatever was asked again is at risk, and nothing else was billed. `has_cache`: an answer that
    was paid for and not written may be found there, so that its bill is at risk, too."""
    bench.is_complete(LINES)
    job = bench.job()
    assert (job.state, sum(job.counts.values())) == ("completed", LINES)
    again = [count - 1 for count in bench.asked().values() if count > 1]
    assert max(again, default=0) <= kills
    paid_twice_nanos = bench.billed_nanos() - job.cost_nanos
    assert 0 <= paid_twice_nanos <= job.at_risk_nanos
    # Two pages at most are in the hands of a process.
    assert sum(again) <= 200 * kills
    if not again and not has_cache:
        assert paid_twice_nanos == 0


def test_killed_before_the_job_is_there_it_never_was(bench: Bench) -> None:
    killed_at(bench, "validated")
    assert bench.jobs() == []
    assert bench.server.calls == []
    assert bench.run().returncode == 0
    agrees(bench)


@pytest.mark.parametrize(
    "point",
    ["committed", "intent", "batch_stored:3", "before_commit", "after_commit", "before_commit:2"],
)
def test_killed_anywhere_it_goes_on_from_there(bench: Bench, point: str) -> None:
    killed_at(bench, point)
    left = bench.job()
    assert (left.total, left.ended_s) == (LINES, None)
    has_asked = bool(bench.server.calls)
    assert has_asked == (point not in ("committed", "intent"))
    resumed = bench.call("resume", left.id)
    assert resumed.returncode == 0, resumed.stderr
    agrees(bench)
    if not has_asked:
        assert bench.job().at_risk_nanos == 0


def test_killed_again_and_again_it_comes_to_its_end(bench: Bench) -> None:
    killed_at(bench, "batch_stored")
    left = bench.job().id
    resumed = bench.call("resume", left, HEADGATE_FAILPOINT="before_commit")
    assert resumed.returncode == -signal.SIGKILL
    assert bench.call("resume", left).returncode == 0
    agrees(bench, kills=2)


def test_with_a_cache_on_disk_what_was_answered_is_not_asked_again(
    tmp_path: Path, server: FaultServer
) -> None:
    bench = Bench(tmp_path, server, "[cache]\npersist = true\n")
    bench.ask(LINES)
    killed_at(bench, "before_commit:2")
    assert bench.call("resume", bench.job().id).returncode == 0
    agrees(bench, has_cache=True)


def test_killed_while_lines_are_under_way(bench: Bench) -> None:
    begun = bench.begin("run", str(bench.file), "--out", str(bench.out))
    job = begun.job_id()
    bench.server.wait_for_calls(20, timeout_s=60.0)
    begun.kill()
    assert bench.call("resume", job).returncode == 0
    agrees(bench)
