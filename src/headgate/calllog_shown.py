"""One call of the log as JSON shows it: names, numbers and digests, no word of prompt or answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from headgate.calllog import CallLog, CallRecord
from headgate.calllog_causes import Cause
from headgate.core.booking import ANSWER, AVOIDED, BILLED, Row, nanos_in
from headgate.core.money import Tokens, dollars
from headgate.trail import Try
from headgate.types import Controls

_FUNCTION = "function"
_KEY_BYTES = 8
_SCOPE_BYTES = 8
"""As the ledger's tenant."""


def described(record: CallRecord, log: CallLog) -> dict[str, Any]:
    """One call; milliseconds where the name says so, dollars as exact text, None where unknown."""
    log.price(record)
    trail = record.trail
    rows: Sequence[Row] = [] if trail is None else trail.rows
    tries: Sequence[Try] = [] if trail is None else trail.tries
    at = datetime.fromtimestamp(record.started_s + log.epoch_offset_s, UTC)
    cache, why = _cache(record)
    tenant, _, client = record.who.partition("/")
    return {
        "call": record.name,
        "at": at.isoformat(timespec="milliseconds"),
        "operation": record.operation,
        "model": record.model,
        "target": record.provenance.target or (tries[-1].target if tries else ""),
        "key": record.key[:_KEY_BYTES].hex(),
        "tenant": tenant or record.scope[:_SCOPE_BYTES].hex(),
        "client": client,
        "namespace": record.controls.namespace,
        "stream": record.streamed,
        "status": record.status or None,
        "error": record.error,
        "cache": cache,
        "cache_reason": why,
        "stored": trail is not None and trail.stored_s is not None,
        "not_stored": "" if trail is None else trail.not_stored,
        "queue_ms": _ms(record.started_s, min((one.began_s for one in tries), default=None)),
        "first_ms": _ms(record.started_s, record.head_s),
        "total_ms": _ms(record.started_s, record.ended_s),
        "attempts": [_attempt(record, one) for one in tries],
        "tokens": _tokens(rows),
        "cost_usd": _dollars(rows, BILLED, record),
        "saved_usd": _dollars(rows, AVOIDED, record),
    }


def explained(cause: Cause) -> dict[str, Any]:
    """Why it was served as it was."""
    return {
        "reason": cause.reason,
        "text": cause.text,
        "compared_with": cause.compared_with or None,
        "earlier_s": round(cause.earlier_s, 3) if cause.compared_with else None,
        "differs": [
            {"field": one.field, "kind": one.kind}
            | ({"was": one.was, "now": one.now} if one.is_shown else {})
            for one in cause.differs
        ],
    }


def _cache(record: CallRecord) -> tuple[str, str]:
    """How the cache took part, and why not, where it did not."""
    provenance = record.provenance
    if provenance.hit:
        return "hit", ""
    if provenance.detail == "stale-if-error":
        return "stale", ""
    if provenance.collapsed:
        return "joined", ""
    if record.bypass:
        return "bypass", record.bypass
    return ("miss", "") if record.controls.may_read else ("bypass", _said(record.controls))


def _said(controls: Controls) -> str:
    return "no_cache" if controls.may_store else "no_store"


def _attempt(record: CallRecord, attempt: Try) -> dict[str, Any]:
    return {
        "target": attempt.target,
        "outcome": attempt.reason or "under way",
        "status": attempt.status or None,
        "began_ms": _ms(record.started_s, attempt.began_s),
        "first_ms": _ms(attempt.began_s, attempt.first_s),
        "total_ms": _ms(attempt.began_s, attempt.ended_s),
    }


def _tokens(rows: Sequence[Row]) -> dict[str, int]:
    """Of the answer that the client received, by class; none where it received none."""
    served = [row.tokens for row in rows if row.kind == ANSWER or row.kind in AVOIDED]
    tokens = served[-1] if served else Tokens()
    return {
        "input": tokens.input,
        "cache_read": tokens.cache_read,
        "cache_write": tokens.cache_write + tokens.cache_write_1h,
        "output": tokens.output,
    }


def _dollars(rows: Sequence[Row], kinds: frozenset[str], record: CallRecord) -> str | None:
    """What a callable costs, nobody knows here."""
    nanos = None if record.operation == _FUNCTION else nanos_in(rows, kinds)
    return None if nanos is None else dollars(nanos)


def _ms(began_s: float, ended_s: float | None) -> float | None:
    return None if ended_s is None else round((ended_s - began_s) * 1000, 3)
