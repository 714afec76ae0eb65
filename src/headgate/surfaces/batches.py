"""`/v1/batches`: jobs in the words of OpenAI's batch API."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.canonical import parse_object
from headgate.core.units import parse_duration
from headgate.errors import BadRequest
from headgate.jobs.base import InUse
from headgate.jobs.model import Job, JobOptions, LineProblem
from headgate.jobs.states import (
    CACHE_HIT,
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    JOB_CANCELLED,
    JOB_ENDS,
    JOB_EXPIRED,
    JOB_FAILED,
    SUCCEEDED,
    VALIDATING,
)
from headgate.surfaces.batch_asked import Asked, page, unknown
from headgate.surfaces.files import result_ids
from headgate.surfaces.job_desk import Desk
from headgate.surfaces.operations import Answer
from headgate.surfaces.receiving import read_body
from headgate.surfaces.submission import Submission, Wanted
from headgate.types import Usage

DIALECT = "openai"
LIST, LIST_MAX = 20, 100
WINDOW_MIN_S, WINDOW_MAX_S = 60.0, 7 * 86_400.0
METADATA_MAX, NAME_CHARS_MAX, VALUE_CHARS_MAX = 16, 64, 512
BODY_MAX_BYTES = 100_000


class Batches:
    """Jobs of one tenant at a time, those that were made by this route."""

    def __init__(self, desk: Desk, submission: Submission) -> None:
        self._desk = desk
        self._submission = submission

    async def create(self, asked: Asked) -> Answer:
        """A job from an uploaded file. A bad file makes a job that has failed, as OpenAI does."""
        body = await read_body(asked.head.announced_bytes, asked.receive, BODY_MAX_BYTES)
        file_id, wanted = _wanted(parse_object(body))
        file = await self._desk.look(lambda store: store.file(file_id, asked.tenant))
        if file is None:
            raise unknown("file", file_id)
        job = await self._submission.submit(asked, file, wanted)
        return _said(shown(job))

    async def list(self, asked: Asked) -> Answer:
        """Newest first."""
        limit, after = asked.limit(LIST, LIST_MAX), asked.query.get("after", "")
        if after:
            await self._find(asked, after)
        found = (
            await self._desk.look(lambda store: store.jobs(asked.tenant, after, limit + 1, DIALECT))
            or []
        )
        data = [shown(job) for job in found[:limit]]
        return _said(page(data, has_more=len(found) > limit))

    async def show(self, asked: Asked) -> Answer:
        """One job, with its tokens when it has ended."""
        job = await self._find(asked, asked.id)
        usage = None
        if job.state in JOB_ENDS and job.total:
            usage = await self._desk.make(lambda store: store.usage(job.id))
        return _said(shown(job, usage))

    async def cancel(self, asked: Asked) -> Answer:
        """Asks a job to end; what it has by then stays."""
        job = await self._find(asked, asked.id)
        if job.state in JOB_ENDS:
            raise BadRequest(
                f"this batch has ended ({job.state}): there is nothing to cancel",
                status=409,
                code="batch_ended",
            )
        cancelled = await self._desk.make(lambda store: store.ask_cancel(job.id, asked.tenant))
        return _said(shown(cancelled or job))

    async def remove(self, asked: Asked) -> Answer:
        """Forgets a job that has ended, with its results; OpenAI's API has no such thing."""
        job = await self._find(asked, asked.id)
        try:
            await self._desk.make(lambda store: store.remove(job.id, asked.tenant))
        except InUse:
            raise still_running() from None
        return _said({"id": job.id, "object": "batch", "deleted": True})

    async def _find(self, asked: Asked, job_id: str) -> Job:
        job = await self._desk.look(lambda store: store.job(job_id, asked.tenant))
        if job is None or job.options.dialect != DIALECT:
            raise unknown("batch", job_id)
        return job


def still_running() -> BadRequest:
    """A job that has not ended is to be forgotten."""
    return BadRequest(
        "this batch has not ended: cancel it first", status=409, code="batch_not_ended"
    )


def shown(job: Job, usage: Usage | None = None) -> dict[str, Any]:
    """A job, as the SDK reads it."""
    output_id, error_id = result_ids(job)
    good = job.counts.get(SUCCEEDED, 0) + job.counts.get(CACHE_HIT, 0)
    bad = sum(job.counts.get(state, 0) for state in (FAILED, EXPIRED, CANCELLED))
    has_begun = job.state not in (VALIDATING, JOB_FAILED)
    is_over = job.state in (COMPLETED, JOB_EXPIRED, JOB_CANCELLED)
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "errors": _errors(job.errors),
        "input_file_id": job.input_file_id,
        "completion_window": job.options.window,
        "status": job.state,
        "output_file_id": output_id,
        "error_file_id": error_id,
        "created_at": int(job.created_s),
        "in_progress_at": int(job.created_s) if has_begun else None,
        "expires_at": int(job.deadline_s),
        "finalizing_at": _at(job.ended_s, is_over),
        "completed_at": _at(job.ended_s, job.state == COMPLETED),
        "failed_at": _at(job.ended_s, job.state == JOB_FAILED),
        "expired_at": _at(job.ended_s, job.state == JOB_EXPIRED),
        "cancelling_at": _at(job.cancel_asked_s, True),
        "cancelled_at": _at(job.ended_s, job.state == JOB_CANCELLED),
        "request_counts": {"total": job.total, "completed": good, "failed": bad},
        "metadata": job.options.metadata or None,
        "usage": None if usage is None else _usage(usage),
    }


def _at(moment_s: float | None, is_so: bool) -> int | None:
    return int(moment_s) if is_so and moment_s is not None else None


def _errors(problems: tuple[LineProblem, ...]) -> dict[str, Any] | None:
    if not problems:
        return None
    told = [
        {
            "code": problem.code,
            "message": problem.message,
            "param": problem.param or None,
            "line": problem.line or None,
        }
        for problem in problems
    ]
    return {"object": "list", "data": told}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.tokens_in,
        "input_tokens_details": {"cached_tokens": usage.tokens_cached},
        "output_tokens": usage.tokens_out,
        "output_tokens_details": {"reasoning_tokens": usage.tokens_reasoning},
        "total_tokens": usage.tokens_in + usage.tokens_out,
    }


def _wanted(fields: dict[str, Any]) -> tuple[str, Wanted]:
    """The input file's id, and what a request for a batch says besides. Raises BadRequest."""
    known = {"input_file_id", "endpoint", "completion_window", "metadata"}
    for name in fields.keys() - known:
        raise BadRequest(
            f'"{name[:80]}" is not known here; known: {", ".join(sorted(known))}',
            code="unsupported_parameter",
        )
    file_id, endpoint, window = (
        _text(fields, name) for name in ("input_file_id", "endpoint", "completion_window")
    )
    options = JobOptions(metadata=_metadata(fields.get("metadata")), window=window, dialect=DIALECT)
    return file_id, Wanted(endpoint, _window_s(window), options)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 100:
        raise BadRequest(f'"{name}" must be a string', code="missing_parameter")
    return value


def _window_s(text: str) -> float:
    try:
        window_s = parse_duration(text)
    except ValueError as error:
        raise BadRequest(f'"completion_window": {error}') from None
    if not WINDOW_MIN_S <= window_s <= WINDOW_MAX_S:
        raise BadRequest('"completion_window" must be from 1m to 7d, for instance 24h')
    return window_s


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    is_good = isinstance(value, dict) and len(value) <= METADATA_MAX
    if not is_good or not all(
        isinstance(text, str) and len(name) <= NAME_CHARS_MAX and len(text) <= VALUE_CHARS_MAX
        for name, text in value.items()
    ):
        raise BadRequest(
            f'"metadata" holds at most {METADATA_MAX} strings of {VALUE_CHARS_MAX} characters, '
            f"under names of {NAME_CHARS_MAX}"
        )
    return dict(value)


def _said(value: Any) -> Answer:
    return Answer(200, msgspec.json.encode(value))
