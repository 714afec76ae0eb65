"""Which script a request gets."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.faultserver.playbook import Playbook, Script, checked_steps, checked_toxics
from headgate.testing import (
    Answer,
    Bandwidth,
    CutAt,
    HalfOpen,
    Latency,
    Pause,
    ResetPeer,
    Slicer,
    Stall,
    Timeout,
)


def book(*scripts: tuple[str, str, tuple[str, str] | None, int | None]) -> Playbook[str]:
    """A playbook of scripts of one step each: (step, model, header, times)."""
    written: Playbook[str] = Playbook()
    for step, model, header, times in scripts:
        written.add(Script((step,), model, header, times))
    return written


def test_scripts_are_used_in_order_as_often_as_they_say_and_then_no_more() -> None:
    scripts = book(("a", "", None, 2), ("b", "", None, 1))
    assert [scripts.take() for _ in range(4)] == [("a",), ("a",), ("b",), ()]


def test_a_script_for_a_model_leaves_other_models_alone() -> None:
    scripts = book(("a", "x", None, 1), ("b", "", None, 1))
    assert scripts.take("y") == ("b",)
    assert scripts.take("y") == ()
    assert scripts.take("x") == ("a",)


def test_a_script_for_a_header_is_for_that_value_of_it() -> None:
    scripts = book(("a", "", ("X-Team", "blue"), None))
    assert scripts.take("m", {"x-team": "blue"}) == ("a",)
    assert scripts.take("m", {"x-team": "red"}) == ()
    assert scripts.take("m", {}) == ()


def test_a_counted_script_goes_before_one_that_stands() -> None:
    scripts = book(("always", "", None, None), ("once", "", None, 1))
    assert [scripts.take() for _ in range(3)] == [("once",), ("always",), ("always",)]


def test_a_cleared_book_has_nothing_to_say() -> None:
    scripts = book(("a", "", None, None))
    scripts.clear()
    assert scripts.take() == ()


def test_what_is_no_step_is_refused() -> None:
    steps: Any = (Answer(), Latency(1), Pause(), CutAt(5))
    assert checked_steps(steps) == steps
    wrong: Any = "Paris"
    with pytest.raises(TypeError, match="no step of a script: 'Paris'"):
        checked_steps((wrong,))


@pytest.mark.parametrize(
    "toxic", [Latency(1, direction="up"), CutAt(5, direction="up"), Bandwidth(1, direction="up")]
)
def test_a_toxic_of_the_way_up_belongs_to_the_connection(toxic: Any) -> None:
    assert checked_toxics((toxic,)) == (toxic,)
    with pytest.raises(TypeError, match="use on_connect"):
        checked_steps((toxic,))


def test_a_toxic_within_an_answer_does_not_belong_to_the_connection() -> None:
    toxics: Any = (HalfOpen(), Timeout(), ResetPeer(), Slicer(), Latency(1))
    assert checked_toxics(toxics) == toxics
    for toxic in (CutAt(5), Stall(at_chunk=1)):
        with pytest.raises(TypeError, match="use script"):
            checked_toxics((toxic,))
