"""Why a call was, or was not, answered by the cache: from the log of calls alone.

Speaks of other calls only where they are of the same scope, of the same tenant, or came with the
same credential.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from headgate.calllog import CallRecord, is_in_scope
from headgate.core.difference import Change, changes

_ROUTE = Change("where the model leads: the targets in the configuration")


class Cause(Struct, frozen=True):
    """Why a call was served as it was."""

    reason: str
    """Short and countable."""
    text: str
    """For people."""
    compared_with: str = ""
    """The call that it was compared with."""
    earlier_s: float = 0.0
    """How long before that one began."""
    differs: tuple[Change, ...] = ()


_BYPASS = {
    "disabled": "the cache is off for this model",
    "not_cacheable": "answers of this operation are never stored",
    "temperature": "the temperature is above cache.temperature_max",
    "background": "the request is to run in the background at the provider",
    "server_state": "the request uses state kept by the provider",
    "hosted_tools": "the request has tools that the provider runs",
    "remote_media": "the request points to bytes elsewhere",
    "stream": "streams of this operation are not stored",
    "not_json": "something in the arguments is no JSON",
}
_NOT_STORED = {
    "no_store": "its caller sent no-store",
    "stand_in": "another model stood in for the one that was asked for",
    "cleared": "the cache was cleared while it was under way",
    "too_large": "it was larger than cache.entry_max_bytes",
    "truncated": "it was cut off",
    "shape": "it came in the other shape than was asked for",
}


COMPARED_MAX = 100
"""Earlier calls that one is compared with, the latest of those that ask the same."""
_FIRST = Cause("first", "no earlier call of this scope with the same last message is in the log")


class Causes:
    """Explains calls by what is known of them all: `log`, in the order of their end."""

    def __init__(self, log: Iterable[CallRecord]) -> None:
        self._by_key: defaultdict[bytes, list[CallRecord]] = defaultdict(list)
        self._by_anchor: defaultdict[int, list[CallRecord]] = defaultdict(list)
        for record in log:
            self._by_key[record.key].append(record)
            if record.print is not None and record.print.anchor:
                self._by_anchor[record.print.anchor].append(record)

    def of(self, record: CallRecord) -> Cause:
        """Why `record` was answered as it was."""
        alike = [] if record.print is None else self._by_anchor.get(record.print.anchor, [])
        return (
            _own_cause(record)
            or _same_key(record, self._by_key.get(record.key, []))
            or _nearest(record, _before(record, alike))
            or _FIRST
        )


def _before(record: CallRecord, found: list[CallRecord]) -> Iterator[CallRecord]:
    earlier = (other for other in reversed(found) if other.number < record.number)
    return itertools.islice(earlier, COMPARED_MAX)


def _own_cause(record: CallRecord) -> Cause | None:
    """What the call itself explains."""
    provenance = record.provenance
    if provenance.detail == "stale-if-error":
        return Cause("stale", "asking failed, and a stale answer stood in for it")
    if provenance.hit:
        return Cause("hit", f"answered by the cache, {provenance.age_s:.0f} s after it was stored")
    if provenance.collapsed:
        return Cause("joined", "joined an identical call that was under way")
    if record.bypass:
        text = _BYPASS.get(record.bypass, "it may not be answered by the cache")
        return Cause(f"bypass:{record.bypass}", f"the cache was not asked: {text}")
    if not record.controls.may_read:
        return Cause("no_cache", "the caller sent no-cache or no-store: the cache was not asked")
    return None


def _same_key(record: CallRecord, log: Iterable[CallRecord]) -> Cause | None:
    """What became of the answer of the last identical call that went upstream."""
    earlier = [
        other
        for other in log
        if other.scope == record.scope
        and other.number < record.number
        and not (other.provenance.hit or other.provenance.collapsed)
    ]
    if not (earlier and record.key):
        return None
    last = max(earlier, key=lambda other: other.number)
    reason, text = _fate(record, last)
    return Cause(reason, text, last.name, record.started_s - last.started_s)


def _fate(record: CallRecord, last: CallRecord) -> tuple[str, str]:
    trail = last.trail
    stored_s = None if trail is None else trail.stored_s
    if last.ended_s is None or (stored_s or last.ended_s) > record.started_s:
        return "under_way", "an identical call was under way, which it could not join"
    if trail is None or stored_s is None:
        why = "" if trail is None else trail.not_stored
        if last.error and not why:
            return "failed", f"the identical call before failed: {last.error}"
        text = _NOT_STORED.get(why, why.replace("_", " ") or "it has none")
        return f"not_stored:{why}" if why else "not_stored", f"its answer was not stored: {text}"
    age_s = record.started_s - stored_s
    if age_s >= trail.ttl_s:
        return "expired", f"the stored answer had expired {age_s - trail.ttl_s:.1f} s before"
    controls = record.controls
    limits = [limit for limit in (controls.max_age_s, controls.ttl_s) if limit is not None]
    if limits and age_s >= min(limits):
        return (
            "too_old",
            f"the stored answer was {age_s:.1f} s old, the caller takes {min(limits):g}",
        )
    return _removal(record, last)


def _removal(record: CallRecord, last: CallRecord) -> tuple[str, str]:
    """What happened to an entry that should still be there."""
    cleared = record.moment[0] != last.moment[0]
    evicted = record.moment[1] != last.moment[1]
    if cleared and evicted:
        return "removed", "the stored answer was cleared, or evicted to make room"
    if cleared:
        return "cleared", "the stored answer was cleared"
    if evicted:
        return "evicted", "the stored answer was evicted to make room (cache.maxsize, max_bytes)"
    if record.streamed != last.streamed:
        return (
            "shape",
            "the stored answer cannot be turned into the shape asked for (stream, whole)",
        )
    return "gone", "the stored answer was not kept: too large for memory, or removed elsewhere"


def _nearest(record: CallRecord, log: Iterable[CallRecord]) -> Cause | None:
    """The most alike of the earlier calls that ask the same, by what differs."""
    found: list[tuple[int, int, CallRecord, list[Change]]] = []
    for other in log:
        if _is_comparable(record, other):
            differs = _differing(other, record)
            found.append((len(differs), -other.number, other, differs))
    if not found:
        return None
    _, _, other, differs = min(found, key=lambda one: one[:2])
    earlier_s = record.started_s - other.started_s
    fields = ", ".join(map(spelled, differs))
    text = f"differs from call {other.name}, {earlier_s:.0f} s earlier, in: {fields}"
    return Cause("differs", text, other.name, earlier_s, tuple(differs))


def _is_comparable(record: CallRecord, other: CallRecord) -> bool:
    has_both = record.print is not None and other.print is not None
    return has_both and other.key != record.key and is_in_scope(record, other)


def _differing(other: CallRecord, record: CallRecord) -> list[Change]:
    if other.print is None or record.print is None:
        return []
    differs = changes(other.print, record.print)
    if other.operation != record.operation:
        was_now = other.operation, record.operation
        differs.insert(0, Change("operation", "changed", *was_now, is_shown=True))
    was, now = other.controls.namespace, record.controls.namespace
    if was != now:
        differs.insert(0, Change("namespace", was=was, now=now, is_shown=True))
    return differs or [_ROUTE]


def spelled(change: Change) -> str:
    """One difference for people: `temperature (0 -> 0.7)`."""
    if change.is_shown:
        return f"{change.field} ({_value(change.was)} -> {_value(change.now)})"
    return change.field if change is _ROUTE else f"{change.field} {change.kind}"


def _value(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
