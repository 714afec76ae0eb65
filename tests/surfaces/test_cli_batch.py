"""`headgate batch` as users call it: the file that goes in, what comes out, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchruns import Bench
from jobbing import chat, line
from programs import Told, forget_settings, until

from headgate.testing import Delay, FaultServer, Pause, Status


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    forget_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_CONFIG", "headgate.toml")
    bench = Bench(tmp_path, server)
    yield bench
    bench.close()


def batch(capsys: pytest.CaptureFixture[str], *words: str) -> Told:
    return Told(capsys, "batch", *words)


def run(capsys: pytest.CaptureFixture[str], *more: str) -> Told:
    return batch(capsys, "run", "in.jsonl", "--out", "out.jsonl", *more)


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


# What is refused.


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("there.jsonl", "is there already"),
        ("dangling.jsonl", "is there already"),
        ("in.jsonl", "is there already"),
        ("nowhere/out.jsonl", "there is no folder"),
        ("in.jsonl/out.jsonl", "there is no folder"),
        ("/proc/out.jsonl", "cannot be written to"),
    ],
)
def test_an_output_that_cannot_be_made_is_refused_before_anything(
    bench: Bench, capsys: pytest.CaptureFixture[str], out: str, why: str
) -> None:
    bench.ask(3)
    Path("there.jsonl").write_text("mine")
    Path("dangling.jsonl").symlink_to("gone")
    before = sorted(os.listdir())
    told = batch(capsys, "run", "in.jsonl", "--out", out)
    assert told.code == 2
    assert told.err.startswith("--out: ")
    assert why in told.err
    assert sorted(os.listdir()) == before
    assert Path("there.jsonl").read_text() == "mine"
    assert bench.server.calls == []


GOOD = line("good", chat(1))
BAD = {
    "no JSON": (b'{"custom_id": ', "not valid JSON"),
    "no UTF-8": (b'{"custom_id": "\xff"}', "UTF-8"),
    "a name that is taken": (GOOD, "'good' stands in line 1 already"),
    "no name": (line("", chat(2)), "custom_id"),
    "a long name": (line("x" * 513, chat(2)), "custom_id must have 1 to 512 characters"),
    "another endpoint": (line("b", chat(2), "/v1/responses"), "one endpoint in a file"),
    "no endpoint": (line("b", chat(2), "/v1/moderations"), "must be one of"),
    "a stream": (line("b", chat(2, stream=True)), "stream"),
    "an unknown model": (line("b", {**chat(2), "model": "x/y"}), "x/y"),
    "an empty line": (b"\n" + line("b", chat(2)), "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_refuses_the_whole_file_and_is_named(
    bench: Bench, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, why = BAD[name]
    config = Path("headgate.toml").read_text().replace("[retry]", '[models."m"]\ntargets = ["openai/m"]\n[providers.other]\nkind = "fake"\n[retry]')  # fmt: skip  # noqa: E501
    Path("headgate.toml").write_text(config)
    bench.write([GOOD, text])
    before = sorted(os.listdir())
    told = run(capsys)
    assert told.code == 2
    first, last = told.err.splitlines()[0], told.err.splitlines()[-1]
    assert first.startswith("in.jsonl:2: ")
    assert why in first
    assert last == "in.jsonl was refused: nothing was sent, and nothing written"
    assert sorted(os.listdir()) == before
    assert bench.server.calls == []


def test_the_first_hundred_bad_lines_are_named(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write([GOOD, *(b"nonsense" for _ in range(150))])
    told = run(capsys)
    named = [text for text in told.err.splitlines() if text.startswith("in.jsonl:")]
    assert [int(text.split(":")[1]) for text in named[:100]] == [*range(2, 102)]
    assert named[100:] == ["in.jsonl: and 50 lines more"]


@pytest.mark.parametrize("content", [b"", b"\n\n"], ids=["empty", "only line feeds"])
def test_a_file_without_lines_is_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    bench.file.write_bytes(content)
    told = run(capsys)
    assert (told.code, told.out) == (2, "")
    assert "no lines" in told.err


def test_a_file_that_is_too_large_is_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with bench.file.open("wb") as opened:
        opened.truncate(200_000_001)
    told = run(capsys)
    assert told.code == 2
    assert "the file has 200000001 bytes, at most 200000000" in told.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("run", "gone.jsonl", "--out", "o"), "gone.jsonl: does not exist"),
        (("run", ".", "--out", "o"), "is no file"),
        (("run", "in.jsonl", "--out", "o", "--deadline", "soon"), "--deadline: "),
        (("run", "in.jsonl", "--out", "o", "--deadline", "5s"), "must be from 1m to 30d"),
        (("run", "in.jsonl", "--out", "o", "--config", "gone.toml"), "gone.toml"),
        (("run", "in.jsonl", "--out", "o", "--lane", "fast"), "fast"),
        (("run", "in.jsonl"), "--out"),
        (("resume", "job_1"), "there is no job 'job_1' here"),
        (("cancel", "job_1"), "there is no job 'job_1' here"),
        (("status", "job_1"), "there is no job 'job_1' here"),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    bench.ask(1)
    before = sorted(os.listdir())
    told = batch(capsys, *words)
    assert told.code == 2
    assert why in told.err
    assert sorted(os.listdir()) == before


def test_a_vendor_without_a_key_is_not_asked(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("headgate.toml").write_text('[providers.openai]\nkind = "openai"\n')
    bench.ask(2)
    told = run(capsys)
    assert told.code == 2
    assert "in.jsonl:1: provider 'openai'" in told.err
    assert "set providers.openai.api_key" in told.err


# The plan.


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write(line(f"r{n}", chat(n % 5, max_tokens=100)) for n in range(10))
    before = sorted(os.listdir())
    told = run(capsys, "--dry-run")
    assert told.code == 0
    assert sorted(os.listdir()) == before
    assert bench.server.calls == []
    assert "10 lines of /v1/chat/completions, 5 different" in told.out
    assert "m: live: asked for" in told.out
    assert told.out.splitlines()[-1] == "nothing was sent, and nothing written"
    plan = json.loads(run(capsys, "--dry-run", "--json").out)
    (model,) = plan["models"]
    assert (plan["lines"], plan["different"], model["asked"], model["tokens_out"]) == (
        10, 5, 5, 500,
    )  # fmt: skip
    expected = (model["tokens_in"] * 1000 + 500 * 2000) / 1e9
    assert plan["cost_usd"] == model["cost_usd"] == pytest.approx(expected)
    batched = json.loads(run(capsys, "--dry-run", "--json", "--lane", "auto").out)
    (model,) = batched["models"]
    assert (model["lane"], model["batches"]) == ("batch", 1)
    assert batched["cost_usd"] == pytest.approx(expected / 2)
    soon = run(capsys, "--dry-run", "--lane", "auto", "--deadline", "10m")
    assert "m: live: 0.167 h are too short for a batch" in soon.out


def test_a_plan_for_a_model_without_a_price_says_so(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write([line("a", {**chat(1), "model": "nobody-knows"})])
    told = run(capsys, "--dry-run")
    assert "nobody-knows: its price is not known" in told.out


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


def test_a_job_that_nobody_works_on_is_cancelled_here(bench: Bench) -> None:
    bench.ask(3)
    killed = bench.run(HEADGATE_FAILPOINT="committed")
    assert killed.returncode == -signal.SIGKILL
    told = bench.call("cancel", bench.job().id)
    assert told.returncode == 0, told.stderr
    assert "cancelled: 3 cancelled" in told.stdout
    assert len(bench.rows()) == 3
    assert bench.server.calls == []
