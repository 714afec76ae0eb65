"""The stores of jobs that are held to their promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.jobs.base import JobStore
from headgate.stores.jobs import JobsFile
from headgate.testing import FakeClock


@pytest.fixture
def job_clock() -> FakeClock:
    return FakeClock()


# The one store there is; another joins the list.
@pytest.fixture(params=["sqlite"])
def job_store(tmp_path: Path, job_clock: FakeClock) -> Iterator[JobStore]:
    with JobsFile(tmp_path / "jobs.db", job_clock) as store:
        yield store
