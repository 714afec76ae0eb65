"""`headgate batch` at the batch API of a provider: killed in the middle of it, resumed, and judged by
what the provider charges.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchruns import IN_NANOS, OUT_NANOS, Bench

from headgate.testing import BatchCourse, FaultServer

COUNT = 30
SETTINGS = """
[batch_api.openai]
api = "openai"
poll = "10ms"
shard_requests_max = 12
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: FaultServer) -> Iterator[Bench]:
    bench = Bench(tmp_path, server, SETTINGS)
    bench.ask(COUNT)
    yield bench
    bench.close()


def agrees(bench: Bench, server: FaultServer) -> None:
    """Every line once in the output, in its place, charged once at half the price."""
    rows = bench.rows()
    assert [row["custom_id"] for row in rows] == [f"r{number}" for number in range(COUNT)]
    assert {row["response"]["status_code"] for row in rows} == {200}
    charges = server.batch_charges()
    assert len(charges) == COUNT
    job = bench.job()
    whole = sum(one.tokens_in * IN_NANOS + one.tokens_out * OUT_NANOS for one in charges)
    assert abs(job.cost_nanos * 2 - whole) <= COUNT, "each answer is rounded by itself"
    assert (job.state, job.at_risk_nanos) == ("completed", 0)
    assert server.bill().requests == 0, "nothing went by the ordinary path"


def test_a_job_runs_at_the_batch_api_and_tells_its_price(
    bench: Bench, server: FaultServer
) -> None:
    server.batch(BatchCourse(is_permuted=True, looks=2), times=None)
    done = bench.run("--lane", "batch")
    assert done.returncode == 0, done.stderr
    agrees(bench, server)
    status = json.loads(bench.call("status", bench.job().id, "--json").stdout)
    assert status["state"] == "completed"


@pytest.mark.parametrize("point", ["create_answered", "parsed:20"])
def test_killed_at_the_batch_api_it_is_resumed_and_nothing_is_charged_twice(
    bench: Bench, server: FaultServer, point: str
) -> None:
    killed = bench.run("--lane", "batch", HEADGATE_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = bench.call("resume", bench.job().id)
    assert resumed.returncode == 0, resumed.stderr
    agrees(bench, server)
