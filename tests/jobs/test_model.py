"""The nouns of durable jobs."""

from __future__ import annotations

from headgate.jobs.model import Job


def test_a_job_has_as_many_items_as_its_states_hold() -> None:
    job = Job("job_1", "", "/v1/embeddings", "file_1", 0.0, 60.0, counts={"queued": 2, "failed": 1})
    assert job.total == 3
