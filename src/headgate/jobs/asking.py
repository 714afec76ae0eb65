"""Asks lines of a job on the ordinary path, exactly as the gateway would for the job's tenant: the
same key and scope, the cache, joining, limits, retries, breakers and books.

A line that nobody can answer ends here. One that may be answered later raises `Again`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from headgate.admission import Admission, Plan, Way
from headgate.admission_head import Head, read_head
from headgate.config import Config
from headgate.core.client import Client
from headgate.core.fingerprint import scope_of, scope_of_tenant, sender_of
from headgate.core.money import cost_nanos, tokens_of
from headgate.errors import (
    BreakerOpen,
    Closed,
    HeadgateError,
    QueueFull,
    RateLimited,
    SpendExhausted,
    UpstreamFailed,
    UpstreamTooLarge,
)
from headgate.jobs.lines import OPERATIONS
from headgate.jobs.model import LIVE, Item, Job, Settled
from headgate.jobs.states import CACHE_HIT, FAILED, SUCCEEDED
from headgate.runtime import Runtime
from headgate.spending import reported_usage
from headgate.stream import Whole
from headgate.types import Call, Entry, Headers, Reply

_JSON = (b"content-type", b"application/json")
_VERSION = (b"anthropic-version", b"2023-06-01")
_FAILS = 400
_LATER = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may be answered."""
_CROWDED = frozenset({429, 503, 529})
"""Those that say something of the provider, not of the line."""


class Again(Exception):
    """This line may be answered later."""

    def __init__(
        self, code: str, message: str, *, concerns_all: bool, billed: bool, after_s: float | None
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.concerns_all = concerns_all
        """Other lines would hear the same now."""
        self.billed = billed
        """It may be billed: it was sent, and nobody has said what became of it."""
        self.after_s = after_s
        """How long to wait by somebody's word."""


class Question(NamedTuple):
    """A line that is to be asked."""

    item: Item
    body: bytes
    plan: Plan


class _Line(msgspec.Struct):
    body: msgspec.Raw


class TenantAdmission(Admission):
    """Admission for the jobs of one tenant, whose credential nobody has any more."""

    # The lines of a job are asked once each: there is no use in remembering their plans.
    plans_max = 1

    def __init__(self, config: Config, tenant: str) -> None:
        super().__init__(config)
        self._tenant = tenant

    def _scope(self, head: Head) -> bytes:
        if not self._tenant:
            # The command line: as somebody who sends no credential to the gateway.
            return scope_of(b"credential", sender_of(()))
        return scope_of_tenant(self._tenant)

    def _way(self, asked: str, operation: str, *, has_client: bool) -> Way:
        """Clients' lines go to providers that have a key of ours, or need none: theirs is not
        kept."""
        return super()._way(asked, operation, has_client=has_client or bool(self._tenant))


class Asker:
    """Asks the lines of one job. On the home loop of `runtime`."""

    def __init__(self, runtime: Runtime, job: Job, client: Client | None = None) -> None:
        self._runtime = runtime
        self._admission = TenantAdmission(runtime.config, job.tenant)
        self._operation, self._path = OPERATIONS[job.endpoint], job.endpoint.removeprefix("/v1")
        head = read_head(_headers(job, self._operation))
        self._head = head if client is None else msgspec.structs.replace(head, client=client)

    def look(self, item: Item, line: bytes) -> Question | Settled:
        """How the line ends, where memory has its answer or it cannot be asked; else what to
        `ask`."""
        try:
            body = bytes(msgspec.json.decode(line, type=_Line).body)
            plan, entry = self._runtime.find(
                self._operation, self._head, body, b"", self._admission
            )
        except msgspec.MsgspecError as error:
            return _failed(item, "invalid_request", f"the line cannot be read any more: {error}")
        except HeadgateError as error:
            return _failed(item, error.code, error.message)
        return Question(item, body, plan) if entry is None else self._stored(item, entry)

    async def find(self, item: Item, line: bytes) -> Question | Settled:
        """As `look`, and in the tier below memory."""
        found, tiers = self.look(item, line), self._runtime.tiers
        if isinstance(found, Settled) or found.plan.bypass or tiers.below is None:
            return found
        entry = await tiers.find(self._call(found.body, found.plan))
        return found if entry is None or entry.kind != "whole" else self._stored(item, entry)

    def call_of(self, line: bytes) -> Call | None:
        """The call that a line is; None where it cannot be read, or asked, any more."""
        try:
            body = bytes(msgspec.json.decode(line, type=_Line).body)
            plan = self._admission.plan(self._operation, self._head, body, b"")
        except (msgspec.MsgspecError, HeadgateError):
            return None
        return self._call(body, plan)

    def _call(self, body: bytes, plan: Plan) -> Call:
        return self._admission.call(self._path, self._head, body, plan)

    async def ask(self, question: Question) -> Settled:
        """How the line ends. Raises Again, and Closed."""
        item, body, plan = question
        try:
            reply = await self._runtime.forward(self._path, self._head, body, plan)
        except Closed:
            raise
        except HeadgateError as error:
            if not _may_pass(error):
                return _failed(item, error.code, error.message)
            sent = isinstance(error, UpstreamFailed) and error.sent
            raise Again(
                error.code, error.message, concerns_all=not isinstance(error, UpstreamFailed),
                billed=sent, after_s=error.retry_after_s,
            ) from error  # fmt: skip
        if not isinstance(reply.body, Whole):
            await reply.body.aclose()
            message = "the provider answered with a stream that nobody asked for"
            return _failed(item, "upstream_garbled", message)
        return self._answered(item, reply, reply.body.content)

    async def know_price(self, target: str) -> None:
        """Waits for the table of prices where it must: what is asked then has its price."""
        await self._runtime.off_loop(lambda: self._runtime.ledger.resolved_price(target))

    def has_spare(self, question: Question, begun: int) -> bool:
        """Whether the target of this line has places and rate that others leave unused, when
        `begun` lines are on their way to it."""
        target, now_s = question.plan.target, self._runtime.clock.monotonic()
        return self._runtime.lanes.has_spare(target.provider, target.model, begun, now_s)

    def _stored(self, item: Item, entry: Entry) -> Settled:
        price = self._runtime.ledger.price(entry.target)
        saved_nanos = 0 if price is None else cost_nanos(price, tokens_of(entry.usage))
        return Settled(
            item.custom_id, CACHE_HIT, entry.status, entry.content, usage=entry.usage,
            saved_cache_nanos=saved_nanos, target=entry.target, lane="",
        )  # fmt: skip

    def _answered(self, item: Item, reply: Reply, content: bytes) -> Settled:
        status, origin = reply.status, reply.provenance
        if status in _LATER or status >= 500:
            raise Again(
                f"status_{status}", f"the provider answered with status {status}",
                concerns_all=status in _CROWDED, billed=False, after_s=_wait_s(reply.headers),
            )  # fmt: skip
        if status >= _FAILS:
            return Settled(
                item.custom_id, FAILED, status, content, cost_nanos=origin.cost_nanos or 0,
                target=origin.target, lane=LIVE,
            )  # fmt: skip
        if origin.hit or origin.collapsed:
            return Settled(
                item.custom_id, CACHE_HIT, status, content, usage=reply.usage,
                saved_cache_nanos=origin.saved_nanos or 0, target=origin.target, lane="",
            )  # fmt: skip
        return Settled(
            item.custom_id, SUCCEEDED, status, content, usage=reported_usage(reply),
            cost_nanos=origin.cost_nanos, target=origin.target, lane=LIVE,
        )  # fmt: skip


def _headers(job: Job, operation: str) -> Headers:
    """Those of the job's maker; of Anthropic's routes at least the version that its SDKs send."""
    said = tuple((name.encode(), value.encode("latin-1")) for name, value in job.options.headers)
    names = {name for name, _ in said}
    version = (_VERSION,) if operation == "messages" and _VERSION[0] not in names else ()
    return (_JSON, *said, *version)


def _failed(item: Item, code: str, message: str) -> Settled:
    return Settled(item.custom_id, FAILED, error_code=code, error_message=message, lane="")


def _may_pass(error: HeadgateError) -> bool:
    """Whether the same line may be answered later."""
    if isinstance(error, UpstreamFailed):
        return not isinstance(error, UpstreamTooLarge)
    if isinstance(error, SpendExhausted):
        return error.retry_after_s is not None
    return isinstance(error, BreakerOpen | RateLimited | QueueFull)


def _wait_s(headers: Headers) -> float | None:
    """A Retry-After in seconds; None for none, and for a date."""
    value = dict(headers).get(b"retry-after", b"")
    return float(value) if value.isdigit() and len(value) < 7 else None
