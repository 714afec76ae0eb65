"""Three gates before a target: who is charged, who is refused; permits always come back."""

from __future__ import annotations

from typing import Any

import pytest
from guarding import ALICE, BAD, BOB, GOOD, QUOTA, SLOW_BAD, THROTTLED, WRONG_KEY, Scene, to
from tries import a_call

from headgate.core.outcome import FAULT, OUTCOMES, Outcome
from headgate.core.registry import SIZE_MAX
from headgate.errors import BreakerOpen, RateLimited, Refused
from headgate.guard_numbers import left_alone
from headgate.types import Call, Headers, Invocation, Target


@pytest.fixture
def scene() -> Scene:
    return Scene()


# Which gate is charged.


def test_a_fault_of_a_model_leaves_the_other_models_of_its_provider_alone(scene: Scene) -> None:
    scene.call(*[BAD] * 4)
    assert scene.states() == ("closed", "open")
    assert isinstance(scene.refused(), BreakerOpen)
    scene.call(GOOD, call=to("a", "other"))


def test_a_fault_of_the_endpoint_stops_all_its_models(scene: Scene) -> None:
    scene.call(*[OUTCOMES["unavailable"]] * 4)
    assert scene.states() == ("open", "closed")
    assert isinstance(scene.refused(to("a", "other")), BreakerOpen)
    scene.call(GOOD, call=to("b"))


@pytest.mark.parametrize("reason", ["rate_limit", "quota", "authentication", "permission"])
def test_what_a_key_is_told_closes_its_gate_and_moves_no_breaker(scene: Scene, reason: str) -> None:
    for _ in range(50):
        scene.admit(to("a", key="key-1")).end(OUTCOMES[reason], scene.now_s)
        assert scene.wait_s(to("a", key="key-1")) > 0
        scene.refused(to("a", key="key-1"))
        scene.clock.advance(86_400)
    assert scene.states() == ("closed", "closed")
    scene.call(GOOD, call=to("a", key="key-2"))


def test_the_gate_of_a_client_stays_closed_however_many_others_come(scene: Scene) -> None:
    scene.call(THROTTLED, call=a_call("b", credential=ALICE))
    for number in range(300):
        other = ((b"authorization", b"Bearer %d" % number),)
        scene.call(GOOD, call=a_call("b", credential=other))
    scene.refused(a_call("b", credential=ALICE))
    scene.call(GOOD, call=a_call("b", credential=BOB))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("rate_limit", RateLimited), ("quota", RateLimited), ("authentication", BreakerOpen)],
)
def test_a_closed_gate_says_why_and_until_when(
    scene: Scene, reason: str, kind: type[Refused]
) -> None:
    scene.call(Outcome("ignored", reason, retry_after_s=120.0))
    refusal = scene.refused()
    assert type(refusal) is kind
    assert refusal.retry_after_s == pytest.approx(120)
    scene.clock.advance(119.9)
    scene.refused()
    scene.clock.advance(0.1)
    scene.call(GOOD)


def test_ten_minutes_of_429_for_one_key_while_another_serves_everything(scene: Scene) -> None:
    one, two = to("a", key="key-1"), to("a", key="key-2")
    scene.call(Outcome("ignored", "rate_limit", retry_after_s=600.0), call=one)
    for _ in range(599):
        assert isinstance(scene.refused(one), RateLimited)
        scene.call(GOOD, call=two)
        assert scene.states() == ("closed", "closed")
        scene.clock.advance(1)
    scene.clock.advance(1)
    scene.call(GOOD, call=one)


# Credentials that clients bring along.


def test_clients_never_close_each_others_gates(scene: Scene) -> None:
    alice, bob = to("b", credential=ALICE), to("b", credential=BOB)
    scene.call(THROTTLED, call=alice)
    assert isinstance(scene.refused(alice), RateLimited)
    scene.call(GOOD, call=bob)
    scene.call(QUOTA, call=bob)
    assert scene.wait_s(bob) > 800
    scene.clock.advance(60)
    scene.call(GOOD, call=alice)


def test_a_client_with_a_wrong_key_may_send_the_right_one_at_once(scene: Scene) -> None:
    alice = to("b", credential=ALICE)
    scene.call(*[WRONG_KEY] * 50, call=alice)
    scene.call(GOOD, call=alice)


def test_two_clients_of_a_provider_with_a_key_share_its_gate(scene: Scene) -> None:
    scene.call(THROTTLED, call=to("a", credential=ALICE))
    scene.refused(to("a", credential=BOB))


def test_a_call_that_brings_its_way_along_has_its_own_gate_everywhere(scene: Scene) -> None:
    async def send(_: Any) -> Any: ...

    def sent(credential: Headers) -> Call:
        call = to("a", credential=credential)
        request: Any = call.request
        return a_call(call.routes[0], request=type(request)("/", b"{}", (), credential, send=send))

    scene.call(THROTTLED, call=sent(ALICE))
    scene.refused(sent(ALICE))
    scene.call(GOOD, call=sent(BOB))


def test_no_credential_stands_in_a_registry_or_a_message(scene: Scene) -> None:
    alice = to("b", credential=ALICE)
    scene.call(THROTTLED, call=alice)
    assert "alice" not in repr(list(scene.guards.credentials.items())) + str(scene.refused(alice))


# Bounds.


def test_invented_names_take_bounded_room_and_close_nobodys_gate() -> None:
    scene = Scene()
    throttled = Outcome("ignored", "rate_limit", retry_after_s=3_600.0)
    for number in range(2 * SIZE_MAX):
        call = to("b", f"invented-{number}", credential=ALICE)
        passage = scene.guards.admit(call, scene.now_s)
        assert passage is not None
        passage.end(throttled, scene.now_s)
        scene.guards.budget(call.target, scene.now_s)
    guards = scene.guards
    assert len(guards.credentials) == SIZE_MAX
    assert len(guards.deployments) <= SIZE_MAX
    assert len(guards.endpoints) == 1
    bob = to("b", "real", credential=BOB)
    assert scene.wait_s(bob) == 0
    scene.call(GOOD, call=bob)


# Looking, callables, switched off.


def test_looking_changes_no_state(scene: Scene) -> None:
    scene.call(*[BAD] * 4)
    scene.clock.advance(8)
    for _ in range(5):
        assert scene.wait_s() == 0
        assert not scene.guards.is_failing(a_call(), scene.now_s)
    assert scene.deployment().state == "open"


def test_failing_is_what_breakers_refuse_not_what_keys_are_told(scene: Scene) -> None:
    scene.call(THROTTLED)
    assert not scene.guards.is_failing(a_call(), scene.now_s)
    scene.call(*[BAD] * 4, call=to("a", key="key-2"))
    assert scene.guards.is_failing(a_call(), scene.now_s)


def test_one_that_a_person_opened_says_no_time(scene: Scene) -> None:
    scene.deployment().force("forced_open", scene.now_s)
    assert scene.refused().retry_after_s is None
    assert scene.wait_s() == float("inf")
    assert scene.guards.is_failing(a_call(), scene.now_s)


def an_invocation(model: str = "m") -> Call:
    async def run() -> None: ...

    call = to("function", model)
    return Call("function", model, Invocation(run, 1, False), b"", b"", call.target)


def test_callables_are_guarded_by_model_where_that_is_wanted() -> None:
    assert Scene().guards.admit(an_invocation(), 0.0) is None
    scene = Scene(guards_callables=True)
    scene.call(*[Outcome(FAULT, "ValueError", gate="deployment")] * 4, call=an_invocation())
    assert isinstance(scene.refused(an_invocation()), BreakerOpen)
    scene.call(GOOD, call=an_invocation("other"))
    assert not list(scene.guards.endpoints.items())


def test_switched_off_nothing_is_guarded() -> None:
    scene = Scene(is_enabled=False)
    scene.call(*[BAD, THROTTLED] * 50)
    assert not len(scene.guards.deployments)
    assert scene.guards.attempts == {("a", "m", "server_error"): 50, ("a", "m", "rate_limit"): 50}
    scene.deployment().force("forced_open", scene.now_s)
    assert scene.wait_s() == 0
    assert not scene.guards.is_failing(a_call(), scene.now_s)


def test_a_jump_of_the_wall_clock_changes_no_state(scene: Scene) -> None:
    scene.call(*[BAD] * 4)
    scene.call(THROTTLED, call=to("b", credential=ALICE))
    before = scene.wait_s(), scene.wait_s(to("b", credential=ALICE))
    for days in (1, -2):
        scene.clock.jump_wall(days * 86_400)
        assert (scene.wait_s(), scene.wait_s(to("b", credential=ALICE))) == before


def test_a_budget_belongs_to_a_deployment_whatever_the_key(scene: Scene) -> None:
    budget = scene.guards.budget
    assert budget(Target("a", "m", "key-1"), 0.0) is budget(Target("a", "m", "key-2"), 0.0)
    assert budget(Target("a", "m"), 0.0) is not budget(Target("a", "n"), 0.0)


def test_a_slow_first_token_counts_as_slow_and_as_a_fault(scene: Scene) -> None:
    scene.call(SLOW_BAD)
    counts = scene.deployment().counts
    assert (counts.faults, counts.slow) == (1, 1)


def test_a_provider_is_told_to_be_left_alone_for_as_long_as_it_is() -> None:
    scene = Scene()
    scene.call(*[OUTCOMES["unavailable"]] * 4)
    assert left_alone(scene.guards) == "not asked at the moment: a"
    scene.clock.advance(8)
    assert left_alone(scene.guards) == ""


# Who hears of a recovery.


def opened_and_probed(scene: Scene, bad: Outcome) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []
    scene.guards.recovered = lambda provider, model: heard.append((provider, model))
    scene.call(*[bad] * 4)
    scene.clock.advance(8)
    scene.call(GOOD)
    assert heard == [], "one probe is not enough"
    scene.call(GOOD)
    return heard


@pytest.mark.parametrize(("reason", "model"), [("server_error", "m"), ("unavailable", "")])
def test_a_breaker_that_closes_says_whose_it_is(scene: Scene, reason: str, model: str) -> None:
    assert opened_and_probed(scene, OUTCOMES[reason]) == [("a", model)]


def test_a_stream_whose_first_content_closes_the_breaker_is_heard_of_at_once(scene: Scene) -> None:
    heard: list[tuple[str, str]] = []
    scene.guards.recovered = lambda provider, model: heard.append((provider, model))
    scene.call(*[BAD] * 4)
    scene.clock.advance(8)
    streams = []
    for _ in range(2):
        streams.append(scene.admit())
        streams[-1].answer(scene.now_s)
    assert heard == [("a", "m")]
    for stream in streams:
        stream.end(GOOD, scene.now_s)
    assert heard == [("a", "m")]


def test_one_that_a_person_closes_is_heard_of_too(scene: Scene) -> None:
    heard: list[tuple[str, str]] = []
    scene.guards.recovered = lambda provider, model: heard.append((provider, model))
    scene.call(GOOD)
    for state in ("closed", "forced_open", "closed", "open", "reset"):
        scene.guards.force("deployment", "a/m", state, scene.now_s)
    assert heard == [("a", "m")] * 2


def test_the_worse_of_endpoint_and_model_says_how_a_target_stands(scene: Scene) -> None:
    def stands(provider: str, model: str = "m") -> bool:
        return scene.guards.standing(Target(provider, model), scene.now_s) == 1.0

    scene.call(*[GOOD] * 8, BAD, BAD)
    assert [stands("a"), stands("a", "other"), stands("b")] == [False, True, True]
    scene.call(*[GOOD] * 8, *[OUTCOMES["unavailable"]] * 2, call=to("b"))
    assert [stands("b"), stands("b", "other")] == [False, False]
