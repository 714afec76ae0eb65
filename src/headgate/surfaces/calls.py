"""The log of calls as `GET /api/calls` shows it: which calls are asked for, and each with its why.

Shared with the command line through HTTP only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from headgate.calllog import CallRecord
from headgate.calllog_causes import Causes
from headgate.calllog_shown import described, explained
from headgate.core.units import parse_duration
from headgate.errors import BadRequest
from headgate.runtime import Runtime

LIMIT = 50
LIMIT_MAX = 1000
SLOW_S = 1.0
_KNOWN = ("call", "cache", "limit", "model", "slow")


class Asked(Struct, frozen=True):
    """Which calls are asked for; the conditions are joined with *and*."""

    limit: int = LIMIT
    call: str = ""
    model: str = ""
    cache: str = ""
    """How the cache took part: hit, miss, ..."""
    slow_s: float | None = None
    """Only calls that took at least so long; the slowest first."""


def read_asked(fields: Mapping[str, str]) -> Asked:
    """The query of a request. Raises BadRequest."""
    for name in fields:
        if name not in _KNOWN:
            raise BadRequest(f"unknown field {name[:80]!r}; known: {', '.join(_KNOWN)}")
    limit = fields.get("limit", str(LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= LIMIT_MAX):
        raise BadRequest(f'"limit" must be a number from 1 to {LIMIT_MAX}')
    try:
        slow_s = parse_duration(fields["slow"] or SLOW_S) if "slow" in fields else None
    except ValueError as error:
        raise BadRequest(str(error)) from None
    wanted = {name: fields.get(name, "") for name in ("call", "model", "cache")}
    return Asked(limit=int(limit), slow_s=slow_s, **wanted)


def shown_calls(runtime: Runtime, asked: Asked) -> dict[str, Any]:
    """`{"calls": [...], "kept": N}`: the last ones first, or the slowest. Raises BadRequest (404)
    for one call that is not there."""
    log = runtime.calls
    records = log.records()
    causes = Causes(log.entered())
    found = [record for record in reversed(records) if _is_asked(record, asked)]
    if asked.call and not found:
        message = f"no call {asked.call[:40]!r} is among the last ones that this process remembers"
        raise BadRequest(message, status=404, code="no_such_call")
    if asked.slow_s is not None:
        found.sort(key=_took_s, reverse=True)
    shown = []
    for record in found:
        one = described(record, log)
        if asked.cache in ("", one["cache"]):
            shown.append({**one, "why": explained(causes.of(record))})
        if len(shown) == asked.limit:
            break
    return {"calls": shown, "kept": len(records)}


def _is_asked(record: CallRecord, asked: Asked) -> bool:
    return (
        asked.call in ("", record.name)
        and asked.model in ("", record.model)
        and _took_s(record) >= (asked.slow_s or 0.0)
    )


def _took_s(record: CallRecord) -> float:
    return (record.ended_s or record.started_s) - record.started_s
