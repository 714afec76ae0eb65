"""Everything at once, in virtual time: outages of every kind, retries, hedging, queues, joined
calls, deadlines, callers who leave. Whatever the dice bring, everything comes back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from outages import Deployments, Playing, Said, Stack, a_question, a_stack
from virtualtime import run

from headgate.errors import HeadgateError, UpstreamGarbled, UpstreamUnreachable
from headgate.joining.flight import FlightLimits
from headgate.layers.coalesce import coalesce
from headgate.layers.settings import BreakerConfig, LimitsConfig, RetryConfig
from headgate.stream import within
from headgate.types import Call, Controls, Reply, Service

OUTAGE_S = 60.0
AFTER_S = 700.0
"""Longer than any lease, and any answer that nobody waits for."""
DEADLINES_S = (None, None, 0.001, 0.05, 1.0, 20.0)
FAILURES = {
    "500": Said(0.01, 500),
    "429": Said(0.05, 429),
    "529": Said(0.05, 529),
    "unreachable": Said(0.01, error=UpstreamUnreachable("no")),
    "garbled": Said(0.01, error=UpstreamGarbled("no")),
    "slow": Said(30.0),
    "hangs": Said(10_000.0),
}


def troubled(dice: random.Random) -> Playing:
    """A deployment that fails in its way and so often, for a part of the time."""
    failure, share = FAILURES[dice.choice([*FAILURES])], dice.choice([0.3, 1.0])
    begin_s, end_s = sorted(dice.uniform(0, OUTAGE_S) for _ in range(2))

    def play(number: int, now_s: float) -> Said:
        fails = begin_s < now_s < end_s and dice.random() < share
        return failure if fails else Said(dice.expovariate(2))

    return play


def settings(dice: random.Random) -> dict[str, Any]:
    one_of = dice.choice
    return {
        "retry": RetryConfig(
            attempts=one_of([1, 3, 6]), hedge=one_of([True, False]),
            hedge_budget=one_of([0.02, 1.0]), deadline=one_of([3.0, 600.0]),
        ),
        "breaker": BreakerConfig(
            calls_min=one_of([1, 20]), failure_threshold=one_of([0, 1, 5]),
            recovery_timeout=one_of([0.5, 5.0]), probes_at_once=one_of([1, 3]),
        ),
        "limits": LimitsConfig(
            concurrency_max=one_of([1, 3, 1000]), queue_max=one_of([0, 5, 1000]),
            queue_wait=one_of([0.1, 1.0, 30.0]),
        ),
    }  # fmt: skip


def questions(dice: random.Random, names: str) -> Iterator[Call]:
    """Some alike, some not, some in a hurry, some that must not be repeated."""
    for number in range(dice.randint(50, 300)):
        call = a_question(
            names,
            weight=dice.choice([0.0, 1.0]),
            streamed=dice.random() < 0.5,
            repeatable=dice.random() < 0.9,
            controls=Controls(deadline_s=dice.choice(DEADLINES_S)),
        )
        alike = dice.random() < 0.7
        yield replace(call, key=b"%d" % dice.randint(0, 5) if alike else b"own %d" % number)


async def asked(ask: Service, call: Call, leaves_at: float) -> None:
    """One caller, who is answered or told no in time, and reads until it has enough of it."""
    loop, deadline_s = asyncio.get_running_loop(), call.controls.deadline_s
    began_s = loop.time()
    try:
        reply: Reply = await (within(deadline_s, ask(call)) if deadline_s else ask(call))
    except HeadgateError:
        assert deadline_s is None or loop.time() <= began_s + deadline_s + 0.001
        return
    try:
        async for _ in reply.body:
            if leaves_at > 0.9:
                return
    except HeadgateError:
        pass
    finally:
        await reply.body.aclose()


def all_is_back(stack: Stack, names: str) -> None:
    assert stack.guards.under_way == 0
    assert not +stack.below.inside, "nobody is asked any more"
    for name in names:
        for lane in stack.lanes.items(name):
            assert (lane.concurrency.in_flight, lane.waiting) == (0, 0)
    for breakers in (stack.guards.endpoints, stack.guards.deployments):
        assert [breaker.probes_in_flight for _, breaker in breakers.items()] == [0] * len(breakers)
    others = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
    assert not others, others


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_mixed_everybody_is_told_and_everything_comes_back(seed: int) -> None:
    async def act() -> None:
        dice = random.Random(seed)
        names = "abc"[: dice.randint(1, 3)]
        below = Deployments(**{name: troubled(dice) for name in names})
        stack = a_stack(below, names, seed=seed, **settings(dice))
        joined = coalesce(FlightLimits(finish_within_s=dice.choice([0.0, 5.0])))(stack.ask)
        ask = joined if dice.random() < 0.6 else stack.ask
        callers = []
        for call in questions(dice, names):
            await asyncio.sleep(dice.expovariate(5))
            caller = asyncio.ensure_future(asked(ask, call, dice.random()))
            if dice.random() < 0.15:
                asyncio.get_running_loop().call_later(dice.expovariate(2), caller.cancel)
            callers.append(caller)
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert [one for one in ended if isinstance(one, Exception)] == []
        await asyncio.sleep(AFTER_S)
        all_is_back(stack, names)

    run(act())
