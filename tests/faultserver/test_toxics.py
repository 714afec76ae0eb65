"""The bounds of toxics: what cannot be meant is refused where it is written."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from headgate.testing import Bandwidth, CutAt, Garbage, Latency, Slicer, SlowClose, Stall, Toxic

WRONG: dict[str, Callable[[], Toxic]] = {
    "negative time": lambda: Latency(-0.1),
    "no number": lambda: Latency(math.nan),
    "negative jitter": lambda: Latency(0.1, jitter_s=-1),
    "negative place": lambda: CutAt(-1),
    "negative size": lambda: Slicer(-1),
    "unlikely": lambda: SlowClose(1, probability=1.1),
    "less than never": lambda: SlowClose(1, probability=-0.1),
    "no bandwidth": lambda: Bandwidth(0),
    "a clean end before the head": lambda: CutAt(None, by="clean"),
    "a clean end of a request": lambda: CutAt(5, by="clean", direction="up"),
    "a stall nowhere": lambda: Stall(),
    "a stall at two places": lambda: Stall(at_chunk=1, at_byte=1),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_toxic_that_cannot_be_meant_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be|has either|can end"):
        WRONG[name]()


def test_the_name_and_the_number_are_in_the_message() -> None:
    with pytest.raises(ValueError, match=r"Garbage\.at_byte must be at least 0, not -3"):
        Garbage(-3)


def test_a_toxic_always_acts_unless_told() -> None:
    assert CutAt(0).probability == 1.0
