"""What a refused caller is told."""

from __future__ import annotations

import math

import pytest
from breakers import PLAIN

from headgate.core.breaker import Breaker
from headgate.core.gate import AUTHENTICATION, THROTTLE
from headgate.errors import BreakerOpen, RateLimited
from headgate.guard_refusals import longest_s, refused


def test_the_wait_is_that_of_the_guard_that_takes_longest() -> None:
    closed, opened, held = (Breaker(PLAIN, 0.0) for _ in range(3))
    opened.force("open", 0.0)
    assert longest_s((("endpoint", closed), ("deployment", opened)), 1.0) == PLAIN.open_base_s - 1
    held.force("forced_open", 0.0)
    assert longest_s((("endpoint", held), ("deployment", opened)), 1.0) == math.inf


@pytest.mark.parametrize(
    ("gate", "reason", "kind", "says"),
    [
        ("endpoint", "open", BreakerOpen, "keeps failing"),
        ("credential", AUTHENTICATION, BreakerOpen, "refuses our credential"),
        ("credential", THROTTLE, RateLimited, "is throttled"),
        ("credential", "quota", RateLimited, "has used up its quota"),
    ],
)
def test_a_refusal_says_whose_it_is_and_for_how_long(
    gate: str, reason: str, kind: type, says: str
) -> None:
    error = refused("openai/gpt-4o", gate, reason, 2.5)
    assert type(error) is kind
    assert error.retry_after_s == 2.5
    assert says in error.message
    assert error.message.endswith("it is asked again in 2.5 s")
    for_ever = refused("openai/gpt-4o", gate, reason, math.inf)
    assert for_ever.retry_after_s is None
    assert "asked again" not in for_ever.message
