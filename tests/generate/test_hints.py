"""Hints at the name that was probably meant."""

from __future__ import annotations

import pytest

from headgate.generate.hints import near


@pytest.mark.parametrize(
    ("name", "hint"), [("promt", "; did you mean 'prompt'?"), ("PROMPT", "; did you mean 'prompt'?"),
                       ("zzz", ""), ("", ""), ("x" * 1_000_000, "")]
)  # fmt: skip
def test_a_name_that_is_near_is_told(name: str, hint: str) -> None:
    assert near(name, ("app", "prompt")) == hint


def test_only_so_many_names_are_looked_at() -> None:
    assert near("name", [*(f"{number:09}" for number in range(500)), "name"]) == ""
