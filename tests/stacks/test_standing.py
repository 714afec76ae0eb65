"""A deployment that fails now and then, too seldom for its breaker, gets fewer calls: the budgets
of repeats of the others last, and users see nothing of it.
"""

from __future__ import annotations

import asyncio

import pytest
from outages import Deployments, Playing, Said, Stack, a_question, a_stack, crowd, error_rate
from virtualtime import run

from headgate.core.splitmix import uniform

ANSWER_S = 0.5


def failing(share: float, until_s: float = 1e9, status: int = 500) -> Playing:
    def play(number: int, now_s: float) -> Said:
        is_bad = now_s < until_s and uniform(7, number) < share
        return Said(ANSWER_S, status if is_bad else 200)

    return play


def served(
    a: Playing, per_s: float, seconds: float, names: str = "abc", weight: float = 1.0
) -> tuple[Stack, float]:
    """The stack after steady traffic, and the share of users that saw an error."""

    async def act() -> tuple[Stack, float]:
        stack = a_stack(Deployments(a=a), names)
        ended = await crowd(stack.ask, a_question(names, weight=weight), per_s, seconds)
        return stack, error_rate(ended)

    return run(act())[0]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
@pytest.mark.parametrize(("names", "weight"), [("abc", 1.0), ("ab", 1.0), ("ab", 0.0)])
def test_users_see_less_than_one_in_a_hundred_at_sixty_a_second(
    names: str, weight: float, share: float
) -> None:
    _, errors = served(failing(share), 60, 60, names, weight)
    assert errors < 0.01


def test_an_endpoint_that_fails_now_and_then_counts_too() -> None:
    stack, errors = served(failing(0.4, status=503), 60, 60)
    assert errors < 0.01
    assert stack.below.asked["a"] < stack.below.asked["b"] / 2


def test_one_that_does_not_fail_keeps_its_share_and_its_place() -> None:
    stack, _ = served(failing(0.0), 60, 30, "ab", 0.0)
    assert stack.below.asked["b"] == 0
    stack, _ = served(failing(0.0), 60, 30)
    assert min(stack.below.asked.values()) > 60 * 30 / 4


def test_a_recovery_is_noticed_within_the_window() -> None:
    async def act() -> list[int]:
        stack = a_stack(Deployments(a=failing(0.4, until_s=60)), "abc")
        asking = asyncio.ensure_future(crowd(stack.ask, a_question("abc", weight=1.0), 20, 150))
        shares = []
        for _ in range(5):
            before = stack.below.asked["a"]
            await asyncio.sleep(30)
            shares.append(stack.below.asked["a"] - before)
        await asking
        return shares

    failing_s, _, _, *after = run(act())[0]
    usual = 20 * 30 / 3
    assert failing_s < usual / 2
    assert min(after) > usual * 0.8, "30 s after its last fault it has its share again"


def test_where_all_fail_alike_nobody_is_preferred() -> None:
    async def act() -> Stack:
        stack = a_stack(Deployments(a=failing(0.2), b=failing(0.2)), "ab")
        await crowd(stack.ask, a_question("ab", weight=1.0), 30, 60)
        return stack

    asked = run(act())[0].below.asked
    assert 0.7 < asked["a"] / asked["b"] < 1.4
