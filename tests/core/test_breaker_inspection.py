"""Looking at a breaker without touching it, giving it other settings, and ending a permit twice."""

from __future__ import annotations

import dataclasses

from breakers import BAD, GOOD, LEFT, PLAIN, Driven

from headgate.core.breaker_settings import BreakerSettings


def like(**settings: object) -> BreakerSettings:
    return dataclasses.replace(PLAIN, **settings)


def test_a_permit_ended_twice_counts_once() -> None:
    driven = Driven()
    permit = driven.admit()
    for _ in range(5):
        driven.end(permit, BAD)
    assert (driven.breaker.counts.faults, driven.breaker.counts.repeated) == (1, 4)


def test_other_settings_keep_the_state_and_count_anew() -> None:
    driven = Driven()
    permit = driven.admit()
    driven.call(BAD, BAD, BAD)
    driven.breaker.reconfigure(like(calls_min=2), driven.now_s)
    driven.end(permit, BAD)
    driven.call(GOOD, BAD)
    assert (driven.state, driven.breaker.counts.late) == ("open", 1)
    driven.breaker.reconfigure(like(open_base_s=3, open_max_s=3), driven.now_s)
    assert driven.refused().retry_after_s == 3


def test_equal_settings_change_nothing() -> None:
    driven = Driven()
    permit = driven.admit()
    driven.call(BAD, BAD, BAD)
    driven.breaker.reconfigure(like(), driven.now_s)
    driven.end(permit, BAD)
    assert driven.state == "open"


def test_looking_tells_what_a_call_would_be_told_and_changes_nothing() -> None:
    driven = Driven()
    look = driven.breaker.retry_after_s
    assert look(driven.now_s) == 0
    driven.open()
    assert look(driven.now_s + 3) == 5
    assert look(driven.now_s + 9) == 0
    assert driven.state == "open"
    driven.wait(8)
    driven.admit()
    assert look(driven.now_s + 1) == 15
    driven.breaker.force("forced_open", driven.now_s)
    assert look(driven.now_s) is None


def test_the_faults_in_a_row_are_counted_over_openings_and_probes() -> None:
    driven = Driven()
    driven.call(BAD, GOOD, BAD)
    assert driven.breaker.faults_in_row == 1
    driven.call(BAD)
    assert (driven.state, driven.breaker.faults_in_row) == ("open", 2)
    driven.wait(8)
    driven.call(BAD)
    assert driven.breaker.faults_in_row == 3
    driven.wait(16)
    driven.call(GOOD)
    assert driven.breaker.faults_in_row == 0
    driven.breaker.reset(driven.now_s)
    driven.call(BAD)
    driven.breaker.reset(driven.now_s)
    assert driven.breaker.faults_in_row == 0


def test_it_is_idle_when_nothing_would_be_lost_with_it() -> None:
    driven = Driven(like(probes_needed=1))
    assert driven.breaker.is_idle(driven.now_s)
    driven.call(GOOD)
    assert not driven.breaker.is_idle(driven.now_s)
    assert driven.breaker.is_idle(driven.now_s + 10)
    driven.end(driven.half_open(), GOOD)
    assert not driven.breaker.is_idle(driven.now_s)
    assert driven.breaker.is_idle(driven.now_s + 10)
    driven.open()
    assert not driven.breaker.is_idle(driven.now_s + 8 + 9)


def test_one_that_nobody_has_asked_since_its_time_was_over_is_idle_after_a_window() -> None:
    driven = Driven()
    probe = driven.half_open()
    assert not driven.breaker.is_idle(driven.now_s + 15)
    driven.end(probe, LEFT)
    assert not driven.breaker.is_idle(driven.now_s + 9)
    assert driven.breaker.is_idle(driven.now_s + 10)
    lost = driven.admit()
    driven.wait(16)
    assert not driven.breaker.is_idle(driven.now_s)
    assert (driven.state, lost.ended) == ("open", False)
    assert driven.breaker.is_idle(driven.now_s + 16 + 10)
    driven.breaker.force("forced_open", driven.now_s)
    assert not driven.breaker.is_idle(driven.now_s + 1e9)


def test_the_time_spent_open_adds_up() -> None:
    driven = Driven()
    driven.half_open()
    driven.wait(5)
    assert driven.breaker.open_s(driven.now_s) == 8
    driven.wait(11)
    driven.refused()
    assert driven.breaker.open_s(driven.now_s + 2) == 10
