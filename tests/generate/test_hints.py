"""Hints at the name that was probably meant."""

from __future__ import annotations

import pytest

from headgate.generate.hints import near


@pytest.mark.parametrize("name", ["promt", "PROMPT"])
def test_a_name_that_is_near_is_told(name: str) -> None:
    assert near(name, ("app", "prompt")) == "; did you mean 'prompt'?"


@pytest.mark.parametrize("name", ["zzz", "", "x" * 1_000_000])
def test_of_any_other_nothing_is_said(name: str) -> None:
    assert near(name, ("app", "prompt")) == ""


def test_only_so_many_names_are_looked_at() -> None:
    assert near("name", [*(f"{number:09}" for number in range(500)), "name"]) == ""
