"""What comes of each item of a batch."""

from __future__ import annotations

import pytest

from headgate.faultserver.courses import (
    DONE,
    EXPIRED,
    FAILED,
    STOPPED,
    Asked,
    BatchCourse,
    has,
    laid_out,
    results_of,
)

ITEMS = [
    Asked(f"c{n}", "chat", b'{"model":"m","messages":[{"role":"user","content":"x"}]}', "m")
    for n in range(8)
]


def ends(course: BatchCourse, *, is_cancelled: bool = False) -> list[str]:
    return [one.end for one in results_of(ITEMS, course, "", is_cancelled=is_cancelled)]


@pytest.mark.parametrize(
    ("course", "found"),
    [
        (BatchCourse(), [DONE] * 8),
        (BatchCourse(failed=(0, 7)), [FAILED, *[DONE] * 6, FAILED]),
        (BatchCourse(failed="all"), [FAILED] * 8),
        (BatchCourse(expired_from=0.37), [DONE] * 3 + [EXPIRED] * 5),
        (BatchCourse(expired_from=0.0), [EXPIRED] * 8),
    ],
)
def test_each_item_ends_as_the_course_says(course: BatchCourse, found: list[str]) -> None:
    assert ends(course) == found


def test_a_cancelled_batch_has_done_a_share() -> None:
    assert ends(BatchCourse(done_at_cancel=0.25), is_cancelled=True) == [DONE] * 2 + [STOPPED] * 6


def test_an_item_that_its_live_endpoint_refuses_fails() -> None:
    (one,) = results_of([Asked("c", "chat", b"[]", "m")], BatchCourse(), "", is_cancelled=False)
    assert (one.end, one.status, one.tokens_in) == (FAILED, 400, 0)


def test_lines_are_left_out_doubled_contradicted_and_made_up() -> None:
    lines = [(place, {"custom_id": f"c{place}", "good": True}) for place in range(3)]
    course = BatchCourse(missing=(0,), duplicated=(1,), contradicted=(2,), strangers=1)
    found = laid_out(lines, course, 0, lambda name: {"custom_id": name, "good": False})
    assert [(line["custom_id"], line["good"]) for line in found] == [
        ("c1", True), ("c1", True), ("c2", True), ("c2", False), ("stranger-0", False),
    ]  # fmt: skip


def test_items_are_places_or_all() -> None:
    assert has("all", 5)
    assert has((5,), 5)
    assert not has((), 5)
