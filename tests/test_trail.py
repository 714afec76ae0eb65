"""What is written down of a call on its way."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from headgate.account import Account
from headgate.core.outcome import OUTCOMES
from headgate.stream import Whole
from headgate.testing import FakeClock
from headgate.trail import Trail, note_not_stored, note_stored
from headgate.types import Call, Reply, Target, WireRequest

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))


def test_an_attempt_is_written_down_from_its_beginning_to_its_end() -> None:
    clock = FakeClock()
    trail = Trail(clock.monotonic)
    attempt = trail.begin("p/m")
    assert (attempt.reason, attempt.first_s, attempt.ended_s) == ("", None, None)
    clock.advance(1)
    trail.first(attempt)
    clock.advance(1)
    trail.end(attempt, OUTCOMES["server_error"], Reply(500, (), Whole(b"")))
    assert (attempt.reason, attempt.status) == ("server_error", 500)
    assert attempt.first_s == attempt.began_s + 1
    assert attempt.ended_s == attempt.began_s + 2
    assert trail.tries == [attempt]


def test_what_became_of_the_answer_is_noted_where_somebody_reads_it() -> None:
    books: Any = None
    account = Account(books, CALL)
    for call in (CALL, replace(CALL, account=account)):
        note_stored(call, 60.0)
        note_not_stored(call, "truncated")
    account.trail = Trail(FakeClock().monotonic)
    note_stored(replace(CALL, account=account), 60.0)
    note_not_stored(replace(CALL, account=account), "truncated")
    assert (account.trail.ttl_s, account.trail.not_stored) == (60.0, "truncated")
    assert account.trail.stored_s is not None
