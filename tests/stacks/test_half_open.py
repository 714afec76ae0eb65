"""The moment when a breaker lets somebody through again, inside the stack and in virtual time: how
many get through, what their end means, and what must not move it.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from collections import Counter
from typing import Any

import pytest
from effort import FULL
from limiting import a_call
from msgspec.structs import replace
from outages import Deployments, Playing, Said, Stack, a_question, a_stack, saying
from virtualtime import run

from headgate.core.breaker import Breaker
from headgate.core.registry import SIZE_MAX
from headgate.errors import BreakerOpen, HeadgateError
from headgate.layers.settings import BreakerConfig, LimitsConfig, RetryConfig
from headgate.types import Controls, Reply, Route, Target

CALLERS = 1_000
LEASE_S = 605.0
ONCE = RetryConfig(attempts=1, deadline=10 * LEASE_S)
SOON_S = 5.0
"""What who is refused for a probe is told, where nobody knows how long that takes."""
LATE = 10_000
NAMES = 50_000 if FULL else 10_000


class Scene:
    """A stack with one deployment, which answers after half a second unless told otherwise."""

    def __init__(
        self, a: Playing | None = None, limits: LimitsConfig | None = None, **breaker: Any
    ) -> None:
        settings = BreakerConfig(**{"failure_threshold": 3} | breaker)
        self.stack = a_stack(
            Deployments(), "a", retry=ONCE, breaker=settings, limits=limits or LimitsConfig()
        )
        if a is not None:
            self.stack.below.playing["a"] = a

    @property
    def now_s(self) -> float:
        return 1000.0 + asyncio.get_running_loop().time()

    @property
    def breaker(self) -> Breaker:
        return self.stack.guards.deployments.get(("a", "m"), self.now_s)

    @property
    def asked(self) -> int:
        return self.stack.below.asked["a"]

    def ask(self, **more: Any) -> asyncio.Future[Reply]:
        return asyncio.ensure_future(self.stack.ask(a_question("a", **more)))

    async def open(self) -> None:
        """Three calls fail; then its time passes, and the deployment is as before."""
        usual = self.stack.below.playing.get("a", saying())
        self.stack.below.playing["a"] = saying(500, 0.1)
        await asyncio.gather(*(self.ask() for _ in range(3)))
        assert self.breaker.state == "open"
        self.stack.below.playing["a"] = usual
        await asyncio.sleep(self.breaker.retry_after_s(self.now_s) or 0)
        self.stack.below.asked.clear()

    async def answers(self) -> None:
        """Probes close it."""
        for _ in range(3):
            assert (await self.ask()).status == 200
        assert self.breaker.state == "closed"


def refusals(ends: list[Any]) -> list[BreakerOpen]:
    return [end for end in ends if isinstance(end, BreakerOpen)]


# Who gets through.


@pytest.mark.parametrize("at_once", [1, 2])
def test_of_a_thousand_callers_only_the_probes_get_through(at_once: int) -> None:
    async def act() -> None:
        scene = Scene(probes_at_once=at_once)
        await scene.open()
        ends = await asyncio.gather(*(scene.ask() for _ in range(CALLERS)), return_exceptions=True)
        assert scene.asked == at_once
        told = [error.retry_after_s for error in refusals(ends)]
        assert (len(told), max(told)) == (CALLERS - at_once, SOON_S)
        assert min(told) == max(told)
        assert all(error.should_retry is False for error in refusals(ends))
        assert scene.breaker.state == "half_open"
        assert scene.stack.guards.under_way == 0

    run(act())


def test_while_it_is_open_everybody_hears_exactly_when_to_come_again() -> None:
    async def act() -> None:
        scene = Scene()
        await scene.open()
        scene.breaker.force("open", scene.now_s)
        last_s = scene.now_s + (scene.breaker.retry_after_s(scene.now_s) or 0)
        while last_s - scene.now_s > 0.1:
            (error,) = await asyncio.gather(scene.ask(), return_exceptions=True)
            assert error.retry_after_s == pytest.approx(last_s - scene.now_s)
            await asyncio.sleep(0.1)
        assert scene.asked == 0
        # Who comes when told gets through.
        await asyncio.sleep(scene.breaker.retry_after_s(scene.now_s) or 0)
        assert (await scene.ask()).status == 200

    run(act())


# How a probe ends.


def test_a_probe_that_never_answers_is_lost_when_its_lease_ends() -> None:
    async def act() -> None:
        scene = Scene(lambda number, now_s: Said(1e6))
        await scene.open()
        probe = scene.ask()
        await asyncio.sleep(LEASE_S - 1)
        assert isinstance(
            (await asyncio.gather(scene.ask(), return_exceptions=True))[0], BreakerOpen
        )
        assert scene.breaker.state == "half_open"
        await asyncio.sleep(1.001)
        (error,) = await asyncio.gather(scene.ask(), return_exceptions=True)
        assert isinstance(error, BreakerOpen)
        assert (scene.breaker.state, scene.breaker.opens_in_row) == ("open", 2)
        assert scene.breaker.counts.probes_lost == 1
        probe.cancel()

    run(act())


def test_a_probe_whose_caller_leaves_neither_closes_nor_opens() -> None:
    async def act() -> None:
        scene = Scene()
        await scene.open()
        for _ in range(20):
            probe = scene.ask()
            await asyncio.sleep(0.2)
            probe.cancel()
            await asyncio.wait({probe})
            assert scene.breaker.state == "half_open"
        assert scene.breaker.opens_in_row == 1
        await scene.answers()

    run(act())


def test_a_probe_that_nobody_waits_for_any_more_comes_back_by_itself() -> None:
    async def act() -> None:
        scene = Scene()
        await scene.open()
        reply = await scene.stack.ask(a_question("a", streamed=True))
        del reply
        gc.collect()
        await asyncio.sleep(0)
        # Its first content was its vote, so the next may come.
        await asyncio.gather(scene.ask())
        await asyncio.gather(scene.ask())
        assert scene.breaker.state == "closed"

    run(act())


def test_a_bad_probe_opens_it_for_longer() -> None:
    async def act() -> None:
        scene = Scene(saying(500))
        await scene.open()
        await scene.ask()
        assert (scene.breaker.state, scene.breaker.opens_in_row) == ("open", 2)

    run(act())


# What must not move it.


def test_ten_thousand_late_failures_do_not_touch_the_probes() -> None:
    async def act() -> None:
        places = LimitsConfig(concurrency_max=2 * LATE)
        scene = Scene(saying(500, 100.0), limits=places)
        calls = [scene.ask() for _ in range(LATE)]
        await asyncio.sleep(1)
        assert scene.asked == LATE
        scene.breaker.force("open", scene.now_s)
        scene.stack.below.playing["a"] = saying()
        await asyncio.sleep(20)
        probe = scene.ask()
        await asyncio.wait({probe})
        assert scene.breaker.state == "half_open"
        await asyncio.gather(*calls)
        assert (scene.breaker.state, scene.breaker.counts.late) == ("half_open", LATE)
        assert scene.breaker.opens_in_row == 1

    run(act())


def test_a_flood_of_bad_requests_does_not_hide_an_outage() -> None:
    """Nineteen of twenty calls are somebody's mistake, the twentieth fails."""

    async def act() -> None:
        scene = Scene(
            lambda number, now_s: Said(0.01, 500 if number % 20 == 0 else 400), failure_threshold=0
        )
        ends: list[Any] = []
        while scene.breaker.state == "closed" and scene.asked < 1_000:
            ends += await asyncio.gather(scene.ask(), return_exceptions=True)
        assert scene.breaker.state == "open"
        assert Counter(end.status for end in ends) == {400: 361, 500: 20}

    run(act())


def test_a_flood_of_tiny_deadlines_opens_nothing() -> None:
    async def act() -> None:
        scene = Scene(failure_threshold=5)
        for _ in range(200):
            call = a_question("a", controls=Controls(deadline_s=0.001))
            with pytest.raises((TimeoutError, HeadgateError)):
                async with asyncio.timeout(0.001):
                    await scene.stack.ask(call)
        assert (scene.breaker.state, scene.breaker.counts.faults) == ("closed", 0)
        assert scene.asked == 200

    run(act())


@pytest.mark.parametrize("days", [-1, 1])
def test_a_wall_clock_that_is_set_changes_nothing(days: int) -> None:
    async def act() -> None:
        scene = Scene()
        await scene.open()
        scene.breaker.force("open", scene.now_s)
        before = scene.breaker.retry_after_s(scene.now_s)
        scene.stack.clock.wall_ahead_s = days * 86_400
        (error,) = await asyncio.gather(scene.ask(), return_exceptions=True)
        assert isinstance(error, BreakerOpen)
        assert error.retry_after_s == before
        assert scene.breaker.state == "open"

    run(act())


# Names that clients invent.


def test_tens_of_thousands_of_model_names_leave_bounded_registries_and_memory() -> None:
    async def act() -> None:
        stack = a_stack(Deployments(a=saying(200, 0.0)), "a")
        await invented(stack, 0, 6_000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await invented(stack, 6_000, NAMES)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        guards = stack.guards
        assert len(guards.deployments) <= SIZE_MAX
        assert len(guards.credentials) <= SIZE_MAX
        assert len(guards.endpoints) == 1
        assert grown < 30_000, f"memory grew by {grown} kB"

    run(act())


async def invented(stack: Stack, first: int, last: int) -> None:
    for number in range(first, last):
        target = Target("a", f"invented-{number}")
        call = replace(a_call(), target=target, routes=(Route(target),))
        assert (await stack.ask(call)).status == 200
