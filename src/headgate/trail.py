"""What happened to one call on its way, written down as it happens: the account carries it, whoever
keeps a log of calls reads it. An attempt may end after its call, and is written down then, too.
"""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.booking import Row
from headgate.core.outcome import Outcome
from headgate.types import Call, Reply


class Try:
    """One attempt; times are seconds of the monotonic clock."""

    __slots__ = ("began_s", "ended_s", "first_s", "reason", "status", "target")

    def __init__(self, target: str, began_s: float) -> None:
        self.target = target
        self.began_s = began_s
        self.first_s: float | None = None
        """When its answer, or the first content of its stream, was here."""
        self.ended_s: float | None = None
        self.reason = ""
        """Of its outcome; "" while it goes on."""
        self.status = 0


class Trail:
    """Attempts in the order of their beginning, the rows that were booked, and what became of the
    answer."""

    __slots__ = ("_now", "not_stored", "rows", "stored_s", "tries", "ttl_s")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.tries: list[Try] = []
        self.rows: list[Row] = []
        self.stored_s: float | None = None
        """When its answer was stored, for `ttl_s`; None: it was not."""
        self.ttl_s = 0.0
        self.not_stored = ""
        """Why not, as a short countable reason; "" where nobody had to decide."""

    def begin(self, target: str) -> Try:
        """An attempt at `target` begins."""
        attempt = Try(target, self._now())
        self.tries.append(attempt)
        return attempt

    def first(self, attempt: Try) -> None:
        """What it brought is here, or the first of it."""
        attempt.first_s = self._now()

    def end(self, attempt: Try, outcome: Outcome, reply: Reply | None) -> None:
        """It is over."""
        attempt.ended_s = self._now()
        attempt.reason = outcome.reason
        attempt.status = 0 if reply is None else reply.status

    def stored(self, ttl_s: float) -> None:
        """Its answer is kept for so long."""
        self.stored_s, self.ttl_s = self._now(), ttl_s


def note_stored(call: Call, ttl_s: float) -> None:
    """The answer of `call` is kept."""
    if call.account is not None and call.account.trail is not None:
        call.account.trail.stored(ttl_s)


def note_not_stored(call: Call, reason: str) -> None:
    """It is not."""
    if call.account is not None and call.account.trail is not None:
        call.account.trail.not_stored = reason
