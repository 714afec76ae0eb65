"""Row 37: every provider answers 500 while traffic goes on. What arrives there is a tenth more than
there are calls and the floor of the budget, never three times three; and when the provider is back,
that is found by a few probes and stays found.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from lab import Lab, fields_for
from oracle import until
from outages import Deployments, Ended, Said, Stack, a_question, a_stack, crowd, saying
from rawclient import CHAT, MESSAGES
from several import QUICK, several
from virtualtime import run

from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.testing import Exchange, Status

THREADS, PER_S = 8, 40
STORM_S, CALM_S = 5.0, 3.0
FLOOR, BUDGET_S = 10, 10
OFF = BreakerConfig(enabled=False)
BRISK = BreakerConfig(window=10.0, calls_min=5, recovery_timeout=0.3, open_max=1.0)
HEADER = (b"x-should-retry", b"false")


def allowed(calls: float, deployments: int, seconds: float) -> float:
    """What may arrive upstream: a tenth more, and the floor of each deployment in every window of
    the budget that the storm touches."""
    return 1.1 * calls + deployments * FLOOR * (seconds // BUDGET_S + 1)


# With official SDKs, each with its own retries, at their usual number.


class Crowd:
    """Official clients in threads that ask at a steady rate, each question once."""

    def __init__(self, lab: Lab) -> None:
        self.ended: list[tuple[float, int]] = []
        """When each call ended (monotonic seconds), and with which status."""
        self._numbers = itertools.count()
        self._openai = lab.openai(max_retries=2)
        self._anthropic = lab.anthropic(max_retries=2)

    def ask_for(self, seconds: float) -> float:
        """Asks with `PER_S` calls a second in all; how long the last answer took to come."""
        began_s = time.monotonic()
        until_s = began_s + seconds
        threads = [
            threading.Thread(target=self._ask_until, args=(until_s,)) for _ in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - began_s

    def _ask_until(self, until_s: float) -> None:
        next_s = time.monotonic()
        while next_s < until_s:
            time.sleep(max(0.0, next_s - time.monotonic()))
            status = self._ask(next(self._numbers))
            self.ended.append((time.monotonic(), status))
            next_s += THREADS / PER_S

    def _ask(self, number: int) -> int:
        path = MESSAGES if number % 2 else CHAT
        fields: Any = fields_for(path, number)
        try:
            if path == CHAT:
                self._openai.chat.completions.create(**fields)
            else:
                self._anthropic.messages.create(**fields)
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            return error.status_code
        return 200


def storm_of(
    open_lab: Callable[..., Lab], breaker: BreakerConfig, retry: RetryConfig = QUICK
) -> Lab:
    lab = open_lab(lambda server: several(server, 1, retry=retry, blocks={"breaker": breaker}))
    lab.server.script(Status(500), times=None)
    return lab


def upstream(calls: list[Exchange]) -> Counter[str]:
    return Counter(call.operation for call in calls)


def test_sdks_meet_a_storm_without_breakers(open_lab: Callable[..., Lab]) -> None:
    lab = storm_of(open_lab, OFF)
    crowd = Crowd(lab)
    took_s = crowd.ask_for(STORM_S)
    asked = len(crowd.ended)
    assert {status for _, status in crowd.ended} == {500}
    assert len(lab.heard) == asked, "no SDK has tried again by itself"
    # One deployment for each dialect.
    assert asked < len(lab.server.calls) <= allowed(asked, 2, took_s)
    lab.server.clear()
    crowd.ask_for(0.5)
    assert {status for _, status in crowd.ended[asked:]} == {200}


def test_sdks_meet_a_storm_and_its_end_is_found_and_stays_found(
    open_lab: Callable[..., Lab],
) -> None:
    lab = storm_of(open_lab, BRISK)
    crowd = Crowd(lab)
    crowd.ask_for(STORM_S)
    asked, arrived = len(crowd.ended), upstream(lab.server.calls)
    assert {status for _, status in crowd.ended} == {500, 503}
    assert len(lab.heard) == asked, "no SDK has tried again by itself"
    opened = openings(lab)
    # What opens the breakers and what is under way then, the repeats, a probe for each opening.
    assert max(arrived.values()) <= BRISK.calls_min + THREADS + FLOOR + opened
    lab.server.clear()
    # How long that takes at most is shown below, in virtual time.
    until(lambda: crowd.ask_for(0.2) and set(states(lab)) == {"closed"}, "its end is found")
    found, opened = len(crowd.ended), openings(lab)
    crowd.ask_for(CALM_S)
    assert {status for _, status in crowd.ended[found:]} == {200}
    assert openings(lab) == opened, "it does not open again"
    assert len(lab.heard) == len(crowd.ended)


def states(lab: Lab) -> list[str]:
    rows = lab.gate.stats()["breakers"]["deployments"]
    return [row["state"] for row in rows.values()]


def openings(lab: Lab) -> int:
    rows = lab.gate.stats()["breakers"]["transitions"]
    return sum(row["count"] for row in rows if row["to"] == "open")


# A minute of it, in virtual time.


def stormed(names: str, per_s: int, **blocks: Any) -> tuple[Stack, list[Ended]]:
    """A minute of 500 from all, with so many calls a second."""

    async def act() -> tuple[Stack, list[Ended]]:
        below = Deployments(**dict.fromkeys(names, saying(500, 0.05)))
        stack = a_stack(below, names, **blocks)
        ended = await crowd(stack.ask, a_question(names), per_s, 60)
        return stack, ended

    return run(act())[0]


@pytest.mark.parametrize(("names", "per_s"), [("a", 200), ("abc", 50)])
def test_without_breakers_a_storm_is_a_tenth_stronger_and_no_more(names: str, per_s: int) -> None:
    stack, ended = stormed(names, per_s, breaker=OFF)
    assert (len(ended), {one.status for one in ended}) == (per_s * 60, {500})
    assert {HEADER in one.headers for one in ended} == {True}, "no SDK would try again"
    first, *others = (stack.below.asked[name] for name in names)
    # To the others nothing comes but repeats: they take their floor in each ten seconds.
    assert [FLOOR * 5 < count <= FLOOR * 7 for count in others] == [True] * len(others)
    assert sum(stack.below.asked.values()) <= allowed(len(ended), len(names), 60)
    if not others:
        assert first > 1.1 * len(ended), "the budget is there to be used"


def test_with_breakers_a_storm_does_not_arrive() -> None:
    stack, ended = stormed("abc", 50)
    # Until 20 calls have failed, what was under way then, and one probe after 5 s, 10 s, 20 s ...
    assert all(count <= 60 for count in stack.below.asked.values()), stack.below.asked
    refused = [one.error for one in ended if one.error is not None]
    assert len(refused) > 2_800
    assert all(e.should_retry is False and e.retry_after_s is not None for e in refused)


def test_after_the_storm_everybody_is_answered_within_open_time_and_a_window() -> None:
    def playing(number: int, now_s: float) -> Said:
        return Said(0.05, 500 if now_s < 60 else 200)

    async def act() -> None:
        stack = a_stack(Deployments(a=playing), "a", breaker=BreakerConfig(open_max=20.0))
        ended = await crowd(stack.ask, a_question("a"), 20, 60 + 20 + 30 + 60)
        last_s = max(one.began_s for one in ended if one.status != 200)
        assert last_s - 60 <= 20 + 0.2, "the open time, and three probes one after the other"
        told = stack.told()
        assert "deployment a/m half_open>closed x1" in told, told
        assert [line for line in told if "closed>open" in line] == ["deployment a/m closed>open x1"]

    run(act())
