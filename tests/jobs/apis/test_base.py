"""What a batch API may say: its errors say whether anything was done."""

from __future__ import annotations

from headgate.errors import HeadgateError
from headgate.jobs.apis.base import Refused, Uncertain, Vanished


def test_an_error_says_whether_something_may_have_been_done() -> None:
    errors: list[HeadgateError] = [Refused("no"), Uncertain("?"), Vanished("gone")]
    assert [error.sent for error in errors] == [False, True, True]
    assert len({error.code for error in errors}) == 3
