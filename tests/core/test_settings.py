"""Blocks that refuse what is outside their bounds, and say what would be right."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from headgate.core.settings import Checked
from headgate.core.units import Bounds, Seconds
from headgate.errors import ConfigError, Problem


@dataclass(frozen=True)
class Block(Checked):
    calls: Annotated[int, Bounds(1)] = 5
    share: Annotated[float, Bounds(0, 1, above=True)] = 0.5
    wait_s: Annotated[Seconds, Bounds(0, above=True)] = 2.0
    slow_s: Annotated[Seconds | None, Bounds(0, above=True)] = None
    row: Annotated[int | None, Bounds(1)] = None
    name: str = ""
    marked: Annotated[str, "a mark that is no range"] = ""

    def contradictions(self) -> Iterator[Problem]:
        if self.calls > 10 * self.wait_s:
            yield Problem("calls", "too many")


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Block(**settings)
    return str(caught.value)


def test_numbers_inside_their_bounds_are_taken_as_they_are() -> None:
    block = Block(calls=1, share=1.0, wait_s=1, slow_s=0.1, row=3, name="any")
    assert (block.calls, block.share, block.wait_s, block.row) == (1, 1.0, 1, 3)
    assert Block() == Block(slow_s=None, row=None)


@pytest.mark.parametrize("calls", [0, -1, 2.5, math.nan, math.inf, True, "5", None])
def test_a_count_outside_its_bounds_is_named_with_its_range(calls: Any) -> None:
    assert refusal(calls=calls) == f"calls: must be a whole number, at least 1, got {calls!r}"


@pytest.mark.parametrize("share", [0, -0.5, 1.0001, math.nan, math.inf, -math.inf, False, "0.5"])
def test_a_share_outside_its_bounds_is_named_with_its_range(share: Any) -> None:
    assert refusal(share=share) == f"share: must be more than 0 and at most 1, got {share!r}"


@pytest.mark.parametrize("key", ["wait_s", "slow_s"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_duration_is_positive_and_finite(key: str, value: float) -> None:
    assert refusal(**{key: value}) == f"{key}: must be more than 0, got {value!r}"


def test_a_count_that_may_be_absent_is_checked_where_it_is_there() -> None:
    assert refusal(row=0) == "row: must be a whole number, at least 1, got 0"


def test_every_problem_is_reported_at_once() -> None:
    assert refusal(calls=0, share=2, row=-1).splitlines() == [
        "calls: must be a whole number, at least 1, got 0",
        "share: must be more than 0 and at most 1, got 2",
        "row: must be a whole number, at least 1, got -1",
    ]


def test_settings_that_contradict_one_another_are_refused() -> None:
    assert refusal(calls=21) == "calls: too many"
    assert refusal(calls=21, share=0) == "share: must be more than 0 and at most 1, got 0"
