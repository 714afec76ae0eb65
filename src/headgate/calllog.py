"""The log of calls of one process: the last ones, in memory, without a word of prompt or answer.

A hit leaves one tuple and is described when somebody looks; everything else leaves one record. Both
are bounded by themselves, so that many hits do not push out the misses that they are explained by.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from headgate.account import Account
from headgate.clock import Clock
from headgate.core.booking import AVOIDED_EXACT, FAILED, LEFT, Spared, priced_row, spared_row
from headgate.core.client import Client
from headgate.core.difference import Print, print_of
from headgate.core.fingerprint import BEHAVIOUR_HEADERS, without_shape
from headgate.core.money import Price
from headgate.core.verdict import exception_error, status_error
from headgate.stream import Whole
from headgate.trail import Trail
from headgate.types import (
    NO_CONTROLS,
    Call,
    Controls,
    Entry,
    Invocation,
    Provenance,
    Reply,
    WireRequest,
)

BODY_MAX_BYTES = 256_000
"""Larger requests are compared by their key alone: taking them apart would take too long."""
NODES_MAX = 50_000
"""Values of all prints together, about 5 MB; beyond, the oldest calls lose theirs."""
_NO_PRINT = (msgspec.MsgspecError, TypeError, ValueError, RecursionError)
"""Of what is no JSON, or changes while it is looked at."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode
Moment = tuple[int, int]
"""How often entries were removed by hand, and how many were evicted."""
Tell = Callable[["CallRecord | Hit"], None]


class Hit(NamedTuple):
    """A call that memory answered before any layer was entered."""

    number: int
    started_s: float
    ended_s: float
    plan: Any
    """`admission.Plan`: operation, model, key, scope, streamed."""
    entry: Any
    """Usage, target and age of the entry; the entry itself would keep its content alive."""


class CallRecord(Struct):
    """One call. Times are seconds of the monotonic clock."""

    number: int
    """In the order of beginning, hits of memory included."""
    name: str
    operation: str
    model: str
    key: bytes
    scope: bytes
    streamed: bool
    started_s: float
    controls: Controls = NO_CONTROLS
    bypass: str = ""
    who: str = ""
    """`TENANT/ID` of the client's key, where clients have keys of ours."""
    owner: int = 0
    """Stands for the tenant, or the credential that came with it; 0 where there was none."""
    moment: Moment = (0, 0)
    trail: Trail | None = None
    head_s: float | None = None
    """When its answer, or the head of it, was here."""
    ended_s: float | None = None
    provenance: Provenance = Provenance()
    status: int = 0
    error: str = ""
    print: Print | None = None
    content: dict[str, str] | None = None
    """What was asked and answered, for whoever is told and wants it; never kept."""


class Sources(NamedTuple):
    """What a log asks others: today's prices, what was removed, and which fields are in no key."""

    price: Callable[[str, str], Price | None]
    moment: Callable[[], Moment]
    ignored: frozenset[str] = frozenset()


class CallLog:
    """Keeps the last `most` calls that memory answered, and the last `most` others; 0 keeps none.
    Safe from any thread. One made with `before` goes on with what that one has."""

    def __init__(
        self, most: int, clock: Clock, sources: Sources, name: str, before: CallLog | None = None
    ) -> None:
        self.most = most
        self.clock = clock
        self.sources = sources
        self.name: str = name if before is None else before.name
        """Of this process: no two have the same."""
        self.tell: Tell | None = None if before is None else before.tell
        """Is told of each call that has ended; must not wait, and may keep what it is told."""
        self.content_bytes: int = 0 if before is None else before.content_bytes
        """How much of each request and answer `tell` gets: usually nothing."""
        self._hits: deque[Hit] = deque(() if before is None else before._hits, most)
        self._others: deque[CallRecord] = deque(() if before is None else before._others, most)
        self._printed: deque[CallRecord] = deque(() if before is None else before._printed)
        self._nodes: int = 0 if before is None else before._nodes
        self._numbers: Iterator[int] = itertools.count(1) if before is None else before._numbers
        self._born_s: float = clock.monotonic() if before is None else before._born_s
        # Once, or a call would be shown at another moment each time.
        self.epoch_offset_s: float = clock.epoch() - clock.monotonic()
        """What makes seconds since 1970 of a moment of the monotonic clock."""
        self._keep_hit = self._hits.append

    @property
    def is_on(self) -> bool:
        """Whether anything is kept, or told."""
        return self.most > 0 or self.tell is not None

    def hit(self, plan: Any, entry: Entry, started_s: float, ended_s: float) -> None:
        """Memory answered a call."""
        about = (entry.usage, entry.target, entry.created_s, entry.expires_s)
        hit = Hit(next(self._numbers), started_s, ended_s, plan, about)
        self._keep_hit(hit)
        if self.tell is not None:
            self.tell(hit)

    def open(self, call: Call, account: Account, started_s: float) -> CallRecord:
        """A call enters the stack."""
        account.trail = trail = Trail(self.clock.monotonic)
        record = CallRecord(
            next(self._numbers), account.name, call.operation, call.model, call.key, call.scope,
            call.streamed, started_s, call.controls, call.bypass, _who(call.client),
            moment=self.sources.moment(), trail=trail,
        )  # fmt: skip
        if self.most and call.key and isinstance(call.request, Invocation):
            # Its callable may change what it was asked.
            self._take_print(record, call)
        return record

    def answered(self, record: CallRecord, reply: Reply) -> None:
        """Its reply is here, or the head of it."""
        record.head_s = self.clock.monotonic()
        record.provenance, record.status = reply.provenance, reply.status
        if self.content_bytes and isinstance(reply.body, Whole):
            record.content = {"answer": _text(reply.body.content[: self.content_bytes])}
        if reply.status >= 400:
            record.error = status_error(reply.status)

    def close(self, record: CallRecord, call: Call, end: str, error: BaseException | None) -> None:
        """It has ended, as `booking` names it."""
        record.ended_s = self.clock.monotonic()
        if end == LEFT:
            record.error = "cancelled"
        elif end == FAILED:
            broken = "error_in_stream" if error is None else exception_error(error)
            record.error = record.error or broken
        if self.most:
            if call.key and not (record.print or call.bypass or record.provenance.hit):
                self._take_print(record, call)
            self._others.append(record)
        if self.content_bytes and isinstance(call.request, WireRequest):
            asked = _text(call.request.body[: self.content_bytes])
            record.content = {"request": asked, **(record.content or {})}
        if self.tell is not None:
            self.tell(record)

    def records(self) -> list[CallRecord]:
        """The calls that are kept, oldest first by their beginning."""
        # `copy` is one C call that runs no Python: others may append meanwhile.
        found = [*self._others.copy(), *map(self.record_of, self._hits.copy())]
        return sorted(found, key=lambda record: record.number)

    def entered(self) -> list[CallRecord]:
        """Those of them that memory did not answer at once, in the order of their end."""
        return list(self._others.copy())

    def record_of(self, told: CallRecord | Hit) -> CallRecord:
        """What was told, as a record."""
        if isinstance(told, CallRecord):
            return told
        plan, (usage, target, created_s, expires_s) = told.plan, told.entry
        trail = Trail(self.clock.monotonic)
        trail.rows.append(spared_row(Spared(AVOIDED_EXACT, target, usage)))
        now_s = told.ended_s + self.epoch_offset_s
        provenance = Provenance(
            hit=True, age_s=max(0.0, now_s - created_s), ttl_s=expires_s - now_s, target=target
        )
        return CallRecord(
            told.number, f"{self.name}-h{told.number:x}", plan.operation, plan.model, plan.key,
            plan.scope, plan.streamed, told.started_s, who=_who(plan.client), trail=trail,
            head_s=told.ended_s, ended_s=told.ended_s, provenance=provenance, status=200,
        )  # fmt: skip

    def price(self, record: CallRecord) -> None:
        """Looks up prices that were not known when the call ended."""
        trail = record.trail
        if trail is not None:
            trail.rows[:] = [
                priced_row(row, self.sources.price(row.target, row.tier))
                if row.cost_nanos is None
                else row
                for row in trail.rows
            ]

    def process(self) -> dict[str, Any]:
        """Which process this is, and for how long."""
        uptime_s = self.clock.monotonic() - self._born_s
        return {"instance": self.name, "uptime_s": round(uptime_s, 3)}

    def _take_print(self, record: CallRecord, call: Call) -> None:
        try:
            fields = self._fields(call)
            if fields is None:
                return
            record.print = print_of(fields)
        except _NO_PRINT:
            return
        request = call.request
        if call.client is not None:
            record.owner = hash(call.client.share)
        elif isinstance(request, WireRequest) and request.credential:
            record.owner = hash(request.credential)
        self._printed.append(record)
        self._nodes += record.print.nodes
        while self._nodes > NODES_MAX or len(self._printed) > self.most:
            oldest = self._printed.popleft()
            self._nodes -= 0 if oldest.print is None else oldest.print.nodes
            oldest.print = None

    def _fields(self, call: Call) -> dict[str, Any] | None:
        """What the key of `call` is made of, besides scope and route; None where that is unknown,
        or too much."""
        request = call.request
        if isinstance(request, Invocation):
            return None if request.question is None else _question(call.model, request.question)
        if len(request.body) > BODY_MAX_BYTES:
            return None
        fields = _decode(request.body)
        if "stream" in fields or "stream_options" in fields:
            fields = without_shape(call.operation, fields, usage_is_asked=True)
        for name in self.sources.ignored.intersection(fields):
            del fields[name]
        fields["model"] = call.model
        for header in request.headers:
            if header[0] in BEHAVIOUR_HEADERS:
                fields[header[0].decode()] = header[1].decode("latin-1")
        if "?" in request.path:
            fields["query"] = request.path
        return fields


def _who(client: Client | None) -> str:
    return "" if client is None else client.who


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _question(model: str, question: tuple[Any, Any]) -> dict[str, Any]:
    prompt, params = question
    return {**(params or {}), "model": model, "prompt": prompt}


def is_in_scope(record: CallRecord, other: CallRecord) -> bool:
    """Whether `other` may be spoken of to whoever asks about `record`: both are of one scope, of
    one tenant, or came with one credential."""
    return record.scope == other.scope or (record.owner != 0 and record.owner == other.owner)
