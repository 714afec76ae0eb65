"""A fault server for the batch APIs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headgate.testing import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running
