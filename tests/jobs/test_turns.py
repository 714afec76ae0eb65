"""Which line is next, and when."""

from __future__ import annotations

import pytest

from headgate.jobs.turns import AGAIN_MAX_S, FIRST_S, PAUSE_MAX_S, Turns


def test_first_come_first_served() -> None:
    turns: Turns[str] = Turns()
    for name in "abc":
        turns.put(name)
    assert turns.ready == 3
    assert [turns.next(0.0) for _ in range(4)] == ["a", "b", "c", None]


def test_who_does_not_take_its_turn_stays_the_first() -> None:
    turns: Turns[str] = Turns()
    turns.put("a")
    turns.put("b")
    turns.put_back(str(turns.next(0.0)))
    assert [turns.next(0.0), turns.next(0.0)] == ["a", "b"]


def test_what_has_failed_waits_twice_as_long_each_time_and_others_go_on() -> None:
    turns: Turns[str] = Turns()
    turns.put_off("a", 1, 100.0, 1.0)
    turns.put("b")
    assert turns.next(100.0) == "b"
    assert turns.next(100.0) == pytest.approx(FIRST_S)
    assert turns.next(100.0 + FIRST_S) == "a"
    turns.put_off("a", 3, 200.0, 1.0)
    assert turns.next(200.0) == pytest.approx(4 * FIRST_S)
    turns.drain()
    turns.put_off("a", 1000, 200.0, 0.0)
    assert turns.next(200.0) == pytest.approx(AGAIN_MAX_S / 2)


def test_during_a_pause_it_is_nobodys_turn() -> None:
    turns: Turns[str] = Turns()
    turns.put("a")
    turns.pause(10.0, None, 1.0)
    assert turns.next(10.0) == pytest.approx(FIRST_S)
    assert turns.next(10.0 + FIRST_S) == "a"


def test_pauses_in_a_row_are_longer_and_begin_anew_after_an_answer() -> None:
    turns: Turns[str] = Turns()
    turns.put("a")
    waits = []
    now_s = 0.0
    for _ in range(10):
        turns.pause(now_s, None, 1.0)
        wait_s = turns.next(now_s)
        assert isinstance(wait_s, float)
        waits.append(wait_s)
        now_s += wait_s
    assert waits[:4] == pytest.approx([1.0, 2.0, 4.0, 8.0])
    assert waits[-1] == pytest.approx(PAUSE_MAX_S)
    turns.succeed()
    turns.pause(now_s, None, 1.0)
    assert turns.next(now_s) == pytest.approx(FIRST_S)


def test_somebodys_word_lengthens_a_pause_and_never_shortens_it() -> None:
    turns: Turns[str] = Turns()
    turns.put("a")
    turns.pause(0.0, 30.0, 1.0)
    assert turns.next(0.0) == pytest.approx(30.0)
    turns.pause(30.0, 0.1, 1.0)
    assert turns.next(30.0) == pytest.approx(2.0)


def test_several_that_hear_the_same_make_one_pause() -> None:
    turns: Turns[str] = Turns()
    turns.put("a")
    assert [turns.pause(0.0, None, 1.0) for _ in range(3)] == [True, False, False]
    assert turns.next(0.0) == pytest.approx(FIRST_S)
    assert not turns.pause(FIRST_S, None, 1.0), "the second in a row"
    turns.succeed()
    assert turns.pause(10.0, None, 1.0)


def test_all_that_are_left_can_be_taken_out() -> None:
    turns: Turns[str] = Turns()
    turns.put("a")
    turns.put_off("b", 1, 0.0, 1.0)
    assert sorted(turns.drain()) == ["a", "b"]
    assert turns.next(99.0) is None
