"""Which target comes first and which next."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.balance import STANDING_MIN, after, first, ordered, standing
from headgate.core.breaker import Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.outcome import OUTCOMES
from headgate.core.permits import Permit
from headgate.types import CONTENT, CONTEXT, FALLBACK, TARGET, Route, Target


def a_route(name: str, weight: float = 0.0, role: str = TARGET, key: str = "") -> Route:
    provider, _, model = name.partition("/")
    return Route(Target(provider, model or "m", key), weight, role)


A, B, C = a_route("a"), a_route("b"), a_route("c")
SPARE, LONGER, FREER = (a_route(role, role=role) for role in (FALLBACK, CONTEXT, CONTENT))


def names(routes: object) -> list[str]:
    assert isinstance(routes, list | tuple)
    return [route.target.provider + route.target.credential for route in routes]


# Order and weights.


def test_without_weights_the_order_is_the_written_one() -> None:
    routes = (B, A, SPARE)
    assert {ordered(routes, seed, seed) for seed in range(50)} == {routes}


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 2, 7), (0.5, 0.25, 0.25)])
def test_each_is_first_as_often_as_its_share_says(weights: tuple[float, ...]) -> None:
    routes = tuple(a_route(f"p{i}", weight) for i, weight in enumerate(weights))
    firsts = Counter(ordered(routes, 7, number)[0] for number in range(10_000))
    for route in routes:
        share = route.weight / sum(weights)
        # Four standard deviations.
        assert abs(firsts[route] / 10_000 - share) < 4 * (share * (1 - share) / 10_000) ** 0.5


def test_who_comes_next_follows_the_weights_of_those_left() -> None:
    routes = tuple(a_route(name, weight) for name, weight in (("a", 1), ("b", 3), ("c", 1)))
    orders = [ordered(routes, 3, number) for number in range(20_000)]
    seconds = Counter(order[1].target.provider for order in orders if order[0] == routes[0])
    assert abs(seconds["b"] / sum(seconds.values()) - 0.75) < 0.03


# Standing.


def a_breaker(calls: int, faults: int) -> Breaker:
    breaker = Breaker(BreakerSettings(fault_ratio=1.0), 0.0)
    for number in range(calls):
        permit = breaker.admit(0.0)
        assert isinstance(permit, Permit)
        breaker.record(permit, OUTCOMES["server_error" if number >= calls - faults else "ok"], 0.0)
    return breaker


@pytest.mark.parametrize(
    ("calls", "faults", "share"),
    [
        (0, 0, 1.0), (500, 0, 1.0), (19, 10, 1.0), (20, 1, 1.0), (20, 2, 0.95**8),
        (101, 11, (1 - 10 / 101) ** 8), (100, 60, STANDING_MIN),
    ],
)  # fmt: skip
def test_a_standing_falls_with_the_share_of_faults_and_never_to_nothing(
    calls: int, faults: int, share: float
) -> None:
    assert standing(a_breaker(calls, faults), 0.0) == pytest.approx(share)


def test_a_standing_is_full_again_when_the_faults_have_left_the_window() -> None:
    breaker = a_breaker(100, 30)
    assert standing(breaker, 26.9) < 0.1
    assert standing(breaker, 30.0) == 1.0


def test_a_target_of_little_standing_gets_that_part_of_its_share() -> None:
    routes = tuple(a_route(name, 1.0) for name in "abc")
    of = {"a": 0.1, "b": 1.0, "c": 1.0}
    firsts = Counter(
        names(ordered(routes, 7, number, lambda route: of[route.target.provider]))[0]
        for number in range(10_000)
    )
    assert abs(firsts["a"] / 10_000 - 0.1 / 2.1) < 0.01
    assert abs(firsts["b"] - firsts["c"]) < 300


def test_without_weights_one_of_little_standing_is_passed_over_and_comes_last_of_the_targets() -> (
    None
):
    routes = (A, B, C, SPARE)
    of = {"a": 0.25, "b": 1.0, "c": 1.0}
    orders = Counter(
        "".join(name[0] for name in names(
            ordered(routes, 7, number, lambda route: of.get(route.target.provider, 1.0))
        ))
        for number in range(4_000)
    )  # fmt: skip
    assert set(orders) == {"abcf", "bcaf"}
    assert abs(orders["abcf"] / 4_000 - 0.25) < 0.03


def test_those_with_weights_come_before_those_without_and_stand_ins_stay_last() -> None:
    routes = (A, a_route("w", 1), a_route("v", 1), a_route("s", 5, FALLBACK))
    for number in range(50):
        order = names(ordered(routes, 1, number))
        assert set(order[:2]) == {"w", "v"}
        assert order[2:] == ["a", "s"]


@given(
    st.lists(st.sampled_from([0.0, 1e-300, 1.0, 3.0, 1e300]), min_size=1, max_size=6),
    st.integers(0, 2**53),
    st.integers(0, 10**9),
)
def test_an_order_loses_nothing_and_repeats_itself(
    weights: list[float], seed: int, number: int
) -> None:
    routes = tuple(a_route(f"p{i}", weight) for i, weight in enumerate(weights))
    order = ordered(routes, seed, number)
    assert sorted(names(order)) == sorted(names(routes))
    assert ordered(routes, seed, number) == order


# The first.


def test_the_first_that_may_be_asked_is_asked() -> None:
    assert first([A, B, SPARE], lambda route: route != A) == B
    assert first([A, B, SPARE], lambda route: route == SPARE) == SPARE


def test_where_none_may_be_asked_the_first_says_why() -> None:
    assert first([A, B, SPARE], lambda _: False) == A


def test_what_is_for_long_contexts_or_refused_content_is_never_first() -> None:
    assert first([LONGER, FREER, A], lambda route: route != A) == A
    assert first([LONGER, FREER], lambda _: True) is None


# The next.

LEFT = [B, SPARE, LONGER, FREER]
NEXT = {
    "server_error": ["b", FALLBACK],
    "unreachable": ["b", FALLBACK],
    "rate_limit": ["b", FALLBACK],
    "quota": ["b", FALLBACK],
    "authentication": ["b", FALLBACK],
    "bad_payload": ["b", FALLBACK],
    "too_large": ["b", FALLBACK],
    "context_too_long": [CONTEXT],
    "content_filter": [CONTENT],
    "bad_request": [],
    "left": [],
    "deadline": [],
    "mid_stream": [],
}


@pytest.mark.parametrize("reason", NEXT)
def test_what_went_wrong_decides_where_it_may_go_on(reason: str) -> None:
    assert names(after(A, OUTCOMES[reason], LEFT)) == NEXT[reason]


@pytest.mark.parametrize("failed", [LONGER, FREER])
def test_a_special_stand_in_that_fails_is_followed_by_its_own_kind_only(failed: Route) -> None:
    other = a_route("other", role=failed.role)
    assert after(failed, OUTCOMES["server_error"], [A, SPARE, other]) == [other]
    assert after(failed, OUTCOMES["authentication"], [A, SPARE, other]) == [other]


def test_content_that_a_longer_context_refuses_goes_where_refused_content_goes() -> None:
    assert after(LONGER, OUTCOMES["content_filter"], [A, SPARE, FREER]) == [FREER]


ONE, TWO = a_route("a", key="key-1"), a_route("a", key="key-2")


def test_another_key_comes_first_where_the_key_was_to_blame_and_last_where_not() -> None:
    assert names(after(ONE, OUTCOMES["rate_limit"], [TWO, B])) == ["akey-2", "b"]
    assert names(after(ONE, OUTCOMES["server_error"], [TWO, B])) == ["b", "akey-2"]


def test_a_refused_key_is_not_tried_with_another_model_of_its_provider() -> None:
    same_key = a_route("a/other", key="key-1")
    assert after(ONE, OUTCOMES["authentication"], [same_key, TWO, B]) == [TWO, B]
    assert after(ONE, OUTCOMES["rate_limit"], [same_key]) == [same_key]


def test_what_committed_goes_nowhere_whatever_else_it_says() -> None:
    assert after(A, OUTCOMES["mid_stream"], LEFT) == []
