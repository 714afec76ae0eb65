"""What a program can make its runtime forget. Over HTTP: tests/surfaces/test_operations.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headgate.runtime import Runtime
from headgate.testing import FakeClock
from headgate.types import EVERYTHING


class Moody:
    """Lets itself be copied when it is stored, and refuses later."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Moody:
        self.copies += 1
        if self.copies > 1:
            raise RuntimeError("not now")
        return self


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runtime(clock: FakeClock) -> Iterator[Runtime]:
    with Runtime(clock=clock) as runtime:
        yield runtime


def test_clear_removes_what_is_selected_and_says_how_many(runtime: Runtime) -> None:
    for model, namespace in [("a", ""), ("b", ""), ("b", "tests"), ("c", "tests")]:
        runtime.cached_llm_call("p", model, {}, lambda: 1, namespace=namespace)
    assert runtime.clear(model="b", namespace="tests") == 1
    assert runtime.clear(model="b") == 1
    assert runtime.clear(namespace="tests") == 1
    assert runtime.stats()["cache"]["size"] == 1
    assert runtime.clear() == 1
    assert runtime.clear() == 0


def test_clear_selects_by_age_and_key_and_counts_without_removing(clock: FakeClock) -> None:
    with Runtime(clock=clock) as runtime:
        runtime.cached_llm_call("old", "m", {}, lambda: 1)
        clock.advance(60)
        runtime.cached_llm_call("new", "m", {}, lambda: 1)
        (new, old) = runtime.tiers.list(EVERYTHING, limit=9)
        assert runtime.clear(older_than=30, dry_run=True) == 1
        assert runtime.clear(tag="none") == 0
        assert runtime.clear(older_than=30) == 1
        assert runtime.clear(key=old.key) == 0
        assert runtime.clear(key=new.key) == 1


def test_a_stored_object_that_refuses_to_be_copied_now_is_forgotten_and_asked_for_again(
    runtime: Runtime,
) -> None:
    first, second = Moody(), Moody()
    assert runtime.cached_llm_call("p", "m", {}, lambda: first) is first
    assert runtime.cached_llm_call("p", "m", {}, lambda: second) is second
