"""After a breaker has closed, its target is not stormed: few calls at first, then more and more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from outages import Deployments, Ended, Playing, Said, Stack, a_question, a_stack, crowd, error_rate
from virtualtime import run

DOWN_S = 20.0
ANSWER_S = 5.0
RATE = 20.0


def down_until(moment_s: float, after_s: float = ANSWER_S, status: int = 500) -> Playing:
    def play(number: int, now_s: float) -> Said:
        return Said(0.01, status) if now_s < moment_s else Said(after_s)

    return play


class Watched:
    """How many calls were under way at `a` at most, in each second since its breaker closed."""

    def __init__(self) -> None:
        self.most: list[int] = []

    async def watch(self, stack: Stack, gate: str) -> None:
        name = {"endpoint": "a", "deployment": "a/m"}[gate]
        while not any(
            key[:4] == (gate, name, "half_open", "closed") for key in stack.guards.transitions
        ):
            await asyncio.sleep(0.05)
        while True:
            self.most.append(0)
            for _ in range(100):
                self.most[-1] = max(self.most[-1], stack.below.inside["a"])
                await asyncio.sleep(0.01)


def recovered(
    names: str, playing: Playing, gate: str = "deployment", seconds: float = 90, **more: Any
) -> tuple[list[int], list[Ended], Stack]:
    async def scene() -> tuple[list[int], list[Ended], Stack]:
        stack, watched = a_stack(Deployments(a=playing), names, **more), Watched()
        watching = asyncio.ensure_future(watched.watch(stack, gate))
        ended = await crowd(stack.ask, a_question(names), RATE, seconds)
        watching.cancel()
        return watched.most, ended, stack

    return run(scene())[0]


@pytest.mark.parametrize(("gate", "status"), [("deployment", 500), ("endpoint", 503)])
def test_after_a_recovery_calls_under_way_are_few_and_double_each_second(
    gate: str, status: int
) -> None:
    most, _, _ = recovered("a", down_until(DOWN_S, status=status), gate)
    # One place, one more for the last probe's answer, and twice as many each second: the seconds
    # here begin a little after its.
    assert all(most[second] <= 2 ** (second + 2) for second in range(6))
    assert most[3] >= 8, "it grows, before any answer has come"
    assert max(most) >= RATE * ANSWER_S, "until everybody is served"


def test_with_a_second_target_nobody_is_refused_or_waits_meanwhile() -> None:
    most, ended, _ = recovered("ab", down_until(DOWN_S, 0.5), seconds=60)
    later = [one for one in ended if one.began_s > DOWN_S]
    assert error_rate(later) == 0
    assert max(one.took_s for one in later) <= 0.52, "no queue, as another target has room"
    assert most[0] <= 4
    assert max(most) >= RATE * 0.5


def test_an_answer_that_says_too_much_ends_the_doubling() -> None:
    def play(number: int, now_s: float) -> Said:
        if now_s < DOWN_S:
            return Said(0.01, 500)
        return Said(0.01, 529) if stack_is_full() else Said(ANSWER_S)

    below: list[Deployments] = []

    def stack_is_full() -> bool:
        return below[0].inside["a"] > 8

    async def scene() -> int:
        deployments = Deployments(a=play)
        below.append(deployments)
        stack = a_stack(deployments, "a")
        await crowd(stack.ask, a_question("a"), RATE, 60)
        (lane,) = stack.lanes.items("a")
        return lane.concurrency.limit

    limit = run(scene())[0]
    assert limit < 20, "not the thousand of before"
