"""The account of one call: its attempts as they end, and its own end, in whichever order they come.

A client may leave while a flight reads on for others, so an attempt may end after its call: it is
booked then, as a row of the same call. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from headgate.core.apportion import Sums
from headgate.core.booking import (
    ANSWERED,
    AVOIDED,
    AVOIDED_EXACT,
    AVOIDED_FOLLOWER,
    AVOIDED_STALE,
    BILLED,
    FAILED,
    LEFT,
    SPARED,
    Attempt,
    Row,
    Spared,
    billed_row,
    nanos_in,
    rows_of,
)
from headgate.core.money import Price
from headgate.spending import reported_tier, reported_usage
from headgate.trail import Trail
from headgate.types import NO_USAGE, Call, Provenance, Reply, Usage

_FAILS = 400


class Book(Protocol):
    """Where accounts are booked: `headgate.ledger`."""

    def price(self, target: str, tier: str = "") -> Price | None:
        """Of `provider/model` in a service tier, today; None too where it is not known yet."""
        ...

    def resolved_price(self, target: str) -> Price | None:
        """As `price`, of the standard tier; may wait for a table."""
        ...

    def name(self) -> str:
        """For one more call."""
        ...

    def book(self, name: str, call: Call, rows: Sequence[Row]) -> None:
        """Takes the rows of one call, or later ones of it. Never waits."""
        ...


class Account:
    """What one call costs and saves. It ends once: later ends change nothing."""

    __slots__ = ("_attempts", "_book", "_call", "_end", "_name", "_parts", "trail")

    def __init__(self, book: Book, call: Call) -> None:
        self._book = book
        self._call = call
        self._attempts: list[Attempt] = []
        self._parts: dict[tuple[str, str, str], Sums] = {}
        self._end = ""
        self._name = ""
        self.trail: Trail | None = None
        """What happened to the call, where somebody keeps a log of calls."""

    @property
    def name(self) -> str:
        """Of the call, in its rows and elsewhere."""
        self._name = self._name or self._book.name()
        return self._name

    @property
    def end(self) -> str:
        """How it has ended; "" while it goes on."""
        return self._end

    def tried(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        attempt = replace(attempt, price=self._book.price(attempt.target, attempt.tier))
        if not self._end:
            self._attempts.append(attempt)
            return
        # The client has had its answer, or will have none: this one is not for it.
        row = billed_row(attempt, self._end)
        if row is not None:
            self._write([row])

    def spared(self, part: Reply) -> None:
        """A part of the answer cost nothing, as its provenance says; told before the call ends."""
        origin = part.provenance
        like = (_kind(origin) or AVOIDED_FOLLOWER, origin.target, reported_tier(part))
        self._parts.setdefault(like, Sums()).add(reported_usage(part))

    def billed(self, attempt: Attempt) -> int | None:
        """What an attempt that has ended is booked as, in nano-dollars; None: nobody knows."""
        attempt = replace(attempt, price=self._book.price(attempt.target, attempt.tier))
        row = billed_row(attempt, FAILED)
        return 0 if row is None else row.cost_nanos

    async def standard_price(self, target: str) -> Price | None:
        """Of `provider/model` today; waits for the table of prices where it must."""
        price = self._book.price(target)
        if price is None:
            price = await asyncio.to_thread(self._book.resolved_price, target)
        return price

    def answered(self, reply: Reply) -> Reply:
        """The call has ended with a reply that is all here: it comes back with what it cost."""
        rows = self._ended_with(reply, reported_usage(reply))
        if not rows:
            return reply
        return replace(reply, provenance=_priced(reply.provenance, rows))

    def finished(self, reply: Reply, error: BaseException | None) -> None:
        """The stream of `reply` has ended at the client, or the client has left it."""
        body = reply.body
        if isinstance(error, GeneratorExit) and getattr(body, "is_delivered", False):
            error = None
        inspection = getattr(body, "inspection", None)
        if error is not None:
            self.failed(error)
        elif inspection is not None and inspection.has_failed:
            self._close(FAILED)
        else:
            self._ended_with(reply, reported_usage(reply))

    def failed(self, error: BaseException) -> None:
        """The call has ended without a reply, or in the middle of one."""
        self._close(LEFT if isinstance(error, _LEFT) else FAILED)

    def _ended_with(self, reply: Reply, usage: Usage) -> list[Row]:
        kind = _kind(reply.provenance)
        target = reply.provenance.target
        if reply.status >= _FAILS:
            return self._close(FAILED)
        if kind and not self._parts:
            self._parts[kind, target, reported_tier(reply)] = Sums(usage)
        return self._close(SPARED if kind else ANSWERED, target)

    def _close(self, end: str, target: str = "") -> list[Row]:
        if self._end:
            return []
        self._end = end
        spared = [
            Spared(kind, source, one.total, self._book.price(source, tier), tier)
            for (kind, source, tier), one in self._parts.items()
            if one.total != NO_USAGE
        ]
        rows = rows_of(self._attempts, end, target, spared)
        if rows:
            self._write(rows)
        return rows

    def _write(self, rows: Sequence[Row]) -> None:
        if self.trail is not None:
            self.trail.rows += rows
        self._book.book(self.name, self._call, rows)


_LEFT = (asyncio.CancelledError, GeneratorExit)


def _kind(provenance: Provenance) -> str:
    """Why the reply cost nothing; "" for one that an attempt of this call brought."""
    if provenance.detail == "stale-if-error":
        return AVOIDED_STALE
    if provenance.hit:
        return AVOIDED_EXACT
    return AVOIDED_FOLLOWER if provenance.collapsed else ""


def _priced(provenance: Provenance, rows: Sequence[Row]) -> Provenance:
    return replace(
        provenance, cost_nanos=nanos_in(rows, BILLED), saved_nanos=nanos_in(rows, AVOIDED)
    )
