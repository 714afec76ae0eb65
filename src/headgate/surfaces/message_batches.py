"""`/v1/messages/batches`: jobs in the words of Anthropic's Message Batches API.

What is sent becomes an input file as it arrives, one line for each request: from there on it is a
job as any other.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from headgate.core.canonical import parse_object
from headgate.core.json_items import Items
from headgate.errors import BadRequest, HeadgateError
from headgate.jobs.base import InUse, JobStore
from headgate.jobs.model import Job, JobOptions, LineProblem, StoredFile
from headgate.jobs.settings import JobsConfig
from headgate.jobs.states import (
    CANCELLED,
    CANCELLING,
    EXPIRED,
    FAILED,
    JOB_ENDS,
    JOB_FAILED,
)
from headgate.surfaces.batch_asked import Asked, Streamed, page, unknown
from headgate.surfaces.batches import still_running
from headgate.surfaces.job_desk import Desk
from headgate.surfaces.operations import Answer
from headgate.surfaces.result_lines import GOOD, anthropic_line
from headgate.surfaces.submission import Submission, Wanted
from headgate.surfaces.uploads import Pieces, items_in, room_for

DIALECT = "anthropic"
ENDPOINT = "/v1/messages"
PURPOSE = "message_batch"
WINDOW, WINDOW_S = "24h", 86_400.0
LIST, LIST_MAX = 20, 1000
SHOWN_MAX = 10
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
_encode = msgspec.json.Encoder().encode


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: msgspec.Raw


class MessageBatches:
    """Jobs of one tenant at a time, those that were made by this route."""

    def __init__(self, desk: Desk, submission: Submission, settings: JobsConfig) -> None:
        self._desk = desk
        self._submission = submission
        self._settings = settings

    async def create(self, asked: Asked) -> Answer:
        """A job from the requests in the body. A bad one is refused with all others."""
        items = Items("requests", self._settings.line_max_bytes)
        most_bytes = self._settings.file_max_bytes
        pieces = Pieces(asked.receive, asked.head.announced_bytes, most_bytes)

        def keep(store: JobStore) -> StoredFile:
            room_for(store, self._settings)
            lines = _lines(items_in(pieces, items))
            return store.add_file(_beside(asked.tenant), PURPOSE, "requests.jsonl", lines)

        file = await self._desk.upload(asked.tenant, keep)
        wanted = Wanted(ENDPOINT, WINDOW_S, JobOptions(window=WINDOW, dialect=DIALECT))
        try:
            job = await self._submission.submit(asked, file, wanted)
        except HeadgateError:
            await self._desk.make(lambda store: store.remove_file(file.id, file.tenant))
            raise
        if job.state == JOB_FAILED:
            await self._desk.make(lambda store: _forget(store, job))
            raise _refused(job.errors)
        return _said(shown(job))

    async def list(self, asked: Asked) -> Answer:
        """Newest first: those after `after_id`, or right before `before_id`."""
        limit = asked.limit(LIST, LIST_MAX)
        after, before = asked.query.get("after_id", ""), asked.query.get("before_id", "")
        if after and before:
            raise BadRequest("send after_id or before_id")
        if after or before:
            await self._find(asked, after or before)
        if before:
            found = (
                await self._desk.look(lambda store: _before(store, asked.tenant, before, limit + 1))
                or []
            )
            kept = found[-limit:]
        else:
            found = (
                await self._desk.look(
                    lambda store: store.jobs(asked.tenant, after, limit + 1, DIALECT)
                )
                or []
            )
            kept = found[:limit]
        return _said(page([shown(job) for job in kept], has_more=len(found) > limit))

    async def show(self, asked: Asked) -> Answer:
        """One job."""
        return _said(shown(await self._find(asked, asked.id)))

    async def results(self, asked: Asked) -> Streamed:
        """A line for each request, in the order in which they were sent; when all have ended."""
        job = await self._find(asked, asked.id)
        if job.state not in JOB_ENDS:
            raise BadRequest(
                "this batch has not ended: its results are there when processing_status is `ended`",
                code="batch_not_ended",
            )
        return Streamed(await self._desk.make(lambda store: _results(store, job)))

    async def cancel(self, asked: Asked) -> Answer:
        """Asks a job to end; what it has by then stays."""
        job = await self._find(asked, asked.id)
        if job.state in JOB_ENDS:
            raise BadRequest("this batch has ended: there is nothing to cancel", code="batch_ended")
        cancelled = await self._desk.make(lambda store: store.ask_cancel(job.id, asked.tenant))
        return _said(shown(cancelled or job))

    async def remove(self, asked: Asked) -> Answer:
        """Forgets a job that has ended, with its requests and results."""
        job = await self._find(asked, asked.id)

        try:
            await self._desk.make(lambda store: _forget(store, job))
        except InUse:
            raise still_running() from None
        return _said({"id": job.id, "type": "message_batch_deleted"})

    async def _find(self, asked: Asked, job_id: str) -> Job:
        job = await self._desk.look(lambda store: store.job(job_id, asked.tenant))
        if job is None or job.options.dialect != DIALECT:
            raise unknown("batch", job_id)
        return job


def shown(job: Job) -> dict[str, Any]:
    """A job, as the SDK reads it. All requests are `processing` until all have ended, as
    Anthropic's are."""
    has_ended = job.state in JOB_ENDS
    status = "canceling" if job.state == CANCELLING else "in_progress"
    counts = job.counts if has_ended else {}
    good = sum(counts.get(state, 0) for state in GOOD)
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": "ended" if has_ended else status,
        "request_counts": {
            "processing": 0 if has_ended else job.total,
            "succeeded": good,
            "errored": counts.get(FAILED, 0),
            "canceled": counts.get(CANCELLED, 0),
            "expired": counts.get(EXPIRED, 0),
        },
        "created_at": _moment(job.created_s),
        "expires_at": _moment(job.deadline_s),
        "ended_at": _moment(job.ended_s),
        "cancel_initiated_at": _moment(job.cancel_asked_s),
        "archived_at": None,
        # Relative to the address that was asked: what Host says may not be how we are reached.
        "results_url": f"/v1/messages/batches/{job.id}/results" if has_ended else None,
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _lines(requests: Iterator[bytes]) -> Iterator[bytes]:
    """Requests as lines of an input file. Raises BadRequest."""
    for place, item in enumerate(requests):
        try:
            # What may hold a name twice, or too many brackets, is none that two readers agree on.
            parse_object(item)
            request = msgspec.json.decode(item, type=_Request)
            if not _NAME.fullmatch(request.custom_id):
                raise BadRequest("custom_id: 1 to 64 of letters, digits, _ and - are a name")
            line = {
                "custom_id": request.custom_id,
                "method": "POST",
                "url": ENDPOINT,
                "body": _on_one_line(bytes(request.params)),
            }
        except (msgspec.MsgspecError, BadRequest) as error:
            raise BadRequest(f"requests.{place}: {error}") from None
        yield _encode(line) + b"\n"


def _on_one_line(params: bytes) -> msgspec.Raw:
    """JSON as it was sent, but for line feeds, which stand between its values only."""
    return msgspec.Raw(params.replace(b"\r", b" ").replace(b"\n", b" "))


def _forget(store: JobStore, job: Job) -> None:
    store.remove(job.id, job.tenant)
    store.remove_file(job.input_file_id, _beside(job.tenant))


def _beside(tenant: str) -> str:
    """To whom files belong that the tenant has not uploaded: `/v1/files` does not show them."""
    return f"{tenant}/messages"


def _refused(problems: tuple[LineProblem, ...]) -> BadRequest:
    """What is wrong with the requests, the first few of them, where Anthropic's words would place
    it."""
    told = [
        f"requests.{problem.line - 1}: {problem.message}" if problem.line else problem.message
        for problem in problems[:SHOWN_MAX]
    ]
    more = len(problems) - len(told)
    if more:
        told.append(f"and {more} more")
    return BadRequest("; ".join(told), code=problems[0].code)


def _results(store: JobStore, job: Job) -> Iterator[bytes]:
    for row in store.results(job.id):
        yield anthropic_line(job.id, row)


def _before(store: JobStore, tenant: str, before: str, limit: int) -> list[Job]:
    """The last of those that come before `before` in the list."""
    last: deque[Job] = deque(maxlen=limit)
    after = ""
    while True:
        some = store.jobs(tenant, after, LIST_MAX, DIALECT)
        for job in some:
            if job.id == before:
                return list(last)
            last.append(job)
        if len(some) < LIST_MAX:
            return list(last)
        after = some[-1].id


def _said(value: Any) -> Answer:
    return Answer(200, msgspec.json.encode(value))
