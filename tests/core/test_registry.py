"""One breaker for each name, and never more than so many, whatever names come in."""

from __future__ import annotations

import gc
import itertools
import threading

from breakers import BAD, GOOD, PLAIN

from headgate.core.breaker import Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.permits import Permit, Refusal
from headgate.core.registry import SIZE_MAX, Registry

NOW_S = 1000.0


def breakers(size_max: int = SIZE_MAX) -> Registry[str, Breaker]:
    return Registry(lambda _, now_s: Breaker(PLAIN, now_s), Breaker.is_idle, size_max)


def alive() -> int:
    """Breakers that exist in this process."""
    gc.collect()
    return sum(isinstance(thing, Breaker) for thing in gc.get_objects())


def call(breaker: Breaker, outcome: object, times: int = 1) -> None:
    for _ in range(times):
        permit = breaker.admit(NOW_S)
        assert isinstance(permit, Permit)
        breaker.record(permit, outcome, NOW_S)


def test_a_name_has_one_breaker_and_another_name_another() -> None:
    registry = breakers()
    assert registry.get("a", NOW_S) is registry.get("a", NOW_S)
    assert registry.get("a", NOW_S) is not registry.get("b", NOW_S)
    assert [name for name, _ in registry.items()] == ["a", "b"]


def test_the_least_recently_used_idle_one_goes() -> None:
    registry = breakers(2)
    kept = registry.get("a", NOW_S)
    registry.get("b", NOW_S)
    registry.get("a", NOW_S)
    registry.get("c", NOW_S)
    assert [name for name, _ in registry.items()] == ["a", "c"]
    assert registry.get("a", NOW_S) is kept
    assert (registry.evictions, registry.overflows) == (1, 0)


def test_one_that_is_in_use_does_not_go() -> None:
    registry = breakers(2)
    for name, outcome in (("used", GOOD), ("open", BAD)):
        call(registry.get(name, NOW_S), outcome, 4)
    shared = registry.get("c", NOW_S)
    assert registry.get("d", NOW_S) is shared is registry.shared
    assert (registry.evictions, registry.overflows) == (0, 2)
    assert isinstance(registry.get("open", NOW_S).admit(NOW_S), Refusal)
    # Ten seconds later the window of the one is empty; the other stays open until it is asked.
    registry.get("c", NOW_S + 10)
    assert {name for name, _ in registry.items()} == {"open", "c"}


def test_fifty_thousand_names_leave_the_registry_as_small_as_it_was() -> None:
    before = alive()
    registry = breakers()
    call(registry.get("open", NOW_S), BAD, 4)
    for number in range(50_000):
        call(registry.get(f"name {number}", NOW_S + number * 0.0003), GOOD)
        assert len(registry) <= SIZE_MAX
    assert registry.evictions > 0
    assert registry.overflows > 0
    assert alive() - before <= SIZE_MAX + 1
    # A flood of names does not make it forget what is broken: not before a window has passed in
    # which nobody asked.
    assert isinstance(registry.get("open", NOW_S).admit(NOW_S), Refusal)


def test_names_that_are_all_in_use_share_one_breaker() -> None:
    registry: Registry[str, Breaker] = Registry(
        lambda _, now_s: Breaker(BreakerSettings(), now_s), lambda *_: False, size_max=100
    )
    found = {id(registry.get(f"name {number}", NOW_S)) for number in range(5_000)}
    assert (len(found), len(registry), registry.overflows) == (101, 100, 4_900)


def test_looking_for_one_to_forget_does_not_look_at_all_of_them() -> None:
    asked = []

    def is_idle(value: int, _: float) -> bool:
        asked.append(value)
        return value == 999

    registry: Registry[int, int] = Registry(lambda key, _: key or 0, is_idle, size_max=1_000)
    for number in range(1_000):
        registry.get(number, NOW_S)
    registry.get(5_000, NOW_S)
    assert len(asked) == 16
    for number in range(6_000, 6_062):
        registry.get(number, NOW_S)
    assert 999 in asked  # the search goes on where it ended
    assert registry.evictions == 1


def test_another_registry_takes_over_the_values_of_some_names() -> None:
    before, after = breakers(), breakers()
    known = {name: before.get(name, NOW_S) for name in "abc"}
    assert after.adopt(before, lambda name: name != "b") == [known["a"], known["c"]]
    assert [name for name, _ in after.items()] == ["a", "c"]
    assert after.get("c", NOW_S) is known["c"]
    assert after.get("b", NOW_S) is not known["b"]
    assert before.get("b", NOW_S) is known["b"]


def test_nothing_is_missed_while_another_thread_uses_the_registry() -> None:
    before = breakers()
    names = [str(number) for number in range(50)]
    for name in names:
        before.get(name, NOW_S)
    ended = threading.Event()

    def use() -> None:
        for number in itertools.count():
            before.get(names[number % 50], NOW_S)
            before.get(f"new {number % 2_000}", NOW_S)
            if ended.is_set():
                return

    user = threading.Thread(target=use)
    user.start()
    try:
        for _ in range(300):
            after = breakers()
            after.adopt(before, lambda name: not name.startswith("new"))
            assert {name for name, _ in after.items()} == set(names)
    finally:
        ended.set()
        user.join()
