"""Fixtures of the disk tier's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores.disk import Opened

from headgate.stores.sqlite import SqliteStore
from headgate.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def opened(path: Path, clock: FakeClock) -> Iterator[Opened]:
    stores = []

    def open_store(bytes_max: int = 10_000_000, at: Path = path) -> SqliteStore:
        stores.append(SqliteStore(at, bytes_max, clock))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns every few microseconds: races show in a second instead of a month."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual_s)
