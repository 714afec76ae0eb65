"""What one call is booked as: rows that add up, whatever happened to it. Pure.

Per call, and so in every sum: `billed = answer + overhead` and `served = answer + avoided`. A row
is billed (an attempt that a provider charges for, or may charge for) or avoided (an answer that
nobody was paid for); which, its kind says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, structs

from headgate.core.money import Price, Tokens, cost_nanos, tokens_of
from headgate.core.outcome import OK, Outcome
from headgate.types import NO_USAGE, Usage

ANSWER, RETRY, AT_RISK = "answer", "retry", "at_risk"
HEDGE_WASTE, ABANDONED = "hedge_waste", "abandoned"
AVOIDED_EXACT, AVOIDED_STALE = "avoided_exact", "avoided_stale"
AVOIDED_FOLLOWER = "avoided_follower"
AVOIDED_BATCH = "avoided_batch"
"""The discount of a provider's batch: it has a price and no tokens, those are the answer's."""

OVERHEAD = frozenset({RETRY, AT_RISK, HEDGE_WASTE, ABANDONED})
"""Billed, but not for an answer that the client received."""
AVOIDED = frozenset({AVOIDED_EXACT, AVOIDED_STALE, AVOIDED_FOLLOWER, AVOIDED_BATCH})
"""Not billed: it would have been, had the call gone upstream alone."""
BILLED = frozenset({ANSWER}) | OVERHEAD
KINDS = (ANSWER, *sorted(OVERHEAD), *sorted(AVOIDED))

ANSWERED, SPARED, FAILED, LEFT = "answered", "spared", "failed", "left"
"""How a call ended: its client received an answer made for it, or one made for another; it failed;
its client left."""

# No status said that it is free, and no usage what it cost.
_LET_GO = frozenset({"left", "deadline"})
# Answered, only that we could not use it: it was made, and is billed.
_UNUSABLE = frozenset({"bad_payload", "reply_too_large"})


class Attempt(Struct, frozen=True):
    """One attempt that has ended. `usage` is what the provider reported, `estimate` what it will
    have counted where it reported nothing, or not to the end."""

    target: str
    outcome: Outcome
    usage: Usage = NO_USAGE
    estimate: Usage = NO_USAGE
    price: Price | None = None
    tier: str = ""
    """The service tier that the reply named."""
    is_answer: bool = False
    """It brought a part of the answer, together with others: which, its request knows."""


class Spared(Struct, frozen=True):
    """An answer that cost nothing: its kind is one of `AVOIDED`, its price that of the target that
    made it."""

    kind: str
    target: str
    usage: Usage
    price: Price | None = None
    tier: str = ""


class Row(Struct, frozen=True):
    """What is booked, once, and never changed."""

    kind: str
    target: str
    tokens: Tokens
    cost_nanos: int | None
    """Nano-dollars; None where nobody knows the price: not the same as 0."""
    price_version: str = ""
    is_estimated: bool = False
    calls: int = 1
    """How many calls it stands for: hits of one kind are booked together."""
    tier: str = ""


def rows_of(
    attempts: Sequence[Attempt], end: str, target: str = "", spared: Iterable[Spared] = ()
) -> list[Row]:
    """The rows of a call with these attempts, in their order; `target` is whose answer the client
    received, `spared` what it had of it for nothing."""
    answers = _answers(attempts, target) if end == ANSWERED else ()
    rows = [
        row
        for number, attempt in enumerate(attempts)
        if (row := billed_row(attempt, end, is_answer=number in answers)) is not None
    ]
    if end in (ANSWERED, SPARED):
        rows += [spared_row(part) for part in spared if part.usage != NO_USAGE]
    return rows


def billed_row(attempt: Attempt, end: str, *, is_answer: bool = False) -> Row | None:
    """One attempt of a call that ended like this; None where nothing is billed.

    A refusal with a status costs what usage it reports, and mostly that is nothing. An attempt
    without a final status may be billed: it is booked by its estimate, never as nothing.
    """
    outcome = attempt.outcome
    kind = ANSWER if is_answer else _kind(outcome, end)
    is_known = outcome.kind == OK and is_counted(attempt.usage, attempt.estimate)
    usage = attempt.usage
    if kind != RETRY and not is_known:
        usage = _at_least(attempt.usage, attempt.estimate)
    if not outcome.sent or usage == NO_USAGE:
        return None
    is_estimated = kind != RETRY and not is_known
    tokens = tokens_of(usage)
    row = Row(kind, attempt.target, tokens, None, is_estimated=is_estimated, tier=attempt.tier)
    return priced_row(row, attempt.price)


def is_counted(usage: Usage, estimate: Usage) -> bool:
    """Whether a provider that was heard to the end has counted: the answer too, if it said any."""
    return usage != NO_USAGE and (usage.tokens_out > 0 or not estimate.tokens_out)


def spared_row(spared: Spared, calls: int = 1) -> Row:
    """`calls` answers that cost nothing, at what each would have."""
    tokens = _times(tokens_of(spared.usage), calls)
    row = Row(spared.kind, spared.target, tokens, None, calls=calls, tier=spared.tier)
    return priced_row(row, spared.price)


def priced_row(row: Row, price: Price | None) -> Row:
    """`row` at this price; each of its calls is rounded by itself."""
    if price is None:
        return row
    tokens = row.tokens
    if row.calls != 1:
        tokens = Tokens(*(number // row.calls for number in structs.astuple(tokens)))
    nanos = cost_nanos(price, tokens) * row.calls
    return structs.replace(row, cost_nanos=nanos, price_version=price.version)


def count(tokens: Tokens) -> int:
    """Tokens of every class."""
    return tokens.all_input + tokens.output


def nanos_in(rows: Iterable[Row], kinds: frozenset[str]) -> int | None:
    """Nano-dollars of the rows of these kinds; None if one of them has no price."""
    total = 0
    for row in rows:
        if row.kind in kinds:
            if row.cost_nanos is None:
                return None
            total += row.cost_nanos
    return total


def _answers(attempts: Sequence[Attempt], target: str) -> Sequence[int | None]:
    """Which attempts the client's answer is from: one, or those that say so."""
    parts = [number for number, attempt in enumerate(attempts) if attempt.is_answer]
    return parts or [answer_of(attempts, target)]


def answer_of(attempts: Sequence[Attempt], target: str) -> int | None:
    """Which attempt an answer is from: the last good one of its target."""
    for number in range(len(attempts) - 1, -1, -1):
        attempt = attempts[number]
        if attempt.outcome.kind == OK and target in ("", attempt.target):
            return number
    return None


def _kind(outcome: Outcome, end: str) -> str:
    """Of an attempt whose answer the client did not receive."""
    if outcome.kind == OK or outcome.reason in _LET_GO:
        return HEDGE_WASTE if end == ANSWERED else ABANDONED
    is_open = outcome.uncertain or outcome.reason in _UNUSABLE
    return AT_RISK if is_open else RETRY


def _at_least(usage: Usage, estimate: Usage) -> Usage:
    """Providers report the input first: where there is such a number it is better than ours."""
    return structs.replace(
        usage,
        tokens_in=usage.tokens_in or estimate.tokens_in,
        tokens_out=max(usage.tokens_out, estimate.tokens_out),
    )


def _times(tokens: Tokens, calls: int) -> Tokens:
    return Tokens(*(calls * number for number in structs.astuple(tokens)))
