"""A fault server, and plain sockets to ask it with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headgate.testing import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=7) as running:
        yield running
