"""May an entry answer now: its own time, the caller's wishes, and wrong clocks."""

from __future__ import annotations

import pytest

from headgate.core.freshness import SKEW_MAX_S, age_s, is_fresh
from headgate.types import NO_CONTROLS, Controls, Entry

ENTRY = Entry(b"k" * 32, b"s" * 32, "m", "chat", created_s=1000.0, ttl_s=60.0, content=b"{}")


@pytest.mark.parametrize(("now_s", "fresh"), [(1000, True), (1059.9, True), (1060, False), (9e9, False)])  # noqa: E501 # fmt: skip
def test_an_entry_is_fresh_until_its_time_to_live_ends(now_s: float, fresh: bool) -> None:
    assert is_fresh(ENTRY, NO_CONTROLS, now_s) is fresh


@pytest.mark.parametrize(("now_s", "fresh"), [(1010, True), (1010.1, False)])
def test_max_age_makes_an_older_entry_a_miss(now_s: float, fresh: bool) -> None:
    assert is_fresh(ENTRY, Controls(max_age_s=10.0), now_s) is fresh


def test_max_age_zero_takes_nothing_that_has_aged_at_all() -> None:
    assert not is_fresh(ENTRY, Controls(max_age_s=0.0), 1000.001)


@pytest.mark.parametrize(("now_s", "fresh"), [(1009.9, True), (1010, False)])
def test_a_shorter_time_to_live_of_the_caller_counts(now_s: float, fresh: bool) -> None:
    assert is_fresh(ENTRY, Controls(ttl_s=10.0), now_s) is fresh


@pytest.mark.parametrize("controls", [Controls(max_age_s=1e6), Controls(ttl_s=1e6)])
def test_a_caller_cannot_lengthen_the_life_of_an_entry(controls: Controls) -> None:
    assert is_fresh(ENTRY, controls, 1059.9)
    assert not is_fresh(ENTRY, controls, 1060)


@pytest.mark.parametrize(("ahead_s", "fresh"), [(SKEW_MAX_S, True), (SKEW_MAX_S + 0.1, False)])
def test_an_entry_from_further_in_the_future_than_clocks_may_differ_is_a_miss(
    ahead_s: float, fresh: bool
) -> None:
    assert is_fresh(ENTRY, NO_CONTROLS, 1000.0 - ahead_s) is fresh


def test_age_is_never_negative() -> None:
    assert age_s(ENTRY, 1003.5) == 3.5
    assert age_s(ENTRY, 990.0) == 0.0
