"""Pages of what the desk keeps."""

from __future__ import annotations

import pytest

from headgate.faultserver.desk_words import json_answer, paged

ROWS = [f"r{number}" for number in range(25)]


@pytest.mark.parametrize(
    ("query", "found", "has_more"),
    [
        ({}, ROWS[:20], True),
        ({"limit": "2"}, ROWS[:2], True),
        ({"limit": "2", "after": "r3"}, ROWS[4:6], True),
        ({"after": "r23"}, ["r24"], False),
        ({"after": "unknown", "limit": "1"}, ["r0"], True),
        ({"limit": "0"}, ROWS[:20], True),
        ({"limit": "many"}, ROWS[:20], True),
        ({"limit": "5000"}, ROWS, False),
    ],
)
def test_pages_begin_behind_an_id(query: dict[str, str], found: list[str], has_more: bool) -> None:
    assert paged(ROWS, query, "after", lambda row: row) == (found, has_more)


def test_answers_are_json() -> None:
    answer = json_answer({"a": 1}, 404)
    assert (answer.status, answer.content, answer.content_type) == (
        404, b'{"a":1}', "application/json",
    )  # fmt: skip
