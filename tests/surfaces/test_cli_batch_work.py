"""Work on a job as a process: signals, and other processes that want the same job."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchruns import IN_NANOS, OUT_NANOS, Bench, batch, here
from programs import until

from headgate.testing import BatchCourse, Delay, Pause, Status


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with here(tmp_path, monkeypatch) as bench:
        yield bench


# Other processes, and signals.


def test_ctrl_c_leaves_a_job_that_can_be_gone_on_with_and_pays_nothing_twice(
    bench: Bench,
) -> None:
    held = Pause()
    bench.server.script(held, times=None)
    bench.ask(40)
    begun = bench.begin("run", "in.jsonl", "--out", "out.jsonl")
    held.wait_reached(4, timeout_s=60.0)
    begun.interrupt()
    until(lambda: "once more" in begun.err)
    held.release()
    assert begun.end() == 130
    job = begun.job_id()
    assert f"headgate batch resume {job} --config headgate.toml" in begun.err
    left = bench.job()
    assert left.counts == {"queued": 36, "succeeded": 4}
    assert not bench.out.exists()
    resumed = bench.call("resume", job)
    assert resumed.returncode == 0, resumed.stderr
    bench.is_complete(40)
    assert set(bench.asked().values()) == {1}
    assert bench.job().cost_nanos == bench.billed_nanos()
    assert bench.job().at_risk_nanos == 0


def test_a_second_ctrl_c_does_not_wait_and_says_what_is_at_risk(bench: Bench) -> None:
    held = Pause()
    bench.server.script(held, times=None)
    bench.ask(10)
    begun = bench.begin("run", "in.jsonl", "--out", "out.jsonl")
    held.wait_reached(4, timeout_s=60.0)
    begun.interrupt()
    until(lambda: "once more" in begun.err)
    begun.interrupt(signal.SIGTERM)
    assert begun.end() == 130
    assert bench.job().counts == {"queued": 10}
    held.release()
    assert bench.call("resume", bench.job().id).returncode == 0
    bench.is_complete(10)
    job = bench.job()
    paid_twice_nanos = bench.billed_nanos() - job.cost_nanos
    assert 0 < paid_twice_nanos <= job.at_risk_nanos


def test_a_job_that_somebody_works_on_is_cancelled_there(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first answers come after four seconds, and the wish is seen after one.
    bench.server.script(Delay(4.0), times=None)
    bench.ask(40)
    begun = bench.begin("run", "in.jsonl", "--out", "out.jsonl")
    bench.server.wait_for_calls(4, timeout_s=60.0)
    job = begun.job_id()
    refused = batch(capsys, "resume", job)
    assert refused.code == 1
    assert f"another process works on {job}" in refused.err
    cancelling = bench.begin("cancel", job, log="cancel")
    assert begun.end() == 1
    assert cancelling.end() == 0
    ended = bench.job()
    assert ended.state == "cancelled"
    assert ended.counts["cancelled"] + ended.counts["succeeded"] == 40
    rows = bench.rows()
    assert [row["custom_id"] for row in rows] == [f"r{n}" for n in range(40)]
    codes = {row["error"]["code"] for row in rows if row["error"]}
    assert codes == {"batch_cancelled"}


def test_what_would_be_in_the_way_of_the_output_is_told_before_anything_is_asked(
    bench: Bench,
) -> None:
    bench.ask(3)
    assert bench.run(HEADGATE_FAILPOINT="committed").returncode == -signal.SIGKILL
    bench.out.write_text("mine")
    told = bench.call("resume", bench.job().id)
    assert told.returncode == 2
    assert f"{bench.out} is there already: move it away" in told.stderr
    assert bench.server.calls == []


def test_a_pause_is_told(bench: Bench) -> None:
    bench.ask(1)
    bench.server.script(Status(429))
    done = bench.run()
    assert done.returncode == 0
    job = bench.job().id
    assert f"{job} pauses, and tries again: the provider answered with status 429" in done.stderr


def test_a_job_that_nobody_works_on_is_cancelled_here(bench: Bench) -> None:
    bench.ask(3)
    killed = bench.run(HEADGATE_FAILPOINT="committed")
    assert killed.returncode == -signal.SIGKILL
    told = bench.call("cancel", bench.job().id)
    assert told.returncode == 0, told.stderr
    assert "cancelled: 3 cancelled" in told.stdout
    assert len(bench.rows()) == 3
    assert bench.server.calls == []


BATCHED = '[batch_api."openai"]\napi = "openai"\npoll = 0.05\n'


def test_at_the_providers_batch_api_it_costs_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with here(tmp_path, monkeypatch, BATCHED) as bench:
        bench.ask(30)
        done = bench.run("--lane", "batch")
        assert done.returncode == 0, done.stderr
        assert "m: batch: asked for" in done.stderr
        rows = bench.rows()
        assert [row["custom_id"] for row in rows] == [f"r{n}" for n in range(30)]
        charged = bench.server.batch_charges()
        assert sorted(one.custom_id for one in charged) == sorted({c.custom_id for c in charged})
        full_nanos = sum(one.tokens_in * IN_NANOS + one.tokens_out * OUT_NANOS for one in charged)
        job = bench.job()
        assert (job.cost_nanos, job.saved_batch_nanos) == (full_nanos // 2, full_nanos // 2)
        assert "saved by batch prices" in done.stdout
        assert "batch   openai batch_" in done.stdout
        assert bench.server.bill().requests == 0


def test_ctrl_c_leaves_the_batches_at_the_provider_and_the_next_one_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with here(tmp_path, monkeypatch, BATCHED) as bench:
        # It does not end before it was looked at many times.
        bench.server.batch(BatchCourse(looks=60))
        bench.ask(10)
        begun = bench.begin("run", "in.jsonl", "--out", "out.jsonl", "--lane", "batch")
        until(lambda: [one.state for one in bench.shards()] == ["polling"])
        begun.interrupt()
        assert begun.end() == 130
        assert bench.job().counts == {"submitted": 10}
        resumed = bench.call("resume", bench.job().id)
        assert resumed.returncode == 0, resumed.stderr
        assert len(bench.rows()) == 10
        charged = bench.server.batch_charges()
        assert len(charged) == 10
        assert bench.job().at_risk_nanos == 0
