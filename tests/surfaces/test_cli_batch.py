"""`headgate batch` as users call it: the file that goes in, what comes out, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchruns import Bench, batch, here, run
from jobbing import chat, line
from programs import forget_settings

from headgate.testing import Status


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with here(tmp_path, monkeypatch) as bench:
        yield bench


def test_every_line_has_its_answer_in_the_order_of_the_input(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.ask(30)
    told = run(capsys)
    assert told.code == 0, told.err
    bench.is_complete(30)
    job = bench.job()
    assert job.cost_nanos == bench.billed_nanos()
    first, tokens, money, created, output = told.out.splitlines()
    assert first == f"{job.id}  completed: 30 succeeded"
    bill = bench.server.bill()
    assert tokens == f"tokens  {bill.tokens_in:,} in, {bill.tokens_out:,} out"
    assert money.startswith("money   $0.00")
    assert created.startswith("created 20")
    assert output == f"output  {bench.out}"
    assert "asking: 30/30, 0 failed" in told.err


def test_a_row_is_as_openai_writes_it(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.ask(1)
    run(capsys)
    (row,) = bench.rows()
    assert list(row) == ["id", "custom_id", "response", "error"]
    assert row["id"].startswith("batch_req_")
    assert row["error"] is None
    assert list(row["response"]) == ["status_code", "request_id", "body"]
    assert row["response"]["body"]["choices"][0]["message"]["content"]


def test_lines_that_fail_stand_in_the_output_and_end_with_1(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"error": {"message": "no such tool", "code": "bad_tool"}}
    bench.server.script(Status(400, body=wrong))
    bench.write([line("a", chat(1)), line("b", chat(2)), line("c", chat(1))])
    told = run(capsys)
    assert told.code == 1
    rows = {row["custom_id"]: row for row in bench.rows()}
    failed = [name for name, row in rows.items() if row["response"]["status_code"] == 400]
    assert failed in (["b"], ["a", "c"])
    assert rows[failed[0]]["response"]["body"] == wrong
    assert "failed" in told.out


def test_what_equals_another_line_costs_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write(line(f"r{n}", chat(n % 2)) for n in range(10))
    told = run(capsys, "--json")
    job = json.loads(told.out)
    assert job["counts"] == {"cache_hit": 8, "succeeded": 2}
    assert round(job["billed_usd"] * 1e9) == bench.billed_nanos()
    assert round(job["saved_by_cache_usd"] * 1e9) == bench.billed_nanos() * 4
    assert len(bench.server.calls) == 2
    assert "10 lines, 2 different" in told.err


def test_without_a_configuration_the_built_in_provider_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_bytes(line("a", chat(1)) + b"\n")
    told = run(capsys)
    assert told.code == 0
    assert "note: no provider is configured: the built-in fake provider answers" in told.err
    assert json.loads(Path("out.jsonl").read_text())["custom_id"] == "a"


def test_a_provider_from_the_environment_is_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HEADGATE_CONFIG")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_BASE_URL", bench.server.base_url)
    bench.ask(1)
    assert run(capsys).code == 0
    assert bench.server.calls[0].headers["authorization"] != ""


# Later.


def test_status_shows_jobs_and_one_job(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(capsys, "status").code == 0
    assert not bench.database.exists()
    assert json.loads(batch(capsys, "status", "--json").out) == {"jobs": []}
    bench.ask(2)
    run(capsys)
    job = bench.job()
    listed = batch(capsys, "status")
    assert listed.out.splitlines()[1].split()[:5] == [job.id, "completed", "2", "2", "0"]
    one = batch(capsys, "status", job.id)
    assert one.out.startswith(f"{job.id}  completed: 2 succeeded\n")
    told = json.loads(batch(capsys, "status", job.id, "--json").out)
    (same,) = json.loads(batch(capsys, "status", "--json").out)["jobs"]
    assert told == same
    assert told["tokens_out"] == bench.server.bill().tokens_out


def test_a_job_that_has_ended_is_resumed_by_writing_its_output(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.ask(3)
    run(capsys)
    written, job = bench.out.read_bytes(), bench.job().id
    assert batch(capsys, "resume", job).code == 0
    bench.out.unlink()
    assert batch(capsys, "resume", job).code == 0
    assert bench.out.read_bytes() == written
    bench.out.write_text("something else\n")
    told = batch(capsys, "resume", job)
    assert told.code == 1
    assert "is there already and is not the output of" in told.err
    assert bench.out.read_text() == "something else\n"
    assert len(bench.server.calls) == 3


def test_a_job_that_has_ended_cannot_be_cancelled(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.ask(1)
    run(capsys)
    told = batch(capsys, "cancel", bench.job().id)
    assert told.code == 1
    assert "has ended already: completed" in told.err
