"""Permits of the guards always come back, refusals are truthful; what opens a breaker, what not."""

from __future__ import annotations

import asyncio

import pytest
from guarding import BAD, GOOD, Scene, to
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.breaker_settings import BreakerSettings
from headgate.core.outcome import FAULT, LOCAL, OUTCOMES, Outcome
from headgate.errors import BreakerOpen, RateLimited, UpstreamFailed, UpstreamTimeout
from headgate.guards import Passage


@pytest.fixture
def scene() -> Scene:
    return Scene()


# Permits.


def test_who_is_refused_by_one_gate_gives_back_what_the_others_gave(scene: Scene) -> None:
    scene.call(*[OUTCOMES["unavailable"]] * 4)
    scene.clock.advance(scene.wait_s())
    scene.deployment().force("forced_open", scene.now_s)
    for _ in range(20):
        refusal = scene.refused()
        assert refusal.retry_after_s is None
    assert scene.endpoint().probes_in_flight == 0
    assert scene.endpoint().state == "half_open"
    scene.call(GOOD, GOOD, call=to("a", "other"))
    assert scene.endpoint().state == "closed"


def test_a_passage_ends_once(scene: Scene) -> None:
    passage = scene.admit()
    passage.end(GOOD, scene.now_s)
    for _ in range(9):
        passage.end(BAD, scene.now_s)
    counts = scene.deployment().counts
    assert (counts.ok, counts.faults, counts.repeated) == (1, 0, 0)
    assert scene.guards.attempts == {("a", "m", "ok"): 1}


def test_as_a_context_a_passage_ends_with_what_is_raised_and_stays_open_otherwise(
    scene: Scene,
) -> None:
    with pytest.raises(UpstreamFailed), scene.admit():
        raise UpstreamTimeout("slow", stage="total")
    with pytest.raises(asyncio.CancelledError), scene.admit():
        raise asyncio.CancelledError
    with scene.admit() as passage:
        pass
    counts = scene.deployment().counts
    assert (counts.faults, counts.ignored, counts.ok) == (1, 1, 0)
    passage.end(GOOD, scene.now_s)
    assert counts.ok == 1


def test_a_cancelled_probe_neither_closes_nor_opens_and_makes_way(scene: Scene) -> None:
    scene.call(*[BAD] * 4)
    scene.clock.advance(8)
    with pytest.raises(asyncio.CancelledError), scene.admit():
        raise asyncio.CancelledError
    assert scene.states() == ("closed", "half_open")
    scene.call(GOOD, GOOD)
    assert scene.states() == ("closed", "closed")


def test_a_probe_that_is_never_heard_of_again_opens_the_breaker_within_its_lease() -> None:
    settings = BreakerSettings(
        calls_min=4, open_base_s=8, open_jitter=0, probes_needed=2, probe_lease_s=20
    )
    scene = Scene(breaker=settings)
    scene.call(*[BAD] * 4)
    scene.clock.advance(8)
    scene.admit()
    refusal = scene.refused()
    assert refusal.retry_after_s == pytest.approx(8), "a probe seldom takes all of its lease"
    scene.clock.advance(20)
    scene.refused()
    assert scene.states() == ("closed", "open")


def test_a_refusal_tells_the_longest_of_all_waits(scene: Scene) -> None:
    scene.call(*[BAD] * 3)
    late = scene.admit()
    scene.call(Outcome("ignored", "rate_limit", retry_after_s=2.0))
    late.end(BAD, scene.now_s)
    refusal = scene.refused()
    assert isinstance(refusal, RateLimited)
    assert refusal.retry_after_s == pytest.approx(8)


def test_a_thousand_at_the_half_open_moment_are_one_probe(scene: Scene) -> None:
    scene.call(*[BAD] * 4)
    scene.clock.advance(8)
    admitted = 0
    for _ in range(1_000):
        try:
            scene.admit()
            admitted += 1
        except BreakerOpen:
            pass
    assert admitted == 1


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "end", "answer", "release", "wait"]),
        st.integers(0, 3),
        st.sampled_from(sorted(OUTCOMES)),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(ACTS)
def test_whatever_happens_refusals_are_truthful_and_no_probe_stays_behind(
    acts: list[tuple[str, int, str]],
) -> None:
    scene, open_passages = Scene(), list[Passage]()
    for act, number, reason in acts:
        if act == "wait":
            scene.clock.advance(number * 4)
        elif act == "admit":
            if wait_s := scene.wait_s():
                assert scene.refused().retry_after_s == pytest.approx(wait_s)
            else:
                open_passages.append(scene.admit())
        elif open_passages:
            passage = open_passages[number % len(open_passages)]
            if act == "answer":
                passage.answer(scene.now_s)
            elif act == "end":
                passage.end(OUTCOMES[reason], scene.now_s)
            else:
                passage.release(scene.now_s)
    for passage in open_passages:
        passage.end(OUTCOMES["left"], scene.now_s)
    assert scene.endpoint().probes_in_flight == scene.deployment().probes_in_flight == 0


# What opens a breaker and what does not.


def test_bad_requests_do_not_dilute_faults(scene: Scene) -> None:
    for number in range(2_000):
        if scene.states()[1] == "open":
            break
        scene.call(BAD if number % 20 == 0 else OUTCOMES["bad_request"])
    assert scene.states()[1] == "open"
    assert scene.deployment().counts.faults == 4


def test_a_flood_of_tiny_deadlines_opens_nothing(scene: Scene) -> None:
    for _ in range(5_000):
        passage = scene.admit()
        scene.clock.advance(0.001)
        passage.end(OUTCOMES["left"], scene.now_s)
    assert scene.states() == ("closed", "closed")


def test_callers_who_wait_long_and_leave_count_as_slow(scene: Scene) -> None:
    passages = [scene.admit() for _ in range(4)]
    scene.clock.advance(61)
    for passage in passages[:3]:
        passage.end(OUTCOMES["left"], scene.now_s)
    assert scene.states() == ("closed", "closed")
    passages[3].end(OUTCOMES["left"], scene.now_s)
    assert scene.states() == ("closed", "open")


def test_a_stream_is_slow_by_its_first_content_and_a_whole_answer_by_its_end() -> None:
    scene = Scene()
    for streamed, first_s, rest_s in (
        (True, 31, 0),
        (False, 0, 61),
        (True, 29, 500),
        (False, 0, 59),
    ):
        passage = scene.admit(to("a", streamed=streamed))
        scene.clock.advance(first_s)
        if streamed:
            passage.answer(scene.now_s)
        scene.clock.advance(rest_s)
        passage.end(GOOD, scene.now_s)
    assert scene.deployment().counts.slow == 2
    assert scene.endpoint().counts.slow == 0


def test_a_model_that_thinks_is_never_slow() -> None:
    scene = Scene(reasoning=frozenset({"m"}))
    passage = scene.admit()
    scene.clock.advance(600)
    passage.end(GOOD, scene.now_s)
    assert scene.deployment().counts.slow == 0


def test_a_streamed_probe_votes_at_its_first_content(scene: Scene) -> None:
    scene.call(*[BAD] * 4)
    scene.clock.advance(8)
    passages = []
    for _ in range(2):
        passages.append(scene.admit(to("a", streamed=True)))
        passages[-1].answer(scene.now_s)
    assert scene.states() == ("closed", "closed")
    for passage in passages:
        passage.end(OUTCOMES["mid_stream"], scene.now_s)
    assert scene.deployment().counts.faults == 4 + 2


def test_failures_to_connect_open_the_endpoint_at_any_volume() -> None:
    scene = Scene(breaker=BreakerSettings())
    scene.call(*[OUTCOMES["unreachable"]] * 5)
    assert scene.states() == ("open", "closed")
    assert Outcome(FAULT, origin=LOCAL).gate == ""


def test_a_retry_after_of_a_fault_lengthens_the_open_time(scene: Scene) -> None:
    scene.call(*[BAD] * 3, Outcome(FAULT, "server_error", gate="deployment", retry_after_s=100.0))
    assert scene.refused().retry_after_s == pytest.approx(100)


def test_open_times_differ_between_targets_and_are_the_same_in_a_replay() -> None:
    def waits() -> list[float]:
        scene = Scene(breaker=BreakerSettings(calls_min=4))
        for model in ("m", "n"):
            scene.call(*[BAD] * 4, call=to("a", model))
        return [scene.wait_s(to("a", model)) for model in ("m", "n")]

    first = waits()
    assert first[0] != first[1]
    assert waits() == first
    # By another process, whose strings hash to other numbers.
    assert first == pytest.approx([3.671108, 2.914536])


def test_changes_of_state_are_counted_under_a_bounded_number_of_names() -> None:
    scene = Scene()
    for number in range(5_000):  # of which no more than 4 096 are open at a time
        call = to("a", f"invented-{number}")
        scene.call(*[BAD] * 4, call=call)
        scene.clock.advance(1)
    transitions = scene.guards.transitions
    assert 4_000 < len(transitions) < 4_100
    assert transitions.total() == 5_000
    assert transitions["deployment", "(others)", "closed", "open", "fault_ratio"] > 900
