"""Point 2 of the oracle: what the ledger has booked is what the fault server would bill. The rule
is one for all scenarios: what a script did to a call decides what may differ, not which test did.

A request is *taken on* where its provider charges for its prompt: not where it refuses, by its
status or by an error in place of an answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from events import is_finished
from oracle import Heard, is_whole, received

from headgate.core.booking import ANSWER, AVOIDED, BILLED, KINDS, OVERHEAD, Row, count
from headgate.runtime import Runtime
from headgate.stores.base import Booked
from headgate.testing import Exchange, marks_in

Tokens = tuple[int, int]
"""In and out."""
_NAME_CHARS = 100
"""Ledgers cut longer names, a little behind that."""


class Books(NamedTuple):
    """The rows of a ledger, and the sums of the processes that wrote it."""

    rows: Sequence[Booked]
    sums: Sequence[dict[str, Any]]
    """The `cost` object of each."""


def settled(runtime: Runtime) -> dict[str, Any]:
    """The `cost` object of a process that has written everything that waited."""
    journal = runtime.ledger.journal
    runtime.ledger.settle()
    assert journal is not None
    assert journal.flush(), journal.problem()
    cost: dict[str, Any] = runtime.stats()["cost"]
    return cost


def attempts_of(runtime: Runtime) -> int:
    """How many attempts it has made."""
    return sum(runtime.guards.attempts.values())


def answers_in(heard: Iterable[Heard]) -> set[int]:
    """Serials of the requests whose answers clients have heard to their end."""
    whole = [bytes(one.reply) for one in heard if not one.has_left]
    told = [reply for reply in whole if reply.startswith(b"HTTP/1.1 200") and is_whole(reply)]
    return {mark.serial for reply in told for mark in marks_in(_answer(reply))}


def _answer(reply: bytes) -> bytes:
    """An answer of its dialect, to its end, or nothing: one that passes under a type of its own is
    not read, and nobody here knows what was counted in it."""
    head, body = reply.partition(b"\r\n\r\n")[0].lower(), received(reply)
    is_json = b"content-type: application/json" in head
    is_stream = b"content-type: text/event-stream" in head
    return body if is_json or (is_stream and is_finished(body)) else b""


def ledger_is_the_bill(
    books: Books, calls: Iterable[Exchange], heard: Iterable[Exchange], attempts: int
) -> None:
    """Point 2, for the `calls` of all providers; `heard` are those whose answers clients have heard
    to their end, `attempts` is how many attempts the gateways made.

    - Every request that was taken on is a row that is billed.
    - A row without one says that it is an estimate: its request was refused, or never read, in a
      way that only the provider knows of.
    - A row that does not say so agrees to the token with a request of its own.
    - A request whose answer a client has heard to its end is such a row.
    - Nothing is estimated as nothing; no more is billed than was attempted.
    - A call has one answer at most, and none that was also avoided. Served and overhead are billed
      and avoided; the sums in memory are those of the rows on disk.
    """
    taken = _by_model(call for call in calls if call.tokens_in)
    answered = _by_model(call for call in heard if call.tokens_in)
    billed: dict[str, list[Row]] = defaultdict(list)
    for booked in books.rows:
        if booked.row.kind in BILLED:
            billed[booked.row.target.partition("/")[2][:_NAME_CHARS]].append(booked.row)
    for model in {*taken, *billed}:
        _agree(model, billed[model], taken[model], answered[model])
    rows = sum(map(len, billed.values()))
    assert rows <= attempts, f"{rows} rows are billed for {attempts} attempts"
    _adds_up(books)


def _agree(
    model: str, rows: Sequence[Row], taken: Sequence[Exchange], heard: Sequence[Exchange]
) -> None:
    exact = Counter(_tokens(row) for row in rows if not row.is_estimated)
    bill, served = _bill(taken), _bill(heard)
    assert exact <= bill, f"booked for {model!r} and not billed: {exact - bill}"
    assert len(rows) >= len(taken), f"of {len(taken)} requests to {model!r} {len(rows)} are booked"
    assert all(count(row.tokens) for row in rows), f"booked for {model!r} as nothing"
    assert served <= exact, f"heard from {model!r} and not booked as such: {served - exact}"


def _by_model(calls: Iterable[Exchange]) -> dict[str, list[Exchange]]:
    found: dict[str, list[Exchange]] = defaultdict(list)
    for call in calls:
        found[call.model[:_NAME_CHARS]].append(call)
    return found


def _bill(calls: Iterable[Exchange]) -> Counter[Tokens]:
    return Counter((call.tokens_in, call.tokens_out) for call in calls)


def _tokens(row: Row) -> Tokens:
    return row.tokens.all_input, row.tokens.output


def _adds_up(books: Books) -> None:
    kinds: dict[str, list[str]] = defaultdict(list)
    for booked in books.rows:
        assert booked.row.kind in KINDS
        if booked.call:
            kinds[booked.call].append(booked.row.kind)
    for call, ends in kinds.items():
        served = [end for end in ends if end == ANSWER or end in AVOIDED]
        assert len(served) <= 1, f"call {call} was served {len(served)} times: {served}"
    for unit in ("tokens", "usd"):
        served, overhead, billed, avoided = (
            sum(cost[f"{name}_{unit}"] for cost in books.sums)
            for name in ("served", "overhead", "billed", "avoided")
        )
        assert abs(served + overhead - billed - avoided) < 1e-6, f"{unit} do not add up"
    for name, of in (("billed", BILLED), ("avoided", AVOIDED), ("overhead", OVERHEAD)):
        on_disk = sum(count(b.row.tokens) for b in books.rows if b.row.kind in of)
        in_memory = sum(cost[f"{name}_tokens"] for cost in books.sums)
        assert on_disk == in_memory, f"{name}: {on_disk} tokens on disk, {in_memory} in memory"
