"""Second attempts at another deployment, in virtual time and below the real layers: when there is
one, which of the two is handed on, and what becomes of the other.

Names in brackets are those of Polly's HedgingResilienceStrategyTests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from outages import Deployments, Playing, Said, Stack, a_question, a_stack, saying
from virtualtime import run

from headgate.errors import BreakerOpen, StreamBroken, UpstreamFailed, UpstreamTimeout
from headgate.layers.settings import RetryConfig
from headgate.types import Controls, Reply

USUAL_S = 0.5
PLENTY = RetryConfig(hedge=True, hedge_budget=1.0)
Act = Callable[[Stack], Awaitable[None]]


def hedged(act: Act, *, retry: RetryConfig = PLENTY, **playing: Playing) -> None:
    """Runs `act` on a stack whose first deployment has answered twenty times after half a second;
    from then on they do what `playing` says."""

    async def scene() -> None:
        stack = a_stack(Deployments(), retry=retry)
        for _ in range(20):
            await settled(stack)
        stack.below.playing = playing
        stack.below.asked.clear()
        await act(stack)
        await asyncio.sleep(100)
        assert stack.guards.under_way == 0, "every permit has come back"
        assert not +stack.below.inside
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others

    run(scene())


async def settled(stack: Stack, **more: Any) -> tuple[Reply, float]:
    """A question asked to its end, and how long it took to its answer."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    reply = await stack.ask(a_question(**more))
    took_s = loop.time() - began_s
    async for _ in reply.body:
        pass
    await reply.body.aclose()
    return reply, took_s


# When.


def test_off_by_default_nobody_else_is_asked() -> None:
    async def act(stack: Stack) -> None:
        _, took_s = await settled(stack)
        assert (dict(stack.below.asked), took_s) == ({"a": 1}, 30)

    hedged(act, retry=RetryConfig(), a=saying(200, 30.0))


@pytest.mark.parametrize("streamed", [False, True])
def test_after_the_95th_percentile_another_deployment_is_asked(streamed: bool) -> None:
    # ExecutePrimary_Cancelled_SecondaryShouldBeExecuted, …EnsurePrimaryTaskCancelled_Ok
    async def act(stack: Stack) -> None:
        reply, took_s = await settled(stack, streamed=streamed)
        assert (reply.status, round(took_s, 6)) == (200, 2 * USUAL_S)
        assert reply.provenance.attempts == 2
        assert dict(stack.below.asked) == {"a": 1, "b": 1}
        assert dict(stack.guards.hedges) == {"won": 1}
        assert stack.guards.attempts["a", "m", "left"] == 1
        assert stack.below.closed["a"] == (1 if streamed else 0)
        assert stack.below.cancelled["a"] == (0 if streamed else 1)

    hedged(act, a=saying(200, 30.0))


def test_who_answers_in_time_is_asked_alone() -> None:
    async def act(stack: Stack) -> None:
        reply, took_s = await settled(stack)
        assert (dict(stack.below.asked), took_s < USUAL_S) == ({"a": 1}, True)
        assert reply.provenance.attempts <= 1

    hedged(act, a=saying(200, USUAL_S - 0.01))


def test_a_failure_in_time_is_no_reason_to_hedge_but_to_go_on() -> None:
    async def act(stack: Stack) -> None:
        reply, _ = await settled(stack)
        assert (reply.status, reply.provenance.attempts) == (200, 2)
        assert not stack.guards.hedges

    hedged(act, a=saying(500, 0.1))


def test_nothing_is_known_of_a_new_deployment_and_nobody_else_is_asked() -> None:
    # InfiniteHedgingDelay_EnsureNoConcurrentExecutions
    async def scene() -> None:
        stack = a_stack(Deployments(a=saying(200, 30.0)), retry=PLENTY)
        _, took_s = await settled(stack)
        assert (dict(stack.below.asked), took_s) == ({"a": 1}, 30)

    run(scene())


@pytest.mark.parametrize("names", ["a"])
def test_without_another_deployment_there_is_nothing_to_hedge_with(names: str) -> None:
    async def scene() -> None:
        stack = a_stack(Deployments(), names, retry=PLENTY)
        for _ in range(20):
            await stack.ask(a_question(names))
        stack.below.playing = {"a": saying(200, 30.0)}
        await stack.ask(a_question(names))
        assert stack.below.asked["a"] == 21

    run(scene())


def test_what_must_not_happen_twice_is_not_hedged() -> None:
    async def act(stack: Stack) -> None:
        await settled(stack, repeatable=False)
        assert dict(stack.below.asked) == {"a": 1}

    hedged(act, a=saying(200, 30.0))


def test_where_one_attempt_is_allowed_there_is_no_second() -> None:
    async def act(stack: Stack) -> None:
        await settled(stack)
        assert dict(stack.below.asked) == {"a": 1}

    hedged(act, retry=RetryConfig(hedge=True, hedge_budget=1.0, attempts=1), a=saying(200, 30.0))


def test_a_deployment_that_is_left_alone_is_not_hedged_with() -> None:
    async def act(stack: Stack) -> None:
        now_s = 1000 + asyncio.get_running_loop().time()
        stack.guards.deployments.get(("b", "m"), now_s).force("forced_open", now_s)
        await settled(stack)
        assert dict(stack.below.asked) == {"a": 1}

    hedged(act, a=saying(200, 30.0))


def test_after_the_first_content_there_is_no_second_attempt() -> None:
    """Content came in time; what follows may take as long as it likes."""

    async def act(stack: Stack) -> None:
        reply = await stack.ask(a_question(streamed=True))
        pieces = [await anext(aiter(reply.body))]
        await asyncio.sleep(30)
        pieces += [piece async for piece in reply.body]
        assert (b"Paris" in b"".join(pieces), dict(stack.below.asked)) == (True, {"a": 1})

    hedged(act, a=saying(200, 0.4))


# How many.


def test_second_attempts_are_two_of_a_hundred_calls() -> None:
    async def act(stack: Stack) -> None:
        for _ in range(500):
            await settled(stack)
        # The twenty before have saved up 0.4.
        assert stack.below.asked["b"] == 10

    hedged(act, retry=RetryConfig(hedge=True), a=saying(200, 2.0))


def test_without_a_budget_there_is_none() -> None:
    async def act(stack: Stack) -> None:
        for _ in range(100):
            await settled(stack)
        assert not stack.below.asked["b"]

    hedged(act, retry=RetryConfig(hedge=True, hedge_budget=0.0), a=saying(200, 2.0))


def test_the_destinations_budget_of_repeats_bounds_them_too() -> None:
    async def act(stack: Stack) -> None:
        await asyncio.gather(*(settled(stack) for _ in range(40)))
        assert stack.below.asked["b"] == 3

    hedged(
        act, retry=RetryConfig(hedge=True, hedge_budget=1.0, budget_floor=3), a=saying(200, 30.0)
    )


# Who wins, and what becomes of the other.


def test_the_first_may_still_be_sooner_and_the_second_is_let_go_of() -> None:
    # EnsureHedgedTasksCancelled_Ok
    async def act(stack: Stack) -> None:
        reply, took_s = await settled(stack)
        assert (reply.status, round(took_s, 6)) == (200, 0.6)
        assert dict(stack.guards.hedges) == {"lost": 1}
        assert (stack.below.cancelled["b"], stack.guards.attempts["b", "m", "left"]) == (1, 1)

    hedged(act, a=saying(200, 0.6))


@pytest.mark.parametrize("after_s", [0.6, 0.7])
def test_an_answer_that_nobody_wants_is_closed(after_s: float) -> None:
    """EnsureDiscardedResultDisposed: both have begun to answer, at the same moment or nearly."""

    async def act(stack: Stack) -> None:
        reply, _ = await settled(stack, streamed=True)
        assert reply.status == 200
        assert stack.below.closed == {"a": 1, "b": 1}

    hedged(act, a=saying(200, after_s), b=saying(200, 0.1))


def test_the_loser_moves_no_breaker() -> None:
    async def act(stack: Stack) -> None:
        for _ in range(50):
            await settled(stack)
        assert stack.told() == []
        assert stack.guards.attempts["a", "m", "left"] == stack.guards.hedges["won"] > 0

    hedged(act, a=saying(200, 30.0))


def test_a_second_that_fails_leaves_it_to_the_first() -> None:
    async def act(stack: Stack) -> None:
        reply, took_s = await settled(stack)
        assert (reply.status, took_s, reply.provenance.attempts) == (200, 3.0, 2)
        assert dict(stack.guards.hedges) == {"lost": 1}

    hedged(act, a=saying(200, 3.0), b=saying(500, 0.1))


def test_a_first_that_fails_leaves_it_to_the_second() -> None:
    async def act(stack: Stack) -> None:
        reply, took_s = await settled(stack)
        assert (reply.status, took_s, reply.provenance.attempts) == (200, 3.5, 2)

    hedged(act, a=saying(500, 1.0), b=saying(200, 3.0))


def test_two_failures_are_two_attempts_and_end_as_the_first_one() -> None:
    async def act(stack: Stack) -> None:
        reply, _ = await settled(stack)
        assert (reply.status, reply.provenance.attempts) == (503, 2)
        assert (b"x-should-retry", b"false") in reply.headers or reply.provenance.attempts < 3
        assert dict(stack.below.asked) == {"a": 1, "b": 1}

    hedged(act, a=saying(503, 2.0), b=saying(500, 0.1))


def test_two_errors_end_as_the_first_one() -> None:
    # ExceptionsHandled_ShouldThrowLastException: ours is the first, which was the one asked for.
    async def act(stack: Stack) -> None:
        with pytest.raises(UpstreamFailed, match="first"):
            await settled(stack)

    def breaking(text: str, after_s: float) -> Playing:
        return lambda number, now_s: Said(after_s, error=StreamBroken(text))

    hedged(act, a=breaking("the first", 2.0), b=breaking("the second", 0.1))


def test_after_two_failures_a_third_deployment_answers() -> None:
    async def scene() -> None:
        stack = a_stack(Deployments(), "abc", retry=PLENTY)
        for _ in range(20):
            await stack.ask(a_question("abc"))
        stack.below.playing = {"a": saying(500, 2.0), "b": saying(500, 0.1)}
        reply = await stack.ask(a_question("abc"))
        assert (reply.status, reply.provenance.attempts) == (200, 3)
        assert (stack.below.asked["b"], stack.below.asked["c"]) == (1, 1)

    run(scene())


def test_a_mistake_of_the_callers_own_is_told_at_once() -> None:
    async def act(stack: Stack) -> None:
        reply, took_s = await settled(stack)
        assert (reply.status, took_s) == (400, 1.0)
        assert stack.below.cancelled["b"] == 1

    hedged(act, a=saying(400, 1.0), b=saying(200, 30.0))


def test_a_second_that_is_refused_leaves_it_to_the_first() -> None:
    """Its breaker opens between the look and the asking."""

    async def act(stack: Stack) -> None:
        guards = stack.guards
        guards.wait_s = lambda call, target, now_s: 0.0  # type: ignore[method-assign]
        now_s = 1000 + asyncio.get_running_loop().time()
        guards.deployments.get(("b", "m"), now_s).force("forced_open", now_s)
        reply, took_s = await settled(stack)
        assert (reply.status, took_s, reply.provenance.attempts) == (200, 3.0, 0)
        assert dict(stack.below.asked) == {"a": 1}

    hedged(act, a=saying(200, 3.0))


def test_a_first_that_is_refused_is_a_refusal() -> None:
    async def scene() -> None:
        stack = a_stack(Deployments(), retry=PLENTY)
        for name in "ab":
            breaker = stack.guards.deployments.get((name, "m"), 1000.0)
            breaker.force("forced_open", 1000.0)
        with pytest.raises(BreakerOpen):
            await stack.ask(a_question())
        assert not stack.below.asked

    run(scene())


# A caller who leaves.


@pytest.mark.parametrize("after_s", [0.2, 0.6, 5.0])
def test_a_caller_who_leaves_takes_both_along(after_s: float) -> None:
    # ExecuteCore_CallerCancellation_EnsureExceptionCarriesCallerToken
    async def act(stack: Stack) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after_s):
                await settled(stack)
        asked = set(stack.below.asked)
        assert set(stack.below.cancelled) == asked == ({"a"} if after_s < USUAL_S else {"a", "b"})

    hedged(act, a=saying(200, 30.0), b=saying(200, 30.0))


def test_the_callers_deadline_bounds_both() -> None:
    async def act(stack: Stack) -> None:
        call = a_question(controls=Controls(deadline_s=0.9))
        with pytest.raises(UpstreamTimeout, match="within the deadline"):
            await stack.ask(call)
        assert stack.below.cancelled == {"a": 1, "b": 1}

    hedged(act, a=saying(200, 30.0))


def test_a_caller_who_leaves_while_the_loser_is_ended_leaves_no_answer_behind() -> None:
    class Stubborn(Deployments):
        """Takes a second to notice that nobody is waiting."""

        async def __call__(self, call: Any) -> Reply:
            try:
                return await super().__call__(call)
            except asyncio.CancelledError:
                await asyncio.sleep(1.0)
                raise

    async def scene() -> None:
        stack = a_stack(Stubborn(), retry=PLENTY)
        for _ in range(20):
            await settled(stack)
        stack.below.playing = {"a": saying(500, 30.0)}
        task = asyncio.ensure_future(stack.ask(a_question(streamed=True)))
        # The second has begun to answer after 1 s, and the first is being ended.
        await asyncio.sleep(1.5)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await asyncio.sleep(5)
        assert (stack.guards.under_way, stack.below.closed["b"]) == (0, 1)

    run(scene())
