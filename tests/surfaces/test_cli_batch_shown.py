"""Jobs in words and in numbers."""

from __future__ import annotations

import pytest

from headgate.jobs.lines import Checked
from headgate.jobs.model import Job, JobOptions, LineProblem, Shard
from headgate.surfaces import cli_batch_shown as shown
from headgate.types import Usage

COUNTS = {"queued": 1, "submitted": 2, "succeeded": 4, "cache_hit": 8, "failed": 16, "expired": 32}
JOB = Job(
    "job_1", "", "/v1/chat/completions", "file_1", 0.0, 86_400.0, "in_progress",
    JobOptions(out="/out.jsonl"), counts=COUNTS, cost_nanos=1_234_567_890,
    saved_cache_nanos=500_000_000, saved_batch_nanos=20_000, at_risk_nanos=1_000,
)  # fmt: skip


def test_what_has_ended_and_what_has_no_answer() -> None:
    assert shown.done_in(COUNTS) == 60
    assert shown.bad_in(COUNTS) == 48


def test_a_job_in_words() -> None:
    batch = Shard("s", "job_1", "openai", "t", "m", "polling", 0.0, 100, provider_batch_id="b_1")
    assert shown.detail(JOB, Usage(1000, 2000), [batch]) == [
        "job_1  in_progress: 1 queued, 2 submitted, 4 succeeded, 8 cache hit, 16 failed, "
        "32 expired",
        "tokens  1,000 in, 2,000 out",
        "money   $1.234567 billed, $0.50 saved by the cache, $0.00002 saved by batch prices",
        "at risk up to $0.000001 may have been billed a second time",
        "created 1970-01-01T00:00:00Z, to be done by 1970-01-02T00:00:00Z",
        "output  /out.jsonl",
        "batch   openai b_1: 100 lines, polling",
    ]


def test_beside_the_bar() -> None:
    assert shown.told(JOB, Usage(1000, 2000)) == "16 failed, 3,000 tokens, $1.234567"


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "$0.00"), (5_000_000_000, "$5.00"), (1_500_000, "$0.0015"), (999, "$0.00"),
     (1_234_000_000_000, "$1,234.00")],
)  # fmt: skip
def test_dollars_have_cents_and_as_much_more_as_there_is(nanos: int, text: str) -> None:
    job = Job("j", "", "e", "f", 0.0, 0.0, cost_nanos=nanos)
    assert shown.summary(job, Usage())[2] == f"money   {text} billed"


def test_a_job_as_json_adds_up() -> None:
    told = shown.as_json(JOB, Usage(1, 2))
    assert (told["lines"], told["done"], told["not_answered"]) == (63, 60, 48)
    assert told["billed_usd"] == pytest.approx(1.23456789)
    assert told["ended"] is False


def test_problems_are_told_with_their_lines() -> None:
    problems = [LineProblem(3, "c", "wrong"), LineProblem(0, "c", "all of it is wrong")]
    told = shown.problems_in_words("in.jsonl", Checked(problems=problems, problem_count=5))
    assert told == [
        "in.jsonl:3: wrong",
        "in.jsonl: all of it is wrong",
        "in.jsonl: and 3 lines more",
        "in.jsonl was refused: nothing was sent, and nothing written",
    ]
