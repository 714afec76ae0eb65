"""Where a call goes, where it goes next, and what comes out when nothing helps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tries import (
    Body,
    Provider,
    Scene,
    a_call,
    error,
    good,
    run,
    settled,
    status,
    stream,
    unreachable,
)

from headgate.config import Config, ProviderConfig
from headgate.core.outcome import OUTCOMES
from headgate.errors import (
    BreakerOpen,
    RateLimited,
    StreamBroken,
    UpstreamFailed,
    UpstreamTimeout,
)
from headgate.layers.settings import RetryConfig
from headgate.stream import Value
from headgate.types import (
    CONTENT,
    CONTEXT,
    FALLBACK,
    Call,
    Controls,
    Invocation,
    Reply,
    Route,
    Target,
)


def asked(scene: Scene) -> dict[str, int]:
    return {name: len(provider.calls) for name, provider in scene.providers.items()}  # type: ignore[attr-defined]


def gone_through(call: Call, **providers: Provider) -> tuple[Any, dict[str, int], Scene]:
    """What came out, how often each was asked, and the scene."""

    async def act() -> tuple[Any, dict[str, int], Scene]:
        scene = Scene(**providers)
        outcome = await settled(scene, call)
        return outcome, asked(scene), scene

    return run(act())[0]


# Where it goes next.


def test_a_good_first_answer_is_all_there_is() -> None:
    reply, counts, _ = gone_through(a_call("a", "b"), a=Provider(good()), b=Provider(good()))
    assert (reply.status, counts) == (200, {"a": 1, "b": 0})
    assert not reply.provenance.is_stand_in


def test_after_a_fault_the_next_target_is_asked_at_once() -> None:
    (reply, counts, _), took_s = run(_timed("a", "b"))
    assert (reply.status, counts, took_s) == (200, {"a": 1, "b": 1}, 0)
    assert reply.provenance.attempts == 2


async def _timed(*names: str) -> tuple[Any, dict[str, int], Scene]:
    scene = Scene(a=Provider(status(503)), b=Provider(good()))
    return await scene.ask(a_call(*names)), asked(scene), scene


def test_the_last_target_is_tried_again_in_place() -> None:
    reply, counts, _ = gone_through(
        a_call("a", "b"), a=Provider(status(500)), b=Provider(unreachable(), good())
    )
    assert (reply.status, counts) == (200, {"a": 1, "b": 2})


def test_three_attempts_are_all_however_many_targets_there_are() -> None:
    providers = {name: Provider(status(500)) for name in "abcde"}
    reply, counts, _ = gone_through(a_call(*"abcde"), **providers)
    assert (reply.status, counts) == (500, {"a": 1, "b": 1, "c": 1, "d": 0, "e": 0})
    assert (b"x-should-retry", b"false") in reply.headers
    assert reply.provenance.attempts == 3


def test_the_error_of_the_last_attempt_is_what_comes_out() -> None:
    outcome, _, _ = gone_through(
        a_call("a", "b", "c"),
        a=Provider(status(500)), b=Provider(status(503)), c=Provider(unreachable()),
    )  # fmt: skip
    assert isinstance(outcome, UpstreamFailed)
    assert (outcome.attempts, outcome.should_retry) == (3, False)


def test_each_target_gets_its_own_name_for_the_model() -> None:
    first, second = Route(Target("a", "gpt")), Route(Target("b", "gpt-eu"))
    a, b = Provider(status(500)), Provider(good())
    gone_through(a_call(first, second), a=a, b=b)
    assert a.requests[0].body == b'{"model":"gpt","messages":[]}'
    assert b.requests[0].body == b'{"model":"gpt-eu","messages":[]}'
    assert (a.calls[0].target, b.calls[0].target) == (first.target, second.target)


def test_another_key_of_the_same_target_is_used_where_one_is_refused() -> None:
    routes = [Route(Target("a", "m", f"key-{n}")) for n in (1, 2, 3)]
    provider = Provider(status(401), status(429), good())
    reply, counts, _ = gone_through(a_call(*routes), a=provider)
    assert (reply.status, counts) == (200, {"a": 3})
    assert [call.target.credential for call in provider.calls] == ["key-1", "key-2", "key-3"]


SPECIAL = [
    ("context_length_exceeded", {"a": 1, "b": 0, "c": 1, "d": 0}),
    ("content_filter", {"a": 1, "b": 0, "c": 0, "d": 1}),
    ("invalid_request_error", {"a": 1, "b": 0, "c": 0, "d": 0}),
]


@pytest.mark.parametrize(("code", "expected"), SPECIAL)
def test_long_contexts_and_refused_content_have_stand_ins_of_their_own(
    code: str, expected: dict[str, int]
) -> None:
    roles = {"b": FALLBACK, "c": CONTEXT, "d": CONTENT}
    routes = [Route(Target(name, "m"), role=role) for name, role in roles.items()]
    providers = {name: Provider(good()) for name in "bcd"}
    reply, counts, _ = gone_through(
        a_call("a", *routes), a=Provider(status(400, code)), **providers
    )
    assert counts == expected
    assert reply.provenance.is_stand_in == (reply.status == 200) == (sum(expected.values()) > 1)
    assert (b"x-should-retry", b"false") not in reply.headers


def test_what_has_effects_goes_nowhere_else_once_it_may_have_been_done() -> None:
    call = a_call("a", "b", repeatable=False)
    reply, counts, _ = gone_through(call, a=Provider(status(500)), b=Provider(good()))
    assert (reply.status, counts) == (500, {"a": 1, "b": 0})
    assert (b"x-should-retry", b"false") in reply.headers
    reply, counts, _ = gone_through(call, a=Provider(unreachable()), b=Provider(good()))
    assert (reply.status, counts) == (200, {"a": 1, "b": 1})


# Refusals.


async def opened(scene: Scene, *names: str) -> None:
    for name in names:
        scene.deployment(name).force("open", scene.clock.monotonic())


def test_a_target_that_is_known_to_fail_is_passed_over_and_costs_no_attempt() -> None:
    async def act() -> None:
        scene = Scene(a=Provider(good()), b=Provider(good()))
        await opened(scene, "a")
        for _ in range(50):
            reply = await scene.ask(a_call("a", "b"))
            assert (reply.status, reply.provenance.is_stand_in) == (200, False)
        assert asked(scene) == {"a": 0, "b": 50}
        assert scene.deployment("a").counts.refused == 0

    run(act())


def test_where_all_are_open_the_refusal_names_the_soonest() -> None:
    async def act() -> None:
        scene = Scene(a=Provider(good()), b=Provider(good()))
        await opened(scene, "a")
        await asyncio.sleep(2)
        await opened(scene, "b")
        with pytest.raises(BreakerOpen) as raised:
            await scene.ask(a_call("b", "a"))
        soonest_s = scene.deployment("a").retry_after_s(scene.clock.monotonic())
        assert raised.value.retry_after_s == pytest.approx(soonest_s)
        assert (raised.value.should_retry, raised.value.attempts) == (False, 0)
        await asyncio.sleep(soonest_s)
        assert (await scene.ask(a_call("b", "a"))).status == 200

    run(act())


def test_a_refusal_feeds_no_budget() -> None:
    async def act() -> None:
        scene = Scene(a=Provider(good()), b=Provider(good()))
        await opened(scene, "a", "b")
        for _ in range(1_000):
            await settled(scene, a_call("a", "b"))
        now_s = scene.clock.monotonic()
        assert scene.guards.budget(Target("a", "m"), now_s).balance(now_s) == 10

    run(act())


def test_one_who_was_refused_after_attempts_says_how_many_there_were() -> None:
    async def act() -> None:
        scene = Scene(a=Provider(status(429)))
        other = scene.guards.admit(a_call("a"), scene.clock.monotonic())
        first = asyncio.create_task(settled(scene, a_call("a")))
        await asyncio.sleep(0.1)
        # During the pause of the first call another one is told to stay away for longer.
        longer = replace(OUTCOMES["rate_limit"], retry_after_s=50.0)
        other.end(longer, scene.clock.monotonic())
        refusal = await first
        assert isinstance(refusal, RateLimited)
        assert refusal.attempts == 1

    run(act())


def test_a_closed_key_sends_calls_to_the_other_and_breakers_stay_closed() -> None:
    async def act() -> None:
        routes = [Route(Target("a", "m", "key-1")), Route(Target("a", "m", "key-2"))]
        provider = Provider(status(429, retry_after="600"), good())
        scene = Scene(a=provider)
        for _ in range(599):
            assert (await scene.ask(a_call(*routes))).status == 200
            await asyncio.sleep(1)
        keys = [call.target.credential for call in provider.calls]
        assert keys == ["key-1"] + ["key-2"] * 599
        assert (scene.endpoint("a").state, scene.deployment("a").state) == ("closed", "closed")
        assert scene.deployment("a").counts.faults == 0
        await asyncio.sleep(2)
        await scene.ask(a_call(*routes))
        assert provider.calls[-1].target.credential == "key-1"

    run(act())


def test_a_used_up_quota_is_not_asked_again_until_its_gate_opens() -> None:
    async def act() -> None:
        provider = Provider(status(429, "insufficient_quota"))
        scene = Scene(a=provider)
        reply = await scene.ask(a_call("a"))
        assert (reply.status, reply.provenance.attempts) == (429, 1)
        assert (b"x-should-retry", b"false") in reply.headers
        for _ in range(89):
            await asyncio.sleep(10)
            refusal = await settled(scene, a_call("a"))
            assert isinstance(refusal, RateLimited)
            assert refusal.retry_after_s is not None
            assert refusal.should_retry == (None if refusal.retry_after_s <= 60 else False)
        assert len(provider.calls) == 1
        await asyncio.sleep(10)
        await scene.ask(a_call("a"))
        assert len(provider.calls) == 2

    run(act())


def test_a_budget_that_is_empty_stops_what_would_fall_on_a_healthy_target() -> None:
    async def act() -> None:
        config = Config(
            providers={name: ProviderConfig(kind="fake") for name in "ab"},
            retry=RetryConfig(budget_floor=3),
        )
        scene = Scene(config, a=Provider(status(408)), b=Provider(good()))
        scene.deployment("a").force("disabled", scene.clock.monotonic())
        statuses = [(await scene.ask(a_call("a", "b"))).status for _ in range(10)]
        assert statuses == [200] * 3 + [408] * 7
        assert scene.guards.denials["budget"] == 7

    run(act())


def test_an_overall_deadline_ends_the_trying() -> None:
    async def act() -> None:
        scene = Scene(a=Provider(status(500), takes_s=6), b=Provider(good()))
        call = a_call("a", "b", controls=Controls(deadline_s=5.0))
        with pytest.raises(UpstreamTimeout) as raised:
            await scene.ask(call)
        assert asked(scene) == {"a": 1, "b": 0}
        assert raised.value.should_retry is None

    assert run(act())[1] == 5.0


@pytest.mark.parametrize("deadline_s", [5.0, 20.0])
def test_all_attempts_together_end_at_the_deadline_of_the_call(deadline_s: float) -> None:
    async def act() -> None:
        providers = {name: ProviderConfig(kind="fake") for name in "ab"}
        config = Config(providers=providers, retry=RetryConfig(deadline=deadline_s))
        slow = {name: Provider(status(500), takes_s=7.0) for name in "ab"}
        scene = Scene(config, **slow)
        with pytest.raises(UpstreamTimeout):
            await scene.ask(a_call("a", "b"))
        assert sum(asked(scene).values()) == (1 if deadline_s == 5 else 3)

    assert run(act())[1] == pytest.approx(deadline_s)


# What is let go of.


def test_a_failed_stream_is_closed_even_where_the_next_attempt_is_cancelled() -> None:
    event = b'data: {"error":{"message":"busy","type":"overloaded_error"}}\n\n'

    async def act() -> None:
        bodies: list[Body] = []
        scene = Scene(a=Provider(stream(event, bodies=bodies)), b=Provider(good(), takes_s=60))
        task = asyncio.create_task(scene.ask(a_call("a", "b")))
        await asyncio.sleep(1)
        assert scene.deployment("a").counts.faults == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bodies[0].closes == 1

    run(act())


def test_a_callable_passes_and_is_asked_once() -> None:
    async def ran() -> None: ...

    value = Value.of(1)
    provider = Provider(lambda: Reply(200, (), value))
    call = Call("function", "m", Invocation(ran, 1, False), b"", b"", Target("a", "m"))
    reply, counts, _ = gone_through(call, a=provider)
    assert (reply.body, counts) == (value, {"a": 1})
    raising = Provider(error(StreamBroken("x")))
    outcome, counts, _ = gone_through(call, a=raising)
    assert (type(outcome), counts) == (StreamBroken, {"a": 1})


# Many calls.


def test_an_outage_of_all_targets_meets_a_tenth_more_than_there_are_calls() -> None:
    async def act() -> None:
        scene = Scene(a=Provider(status(408)), b=Provider(status(408)))
        for name in "ab":
            scene.deployment(name).force("disabled", scene.clock.monotonic())
        tasks = []
        for _ in range(2_000):
            tasks.append(asyncio.create_task(scene.ask(a_call("a", "b"))))
            await asyncio.sleep(0.005)
        replies = await asyncio.gather(*tasks)
        counts = asked(scene)
        # Nothing but repeats arrives at b: it takes its floor of 10 in 10 s.
        assert 2_000 <= counts["a"] <= 2_221
        assert counts["b"] <= 31
        told = sum((b"x-should-retry", b"false") in reply.headers for reply in replies)
        assert told == 2_000

    run(act())


def test_weights_are_kept_over_many_calls_and_a_failing_share_goes_to_the_others() -> None:
    async def act() -> None:
        routes = [Route(Target("a", "m"), 3.0), Route(Target("b", "m"), 1.0)]
        scene = Scene(a=Provider(good()), b=Provider(good()))
        for _ in range(2_000):
            await scene.ask(a_call(*routes))
        counts = asked(scene)
        assert abs(counts["a"] / 2_000 - 0.75) < 0.04
        await opened(scene, "a")
        for _ in range(100):
            assert (await scene.ask(a_call(*routes))).status == 200
        assert asked(scene) == {"a": counts["a"], "b": counts["b"] + 100}

    run(act())
