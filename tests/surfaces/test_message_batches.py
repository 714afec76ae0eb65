"""Jobs in the words of Anthropic's message batches: every state."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.messages import MessageBatch
from msgspec.structs import replace

from headgate.jobs.model import Job
from headgate.surfaces.message_batches import shown

JOB = Job("job_1", "t", "/v1/messages", "file_1", 100.25, 200.0, counts={"queued": 2})
STATUSES = {
    "validating": "in_progress",
    "in_progress": "in_progress",
    "finalizing": "in_progress",
    "cancelling": "canceling",
    "completed": "ended",
    "expired": "ended",
    "cancelled": "ended",
}


def strict(job: Job) -> Any:
    """As the SDK reads it, types and all."""
    return MessageBatch.model_validate_json(json.dumps(shown(job)), strict=True)


@pytest.mark.parametrize(("state", "status"), STATUSES.items())
def test_each_state_has_its_name(state: str, status: str) -> None:
    has_ended = status == "ended"
    read = strict(replace(JOB, state=state, ended_s=150.0 if has_ended else None))
    assert read.processing_status == status
    assert (read.results_url is not None) == has_ended
    assert (read.ended_at is not None) == has_ended
    assert read.request_counts.processing == (0 if has_ended else 2)


def test_how_requests_ended_is_told_at_the_end() -> None:
    counts = {"succeeded": 1, "cache_hit": 2, "failed": 3, "expired": 4, "cancelled": 5}
    before = strict(replace(JOB, state="in_progress", counts=counts)).request_counts
    assert (before.processing, before.succeeded, before.errored) == (15, 0, 0)
    after = strict(replace(JOB, state="completed", ended_s=1.0, counts=counts)).request_counts
    assert (after.processing, after.succeeded, after.errored, after.expired, after.canceled) == (
        0, 3, 3, 4, 5,
    )  # fmt: skip


def test_times_are_those_of_the_world() -> None:
    told = shown(replace(JOB, cancel_asked_s=101.0))
    assert told["created_at"] == "1970-01-01T00:01:40.250000Z"
    assert told["cancel_initiated_at"] == "1970-01-01T00:01:41Z"


def test_results_are_found_at_the_address_that_was_asked() -> None:
    url = shown(replace(JOB, state="completed", ended_s=1.0))["results_url"]
    assert url == "/v1/messages/batches/job_1/results"
