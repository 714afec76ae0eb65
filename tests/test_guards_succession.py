"""Guards after a change of the configuration: what they have learned, and of whom."""

from __future__ import annotations

from typing import Any

from guarding import BAD, GOOD, QUOTA, Scene, to

from headgate.core.allowance import AllowanceSettings
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.gate import GateSettings
from headgate.guards import Guards, GuardSettings

PLAIN = BreakerSettings(calls_min=4, open_base_s=8, open_jitter=0, probes_needed=2)


def succeeded(scene: Scene, changed: str = "", **more: Any) -> Scene:
    """The scene under the guards that follow its own."""
    given: dict[str, Any] = {"breaker": PLAIN, "allowance": AllowanceSettings()} | more
    settings = GuardSettings(gate=GateSettings(), own_keys=frozenset("ab"), **given)
    after = Scene()
    after.clock = scene.clock
    after.guards = Guards(settings, scene.clock, scene.guards, changed)
    return after


def failing(*providers: str) -> Scene:
    scene = Scene(own_keys=frozenset("ab"))
    for provider in providers:
        scene.call(*[BAD] * 4, call=to(provider))
        scene.call(QUOTA, call=to(provider, "other"))
    return scene


def test_what_was_learned_goes_on_but_for_a_provider_that_has_changed() -> None:
    after = succeeded(failing("a", "b"), "b")
    assert after.wait_s(to("a")) == 8
    assert after.wait_s(to("a", "other")) == 900, "a quota"
    assert after.wait_s(to("b")) == after.wait_s(to("b", "other")) == 0
    after.refused(to("a"))
    after.call(GOOD, call=to("b"))


def test_a_call_that_began_before_still_teaches_those_after() -> None:
    scene = Scene(own_keys=frozenset("ab"))
    begun = [scene.admit() for _ in range(4)]
    after = succeeded(scene)
    for passage in begun:
        passage.end(BAD, scene.now_s)
    after.refused()
    assert scene.guards.under_way == 0


def test_numbers_go_on() -> None:
    scene = failing("a")
    after = succeeded(scene, "a")
    after.call(BAD)
    assert after.guards.attempts["a", "m", "server_error"] == 5
    assert after.guards.transitions["deployment", "a/m", "closed", "open", "fault_ratio"] == 1


def test_other_numbers_for_breakers_keep_their_state_and_begin_their_counts_anew() -> None:
    scene = failing("a")
    scene.call(*[BAD] * 3, call=to("b"))
    other = BreakerSettings(calls_min=2, open_base_s=8, open_jitter=0, probes_needed=1)
    after = succeeded(scene, breaker=other)
    after.refused(to("a"))
    after.call(BAD, call=to("b"))
    assert after.deployment("b").state == "closed", "one of two, the three before count no more"
    after.call(BAD, call=to("b"))
    assert after.deployment("b").state == "open"
    scene.clock.advance(8)
    after.call(GOOD, call=to("a"))
    assert after.deployment("a").state == "closed", "one probe is enough now"


def test_a_longer_lease_alone_begins_nothing_anew() -> None:
    scene = Scene(own_keys=frozenset("ab"))
    scene.call(*[BAD] * 3)
    longer = BreakerSettings(
        calls_min=4, open_base_s=8, open_jitter=0, probes_needed=2, probe_lease_s=1205
    )
    after = succeeded(scene, breaker=longer)
    after.call(BAD)
    assert after.deployment().state == "open"
    assert after.deployment().settings.probe_lease_s == 1205


def test_of_two_reloads_before_any_call_the_later_ones_settings_hold() -> None:
    first, second = (
        BreakerSettings(calls_min=4, open_base_s=8, open_jitter=0, probes_needed=needed)
        for needed in (3, 4)
    )
    scene = failing("a")
    between = succeeded(scene, breaker=first)
    after = succeeded(between, breaker=second)
    after.refused(to("a"))
    between.refused(to("a"))
    assert after.deployment("a").settings.probes_needed == 4


def test_budgets_of_repeats_go_on_where_their_settings_are_the_same() -> None:
    scene = Scene(own_keys=frozenset("ab"))
    target = to("a").target
    spent = scene.guards.budget(target, scene.now_s)
    while spent.withdraw(scene.now_s):
        pass
    assert succeeded(scene).guards.budget(target, scene.now_s) is spent
    assert succeeded(scene, "a").guards.budget(target, scene.now_s) is not spent
    other = succeeded(scene, allowance=AllowanceSettings(budget_floor=5))
    assert other.guards.budget(target, scene.now_s).withdraw(scene.now_s)


def test_a_change_of_a_change_keeps_it_too() -> None:
    after = succeeded(succeeded(failing("a"), "b"), "b")
    after.refused(to("a"))
