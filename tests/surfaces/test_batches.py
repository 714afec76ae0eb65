"""Jobs in the words of OpenAI's batches: every state, every time, what went wrong."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from openai.types import Batch

from headgate.jobs.model import Job, JobOptions, LineProblem
from headgate.surfaces.batches import shown
from headgate.types import Usage

JOB = Job("job_1", "t", "/v1/responses", "file_1", 100.9, 200.9)
TIMES = {
    "validating": (),
    "in_progress": ("in_progress_at",),
    "finalizing": ("in_progress_at",),
    "completed": ("in_progress_at", "finalizing_at", "completed_at"),
    "failed": ("failed_at",),
    "expired": ("in_progress_at", "finalizing_at", "expired_at"),
    "cancelling": ("in_progress_at", "cancelling_at"),
    "cancelled": ("in_progress_at", "finalizing_at", "cancelling_at", "cancelled_at"),
}
ENDS = ("completed", "failed", "expired", "cancelled")


def strict(job: Job, usage: Usage | None = None) -> Any:
    """As the SDK reads it, types and all."""
    fields = shown(job, usage)
    read = Batch.model_validate(fields, strict=True)
    assert read.model_dump() == {"model": None, **fields}
    return read


@pytest.mark.parametrize("state", TIMES)
def test_each_state_has_its_times(state: str) -> None:
    job = replace(JOB, state=state, counts={"succeeded": 1} if state != "failed" else {})
    if state in ENDS:
        job = replace(job, ended_s=150.5)
    if state.startswith("cancel"):
        job = replace(job, cancel_asked_s=140.5)
    read = strict(job)
    known = {name for names in TIMES.values() for name in names}
    assert {name for name in known if getattr(read, name) is not None} == set(TIMES[state])
    assert (read.status, read.created_at, read.expires_at) == (state, 100, 200)
    has_output = state in ENDS and state != "failed"
    assert (read.output_file_id is not None) == has_output


def test_every_line_is_counted_once() -> None:
    counts = {"queued": 1, "sharded": 2, "submitted": 3, "cache_hit": 4, "succeeded": 5,
              "failed": 6, "expired": 7, "cancelled": 8}  # fmt: skip
    read = strict(replace(JOB, counts=counts)).request_counts
    assert (read.total, read.completed, read.failed) == (36, 9, 21)


def test_what_is_wrong_has_its_line_and_the_file_itself_has_none() -> None:
    problems = (LineProblem(0, "empty_file", "no lines"), LineProblem(3, "c", "m", "body.model"))
    read = strict(replace(JOB, state="failed", errors=problems))
    told = [(one.line, one.code, one.message, one.param) for one in read.errors.data]
    assert told == [(None, "empty_file", "no lines", None), (3, "c", "m", "body.model")]


def test_tokens_are_told_as_they_add_up() -> None:
    usage = Usage(tokens_in=10, tokens_out=5, tokens_cached=4, tokens_reasoning=2)
    read = strict(JOB, usage).usage
    assert (read.input_tokens, read.output_tokens, read.total_tokens) == (10, 5, 15)
    assert read.input_tokens_details.cached_tokens == 4
    assert read.output_tokens_details.reasoning_tokens == 2


def test_what_its_maker_said_is_told_again() -> None:
    options = JobOptions(window="2h", metadata={"a": "b"})
    read = strict(replace(JOB, options=options))
    assert (read.completion_window, read.metadata) == ("2h", {"a": "b"})
