"""Readings that may fall, and totals that may not."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.tally import (
    BREAKER_STATE,
    BY_HAND,
    CLOSED,
    HALF_OPEN,
    OPEN,
    OTHER,
    SHARED_STORE,
    SINCE,
    Growth,
    Name,
    add,
    combined,
    folded,
    grouped,
    model_of,
)


def as_it_is(name: Name) -> Name:
    return name


def test_only_what_has_grown_is_pending() -> None:
    growth = Growth()
    growth.take({("a",): [1, 2], ("b",): [5]}, as_it_is)
    growth.settle()
    growth.take({("a",): [1, 4], ("b",): [5]}, as_it_is)
    assert growth.pending == {("a",): [0, 2]}
    assert growth.totals == {("a",): [1, 4], ("b",): [5]}


def test_a_number_that_has_fallen_began_at_0_again() -> None:
    growth = Growth()
    growth.take({("a",): [10, 10]}, as_it_is)
    growth.take({}, as_it_is)
    growth.take({("a",): [3, 12]}, as_it_is)
    assert growth.totals == {("a",): [13, 12]}


def test_what_was_made_anew_begins_at_0_even_where_it_has_counted_more_already() -> None:
    growth = Growth()
    growth.take({("a",): [3], ("b",): [3]}, as_it_is)
    growth.forget([("a",)])
    growth.take({("a",): [5], ("b",): [5]}, as_it_is)
    assert growth.totals == {("a",): [8], ("b",): [5]}


@given(st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), max_size=30))
def test_totals_never_fall(readings: list[list[int]]) -> None:
    growth, seen = Growth(), [[0, 0]]
    for reading in readings:
        growth.take({("a",): reading}, as_it_is)
        seen.append(list(growth.totals.get(("a",), [0, 0])))
    for before, after in itertools.pairwise(seen):
        assert all(new >= old for old, new in zip(before, after, strict=True))


@given(st.lists(st.integers(0, 50), max_size=30))
def test_what_was_pending_adds_up_to_the_totals(grown: list[int]) -> None:
    growth, handed_on, reading = Growth(), {}, 0
    for number in grown:
        reading += number
        growth.take({("a",): [reading]}, as_it_is)
        for name, counts in growth.pending.items():
            add(handed_on, name, counts)
        growth.settle()
    assert handed_on.get(("a",), [0]) == growth.totals.get(("a",), [0])


def test_what_was_counted_under_another_name_stays_there() -> None:
    growth = Growth()
    growth.take({("a", "new"): [2]}, lambda name: ("a", "other"))
    growth.take({("a", "new"): [5]}, as_it_is)
    assert growth.totals == {("a", "other"): [2], ("a", "new"): [3]}


@pytest.mark.parametrize(
    ("states", "shown"),
    [((CLOSED, OPEN), OPEN), ((HALF_OPEN, OPEN), OPEN), ((BY_HAND, HALF_OPEN), BY_HAND),
     ((HALF_OPEN, CLOSED), HALF_OPEN), ((CLOSED, CLOSED), CLOSED)],
)  # fmt: skip
def test_of_breakers_the_state_is_shown_that_most_needs_to_be_seen(
    states: tuple[int, ...], shown: int
) -> None:
    name = (BREAKER_STATE, "endpoint", "a", "")
    assert combined([{name: state} for state in states]) == {name: shown}


def test_levels_are_added_up_but_not_moments_and_not_what_is_shared() -> None:
    one = {("in_flight", "a"): 2.0, (SINCE,): 50.0, (f"{SHARED_STORE}_bytes", "sqlite"): 7.0}
    other = {("in_flight", "a"): 3.0, (SINCE,): 40.0, (f"{SHARED_STORE}_bytes", "sqlite"): 7.0}
    assert combined([one, other]) == {
        ("in_flight", "a"): 5.0, (SINCE,): 40.0, (f"{SHARED_STORE}_bytes", "sqlite"): 7.0,
    }  # fmt: skip


def test_names_are_grouped_by_family() -> None:
    families = grouped({("a", "x"): 1, ("b",): 2, ("a", "y"): 3})
    assert dict(families) == {"a": [(("x",), 1), (("y",), 3)], "b": [((), 2)]}


@pytest.mark.parametrize(
    ("name", "model", "other"),
    [
        (("model", "m"), "m", ("model", OTHER)),
        (("error", "m", "m"), "m", ("error", OTHER, "m")),
        (("attempt", "p", "a/m", "ok", "ok"), "a/m", ("attempt", "p", OTHER, "ok", "ok")),
        (("breaker_open", "deployment", "p", "m"), "m", ("breaker_open", "deployment", "p", OTHER)),
        (("transition", "deployment", "p/a/m", "closed", "open", "x"), "a/m",
         ("transition", "deployment", "p/other", "closed", "open", "x")),
    ],
)  # fmt: skip
def test_the_model_of_a_name_can_be_replaced(name: Name, model: str, other: Name) -> None:
    assert (model_of(name), folded(name)) == (model, other)
    assert model_of(other) == OTHER


ABOUT_NONE: list[Name] = [
    ("retry", "m"),
    ("store", "memory"),
    ("overflow", "model"),
    ("transition", "endpoint", "p", "open", "closed", "x"),
]


@pytest.mark.parametrize("name", ABOUT_NONE)
def test_a_name_may_be_about_no_model(name: Name) -> None:
    assert model_of(name) == ""
