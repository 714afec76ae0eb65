"""The breaker's layer: leave is taken last, and given back however the attempt ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from guarding import Scene as Guarding
from tries import (
    DELTA,
    FINISH,
    ROLE,
    SSE,
    Body,
    LoopClock,
    Provider,
    a_call,
    content_of,
    good,
    run,
    status,
    unreachable,
)

from headgate.core.allowance import Allowance, AllowanceSettings
from headgate.errors import BreakerOpen, RateLimited, StreamBroken, UpstreamFailed
from headgate.events import looked_at
from headgate.layers.breaker import breaker
from headgate.stream import Value
from headgate.types import Call, Invocation, Reply, Route, Target


class Scene(Guarding):
    """The layer over a scripted provider, with the loop's time."""

    def __init__(self, *steps: Any, **changes: Any) -> None:
        super().__init__(**changes)
        self.loop_clock = LoopClock()
        self.guards.clock = self.loop_clock
        self.provider = Provider(*steps)
        self.ask = breaker(self.guards, self.loop_clock)(self.provider)

    @property
    def now_s(self) -> float:
        return self.loop_clock.monotonic()


def allowed(call: Call | None = None) -> Any:
    """A call with an allowance."""
    call = call or a_call()
    return a_call(*call.routes, allowance=Allowance(AllowanceSettings()), streamed=call.streamed)


def opened(*pieces: Any) -> Any:
    """A step whose stream has been read up to its first content."""

    async def reply() -> Reply:
        events = looked_at("chat", 200, Body(*pieces), 10_000)
        assert events is not None
        await events.open()
        return Reply(200, SSE, events)

    return reply


class Streaming(Provider):
    """Opens its streams, as the layer below does."""

    async def __call__(self, call: Call) -> Reply:
        made: Any = await super().__call__(call)
        return await made if asyncio.iscoroutine(made) else made


def test_a_refusal_asks_nobody_and_spends_nothing() -> None:
    async def act() -> None:
        scene = Scene(status(500))
        for _ in range(4):
            await scene.ask(allowed())
        call = allowed()
        with pytest.raises(BreakerOpen) as raised:
            await scene.ask(call)
        assert raised.value.retry_after_s == pytest.approx(8)
        assert (len(scene.provider.calls), call.allowance.attempts) == (4, 0)
        assert scene.guards.budget(call.target, scene.now_s).balance(scene.now_s) == 10.4

    run(act())


def test_an_attempt_is_spent_and_the_first_of_a_call_feeds_the_budget() -> None:
    async def act() -> None:
        scene, call = Scene(good()), allowed()
        for _ in range(3):
            await scene.ask(call)
        assert (call.allowance.attempts, call.allowance.attempts_left) == (3, 0)
        assert scene.guards.budget(call.target, scene.now_s).balance(scene.now_s) == 10.1

    run(act())


def test_a_throttled_key_is_refused_as_that() -> None:
    async def act() -> None:
        scene = Scene(status(429, retry_after="30"))
        assert (await scene.ask(a_call())).status == 429
        with pytest.raises(RateLimited) as raised:
            await scene.ask(a_call())
        assert raised.value.retry_after_s == pytest.approx(30)
        assert scene.states() == ("closed", "closed")

    run(act())


@pytest.mark.parametrize("kind", ["cancelled", "failed", "bug"])
def test_what_is_raised_gives_the_permit_back(kind: str) -> None:
    raised = {"cancelled": asyncio.CancelledError(), "failed": StreamBroken("cut"),
              "bug": ZeroDivisionError()}[kind]  # fmt: skip

    def step() -> Reply:
        raise raised

    async def act() -> None:
        scene = Scene(step)
        with pytest.raises(type(raised)):
            await scene.ask(a_call())
        counts = scene.deployment().counts
        faults = int(kind != "cancelled")
        assert (counts.faults, counts.ignored, counts.ok) == (faults, 1 - faults, 0)

    run(act())


def test_a_stream_holds_its_permit_until_it_ends() -> None:
    async def act() -> None:
        scene = Scene()
        scene.provider = Streaming(opened(ROLE, DELTA, 5.0, FINISH))
        reply = await breaker(scene.guards, scene.loop_clock)(scene.provider)(a_call())
        counts = scene.deployment().counts
        assert counts.ok + counts.faults + counts.ignored == 0
        with pytest.raises(UpstreamFailed):
            await content_of(reply)
        assert (counts.ok, counts.faults, counts.ignored) == (0, 1, 0)

    run(act())


def test_a_reply_that_nobody_reads_gives_the_permit_back_when_it_is_closed() -> None:
    async def act() -> None:
        scene = Scene()
        scene.provider = Streaming(opened(ROLE, DELTA, 5.0, FINISH))
        reply = await breaker(scene.guards, scene.loop_clock)(scene.provider)(a_call())
        await reply.body.aclose()
        await reply.body.aclose()
        counts = scene.deployment().counts
        assert (counts.ok, counts.faults, counts.ignored) == (0, 0, 1)

    run(act())


def test_a_streamed_probe_makes_way_at_its_first_content() -> None:
    async def act() -> None:
        scene = Scene(status(500))
        for _ in range(4):
            await scene.ask(a_call())
        await asyncio.sleep(8)
        scene.provider = Streaming(opened(ROLE, DELTA, 500.0))
        ask = breaker(scene.guards, scene.loop_clock)(scene.provider)
        replies = [await ask(a_call(streamed=True)) for _ in range(2)]
        assert scene.states() == ("closed", "closed")
        for reply in replies:
            await reply.body.aclose()

    run(act())


def test_a_thousand_tasks_at_the_half_open_moment_are_one_attempt() -> None:
    async def act() -> None:
        scene = Scene(status(500))
        for _ in range(4):
            await scene.ask(a_call())
        await asyncio.sleep(8)
        scene.provider = Provider(good(), takes_s=1.0)
        ask = breaker(scene.guards, scene.loop_clock)(scene.provider)
        replies = await asyncio.gather(
            *(ask(a_call()) for _ in range(1_000)), return_exceptions=True
        )
        assert len(scene.provider.calls) == 1
        assert sum(isinstance(reply, BreakerOpen) for reply in replies) == 999

    run(act())


def test_ten_thousand_calls_admitted_before_it_opened_have_no_say_afterwards() -> None:
    async def act() -> None:
        scene = Scene(status(500))
        scene.provider.takes_s = 9.0
        late = [asyncio.create_task(scene.ask(a_call())) for _ in range(10_000)]
        await asyncio.sleep(0)
        scene.provider.takes_s = 0.0
        for _ in range(4):
            await scene.ask(a_call())
        await asyncio.sleep(8.5)
        scene.provider.takes_s = 1.0
        scene.provider.steps = [good()]
        probe = asyncio.create_task(scene.ask(a_call()))
        await asyncio.sleep(0)
        assert scene.deployment().state == "half_open"
        scene.provider.steps = [status(500)]
        await asyncio.wait(late)
        assert scene.deployment().state == "half_open"
        assert scene.deployment().counts.late == 10_000
        scene.provider.steps = [good()]
        await probe

    run(act())


def test_switched_off_it_counts_attempts_and_refuses_nobody() -> None:
    async def act() -> None:
        scene = Scene(unreachable(), is_enabled=False)
        for _ in range(50):
            call = allowed(a_call(Route(Target("a", "m"))))
            with pytest.raises(UpstreamFailed):
                await scene.ask(call)
            assert call.allowance.attempts == 1
        assert scene.guards.attempts == {("a", "m", "unreachable"): 50}

    run(act())


def test_the_value_of_a_callable_that_nothing_guards_is_handed_on_as_it_is() -> None:
    async def ran() -> None: ...

    async def act() -> None:
        value = Value.of(1)
        scene = Scene(lambda: Reply(200, (), value))
        call = Call("function", "m", Invocation(ran, 1, False), b"", b"", Target("f", "m"))
        assert (await scene.ask(call)).body is value
        assert not scene.guards.attempts

    run(act())
