"""Windows over outcomes: what they count, what leaves them, and that they never grow.

Each is compared with a list of everything that ever happened.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.window import BUCKETS, CountWindow, TimeWindow, Window

Kind = str
KINDS = {"ok": (False, False), "fault": (True, False), "slow": (False, True), "both": (True, True)}


def put(window: Window, kind: Kind, now_s: float) -> None:
    if kind == "slow_only":
        window.add_slow(now_s)
    else:
        fault, slow = KINDS[kind]
        window.add(now_s, fault, slow)


def counts(window: Window) -> tuple[int, int, int, int]:
    return window.calls, window.faults, window.slow, window.slow_only


def counted(kinds: list[Kind]) -> tuple[int, int, int, int]:
    """What a window with exactly these outcomes in it shows."""
    slow_only = kinds.count("slow_only")
    return (
        len(kinds) - slow_only,
        kinds.count("fault") + kinds.count("both"),
        kinds.count("slow") + kinds.count("both") + slow_only,
        slow_only,
    )


kinds = st.sampled_from([*KINDS, "slow_only"])


@pytest.mark.parametrize("window", [TimeWindow(10, 0), CountWindow(5)])
def test_an_empty_window_counts_nothing(window: Window) -> None:
    assert counts(window) == (0, 0, 0, 0)


@given(st.lists(kinds, max_size=40), st.integers(1, 12))
def test_a_count_window_holds_exactly_the_last_so_many(outcomes: list[Kind], size: int) -> None:
    window = CountWindow(size)
    for number, kind in enumerate(outcomes):
        put(window, kind, 0.0)
        assert counts(window) == counted(outcomes[: number + 1][-size:])
        assert window.has_passed(0.0) is (number + 1 >= size)


@given(st.lists(st.tuples(kinds, st.integers(0, 40)), max_size=40))
def test_a_time_window_holds_whole_buckets_of_the_last_seconds(
    steps: list[tuple[Kind, int]],
) -> None:
    window = TimeWindow(10.0, 0.0)
    happened: list[tuple[int, Kind]] = []
    now_s = 0
    for kind, later_s in steps:
        now_s += later_s
        put(window, kind, now_s)
        happened.append((now_s, kind))
        # Ten buckets of a second each, the one that has begun among them.
        assert counts(window) == counted([k for at_s, k in happened if at_s > now_s - BUCKETS])


@given(st.lists(st.tuples(kinds, st.floats(0, 4)), min_size=1, max_size=60), st.floats(0, 20))
def test_what_is_older_than_the_window_is_gone_and_what_is_young_is_there(
    steps: list[tuple[Kind, float]], wait_s: float
) -> None:
    window = TimeWindow(10.0, 500.0)
    now_s, happened = 500.0, []
    for kind, later_s in steps:
        now_s += later_s
        put(window, kind, now_s)
        happened.append((now_s, kind))
    now_s += wait_s
    window.refresh(now_s)
    young = counted([kind for at_s, kind in happened if at_s > now_s - 9 + 1e-6])
    present = counted([kind for at_s, kind in happened if at_s > now_s - 10 - 1e-6])
    for least, shown, most in zip(young, counts(window), present, strict=True):
        assert least <= shown <= most


def test_a_window_that_nobody_writes_to_empties_when_it_is_asked() -> None:
    window = TimeWindow(10.0, 0.0)
    window.add(0.0, fault=True)
    window.refresh(9.99)
    assert window.faults == 1
    window.refresh(10.0)
    assert counts(window) == (0, 0, 0, 0)


@pytest.mark.parametrize("wait_s", [10.0, 11.0, 1e3, 1e9])
def test_a_long_silence_empties_a_time_window_in_one_step(wait_s: float) -> None:
    window = TimeWindow(10.0, 0.0)
    for second in range(10):
        window.add(second, fault=True, slow=True)
    window.add(9.5 + wait_s)
    assert counts(window) == (1, 0, 0, 0)


def test_an_outcome_from_before_the_latest_one_counts_as_the_latest() -> None:
    window = TimeWindow(10.0, 0.0)
    window.add(50.0)
    window.add(3.0, fault=True)
    window.add_slow(3.0)
    assert counts(window) == (2, 1, 1, 1)


@pytest.mark.parametrize("window", [TimeWindow(10, 0), CountWindow(3)])
def test_a_cleared_window_begins_anew(window: Window) -> None:
    for kind in ("both", "slow_only", "fault"):
        put(window, kind, 11.0)
    assert window.has_passed(12.0)
    window.clear(20.0)
    assert counts(window) == (0, 0, 0, 0)
    assert not window.has_passed(29.0)
    put(window, "fault", 29.5)
    assert counts(window) == (1, 1, 0, 0)
    assert not window.has_passed(29.5)


def test_a_whole_time_window_has_passed_when_its_length_has() -> None:
    window = TimeWindow(10.0, 100.0)
    assert not window.has_passed(109.9)
    assert window.has_passed(110.0)


def test_memory_does_not_grow_with_what_is_recorded() -> None:
    window, counting = TimeWindow(10.0, 0.0), CountWindow(100)
    for number in range(5_000):
        window.add(number / 10, fault=number % 3 == 0)
        counting.add(0.0)
    assert len(window._past) == BUCKETS - 1
    assert len(counting._outcomes) == 100
