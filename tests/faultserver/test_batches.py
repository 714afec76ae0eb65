"""One batch: how it moves on when it is looked at, and what it is charged."""

from __future__ import annotations

import json

import pytest

from headgate.faultserver.batches import (
    CANCELLING,
    ENDED,
    IN_PROGRESS,
    INVALID,
    Batch,
    anthropic_results,
    openai_files,
)
from headgate.faultserver.courses import Asked
from headgate.testing import BatchCourse, Mark

ITEMS = [
    Asked(f"c{n}", "chat", b'{"model":"m","messages":[{"role":"user","content":"x"}]}', "m")
    for n in range(2)
]


def batch(course: BatchCourse) -> Batch:
    return Batch("batch_1", Mark("0" * 8, 1), ITEMS, course, 0)


def states(one: Batch, looks: int) -> list[str]:
    found = []
    for _ in range(looks):
        found.append(one.state)
        one.look()
    return found


@pytest.mark.parametrize(
    ("course", "found"),
    [
        (BatchCourse(), [IN_PROGRESS, ENDED, ENDED]),
        (BatchCourse(looks=0), [ENDED, ENDED, ENDED]),
        (BatchCourse(looks=None), [IN_PROGRESS] * 3),
        (BatchCourse(invalid="x"), [INVALID] * 3),
    ],
)
def test_it_moves_on_when_it_is_looked_at(course: BatchCourse, found: list[str]) -> None:
    assert states(batch(course), 3) == found


def test_cancelling_takes_looks_and_comes_too_late_for_one_that_has_ended() -> None:
    one = batch(BatchCourse(looks=5, cancel_looks=2))
    assert one.cancel()
    assert one.cancel(), "twice is no error"
    assert states(one, 3) == [CANCELLING, CANCELLING, ENDED]
    assert not one.cancel()
    assert one.charges() == []


def test_it_vanishes_after_so_many_looks() -> None:
    one = batch(BatchCourse(looks=None, vanishes_after=1))
    assert (one.is_vanished, one.charges()) == (False, [])
    one.look()
    assert (one.is_vanished, len(one.charges())) == (True, 2)


def test_it_is_charged_before_it_has_ended_because_it_will_be_done() -> None:
    one = batch(BatchCourse(looks=9))
    assert [charge.custom_id for charge in one.charges()] == ["c0", "c1"]
    assert one.counts() == {"done": 0, "failed": 0, "expired": 0}


def test_strangers_come_where_there_is_a_file() -> None:
    for course, place in (
        (BatchCourse(strangers=1), 0),
        (BatchCourse(strangers=1, failed="all"), 1),
    ):
        files = openai_files(batch(course), 0)
        assert [b"stranger-0" in file for file in files] == [place == 0, place == 1]


def test_results_of_a_cancelled_batch_say_so() -> None:
    one = batch(BatchCourse(cancel_looks=0))
    one.cancel()
    lines = [json.loads(line) for line in anthropic_results(one, 0).splitlines()]
    assert [line["result"] for line in lines] == [{"type": "canceled"}] * 2
    assert openai_files(one, 0) == (b"", b"")
