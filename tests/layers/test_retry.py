"""Trying the same target again: when, how late, how often, and what is never tried twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tries import LoopClock, Provider, Step, a_call, error, good, run, status, unreachable

from headgate.clock import Clock
from headgate.core.allowance import Allowance, AllowanceSettings
from headgate.core.backoff import BackoffSettings
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.gate import GateSettings
from headgate.errors import BreakerOpen, UpstreamFailed, UpstreamGarbled, UpstreamTimeout
from headgate.guards import Guards, GuardSettings
from headgate.layers.breaker import breaker
from headgate.layers.retry import retry
from headgate.types import Call, Reply


class Chance:
    """The loop's clock with dice that always show the same."""

    def __init__(self, clock: Clock, chance: float) -> None:
        self._clock = clock
        self._chance = chance
        self.monotonic, self.epoch, self.wall = clock.monotonic, clock.epoch, clock.wall

    def random(self) -> float:
        return self._chance


class Scene:
    """Retry above the breaker above a scripted provider."""

    def __init__(self, *steps: Step, chance: float = 1.0, **changes: Any) -> None:
        self.provider = Provider(*steps)
        self.allowance = AllowanceSettings(**changes)
        self.clock = Chance(LoopClock(), chance)
        settings = GuardSettings(BreakerSettings(), GateSettings(), self.allowance)
        self.guards = Guards(settings, self.clock)
        asked = breaker(self.guards, self.clock)(self.provider)
        self.service = retry(BackoffSettings(), self.guards, self.clock)(asked)

    async def ask(self, call: Call | None = None, *, deadline_s: float = math.inf) -> Reply:
        call = call or self.a_call(deadline_s=deadline_s)
        return await self.service(call)

    def a_call(self, *, deadline_s: float = math.inf, **changes: Any) -> Call:
        repeatable = changes.get("repeatable", True)
        until_s = self.clock.monotonic() + deadline_s
        allowance = Allowance(self.allowance, until_s, is_repeatable=repeatable)
        return a_call(allowance=allowance, **changes)


def asked_at(*steps: Step, deadline_s: float = math.inf, **changes: Any) -> tuple[list[float], str]:
    """When the provider was asked, and why it was not asked again ("": it answered)."""

    async def act() -> tuple[list[float], str]:
        scene = Scene(*steps, **changes)
        call = scene.a_call(deadline_s=deadline_s)
        with contextlib.suppress(UpstreamFailed):
            await scene.ask(call)
        return scene.provider.times_s, call.allowance.denied

    return run(act())[0]


# How late.


def test_the_pause_doubles_and_is_random_up_to_that() -> None:
    full = asked_at(status(500), attempts_max=8)[0]
    pauses = [later - earlier for earlier, later in itertools.pairwise(full)]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 8, 8])
    assert asked_at(status(500), attempts_max=8, chance=0.0)[0] == [0.0] * 8
    assert asked_at(status(500), chance=0.5)[0] == pytest.approx([0.0, 0.25, 0.75])


@settings(max_examples=60)
@given(
    st.sampled_from([429, 500, 503, 529, 408]),
    st.floats(0, 60, allow_nan=False).map(lambda wait: round(wait, 3)),
    st.floats(0, 1, exclude_max=True),
)
def test_it_is_never_earlier_than_the_provider_asked_for(
    number: int, wait_s: float, chance: float
) -> None:
    times_s, denied = asked_at(
        status(number, retry_after=str(wait_s)), good(), chance=chance, deadline_s=600
    )
    assert (len(times_s), denied) == (2, "")
    assert wait_s <= times_s[1] <= wait_s + 1.1


@pytest.mark.parametrize("wait", ["nan", "inf", "-5", "soon", "", "1e999", "0x10"])
def test_a_wait_that_is_no_number_says_nothing(wait: str) -> None:
    assert asked_at(status(500, retry_after=wait), good())[0] == pytest.approx([0.0, 0.5])


def test_a_date_to_wait_for_is_waited_for() -> None:
    step = status(503, retry_after="Thu, 01 Jan 2026 00:00:20 GMT")
    assert asked_at(step, good(), chance=0.0)[0] == pytest.approx([0.0, 20.0], abs=0.01)


def test_nobody_is_kept_waiting_for_more_than_a_minute() -> None:
    assert asked_at(status(503, retry_after="61")) == ([0.0], "retry_after")
    assert asked_at(status(429, retry_after="61")) == ([0.0], "retry_after")
    assert len(asked_at(status(503, retry_after="60"), good())[0]) == 2


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    assert asked_at(status(429, retry_after="20"), deadline_s=10) == ([0.0], "deadline")
    assert asked_at(status(500), deadline_s=0.4) == ([0.0], "deadline")
    assert asked_at(status(429, retry_after="9"), good(), deadline_s=10)[1] == ""


def test_a_throttle_that_names_no_time_is_waited_for_until_the_gate_opens() -> None:
    times_s, denied = asked_at(status(429), good(), chance=0.0)
    assert denied == ""
    assert 0.5 <= times_s[1] <= 1


def test_a_gate_that_another_call_closed_for_long_keeps_nobody_waiting() -> None:
    async def act() -> tuple[int, str]:
        scene = Scene(status(429), status(429, retry_after="300"))
        scene.provider.takes_s = 1.0
        calls = [scene.a_call() for _ in range(2)]
        replies = await asyncio.gather(*(scene.ask(call) for call in calls))
        assert [reply.status for reply in replies] == [429, 429]
        return len(scene.provider.calls), calls[1].allowance.denied

    (asked, denied), took_s = run(act())
    assert (asked, denied) == (2, "retry_after")
    assert took_s < 10


# How often.

AGAIN = {
    "408": (status(408), 3), "409": (status(409), 3), "425": (status(425), 3),
    "429": (status(429), 3), "500": (status(500), 3), "502": (status(502), 3),
    "503": (status(503), 3), "504": (status(504), 3), "520": (status(520), 3),
    "529": (status(529), 3),
    "unreachable": (unreachable(), 3),
    "timeout": (error(UpstreamTimeout("slow", stage="total")), 3),
    "reset": (error(UpstreamFailed("reset")), 3),
    "garbled": (error(UpstreamGarbled("html")), 2),
    "redirect": (status(302), 2),
    "400": (status(400), 1), "401": (status(401), 1), "402": (status(402), 1),
    "403": (status(403), 1), "404": (status(404), 1), "405": (status(405), 1),
    "413": (status(413), 1), "422": (status(422), 1),
    "quota": (status(429, "insufficient_quota"), 1),
    "context": (status(400, "context_length_exceeded"), 1),
    "filter": (status(400, "content_filter"), 1),
    "said no": (status(500, x_should_retry="false"), 1),
}  # fmt: skip


@pytest.mark.parametrize("way", AGAIN)
def test_the_outcome_says_how_often(way: str) -> None:
    step, most = AGAIN[way]
    assert len(asked_at(step)[0]) == most


def test_the_first_success_is_the_answer() -> None:
    async def act() -> None:
        scene = Scene(status(500), good())
        call = scene.a_call()
        assert (await scene.ask(call)).status == 200
        assert (call.allowance.attempts, call.allowance.denied) == (2, "")
        assert scene.guards.retries == {"server_error": 1}
        assert scene.guards.denials == {}

    run(act())


def test_a_last_failure_is_handed_up_as_it_came() -> None:
    async def act() -> None:
        scene = Scene(status(500), status(503))
        assert (await scene.ask()).status == 503
        gone = UpstreamFailed("gone")
        with pytest.raises(UpstreamFailed) as raised:
            await Scene(error(gone)).ask()
        assert raised.value is gone
        assert scene.guards.denials == {"attempts": 1}

    run(act())


def test_a_failure_that_is_not_denied_but_final_is_not_counted_as_denied() -> None:
    async def act() -> None:
        scene = Scene(status(400))
        await scene.ask()
        assert scene.guards.denials == {}

    run(act())


def test_a_call_that_has_elsewhere_to_go_is_tried_once() -> None:
    async def act() -> None:
        scene = Scene(status(500))
        call = scene.a_call(sole=False)
        assert (await scene.ask(call)).status == 500
        assert (len(scene.provider.calls), call.allowance.denied) == (1, "")
        await scene.ask(a_call())  # without an allowance
        assert len(scene.provider.calls) == 2

    run(act())


def test_what_must_not_happen_twice_is_repeated_only_where_nothing_was_done() -> None:
    async def act(step: Step) -> tuple[int, str]:
        scene = Scene(step)
        call = scene.a_call(repeatable=False)
        with contextlib.suppress(UpstreamFailed):
            await scene.ask(call)
        return len(scene.provider.calls), call.allowance.denied

    for step in (status(500), error(UpstreamTimeout("slow", stage="total"))):
        assert run(act(step))[0] == (1, "unsafe")
    for step in (status(429), status(503), unreachable()):
        assert run(act(step))[0] == (3, "attempts")


# The budget, and the breaker.


def test_the_budget_of_a_destination_bounds_what_an_outage_is_answered_with() -> None:
    async def act() -> None:
        # Ten seconds, a thousand calls a second, everything fails, and no breaker helps.
        scene = Scene(status(400 + 8), budget_floor=10)
        for gate in (scene.guards.endpoints.get("a", 0.0),
                     scene.guards.deployments.get(("a", "m"), 0.0)):  # fmt: skip
            gate.force("disabled", 0.0)
        tasks = []
        for _ in range(10_000):
            tasks.append(asyncio.create_task(scene.ask()))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        asked = len(scene.provider.calls)
        assert 10_000 < asked <= 10_000 * 1.1 + 2 * 10 + 1
        assert scene.guards.denials["budget"] > 8_000

    run(act())


def test_when_the_breaker_has_opened_nobody_waits_for_it() -> None:
    async def act() -> None:
        scene = Scene(unreachable())
        call = scene.a_call()
        for _ in range(2):
            with pytest.raises(UpstreamFailed):
                await scene.ask(call)
            call = scene.a_call()
        assert len(scene.provider.calls) == 5
        with pytest.raises(BreakerOpen):
            await scene.ask(call)
        assert scene.guards.denials["failing"] == 1

    run(act())


def test_a_breaker_that_a_person_opened_during_the_attempt_ends_the_trying() -> None:
    async def act() -> None:
        scene = Scene(status(500))

        def step() -> Reply:
            scene.guards.deployments.get(("a", "m"), 0.0).force("forced_open", 0.0)
            return status(500)()

        scene.provider.steps = [step]
        call = scene.a_call(deadline_s=600)
        assert (await scene.ask(call)).status == 500
        assert call.allowance.denied == "failing"

    run(act())


def test_who_cancels_during_the_pause_leaves_nothing_behind() -> None:
    async def act() -> None:
        scene = Scene(status(500, retry_after="50"))
        task = asyncio.create_task(scene.ask())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        counts = scene.guards.deployments.get(("a", "m"), 0.0).counts
        assert (counts.faults, counts.ignored, counts.ok) == (1, 0, 0)

    run(act())
