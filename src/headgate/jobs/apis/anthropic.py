"""Anthropic's Message Batches: all items in one request, one stream of results. There is no
metadata that a batch could be found by; the names of its items begin with our token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import BinaryIO
from urllib.parse import quote

import msgspec
from msgspec import Struct

from headgate.jobs.apis.asking import Asking
from headgate.jobs.apis.base import AGAIN, BAD, ENDED, GOOD, RUNNING, Answer, Asked, Handed, Remote
from headgate.jobs.apis.reading import Listed, answers_in, newest, shaped
from headgate.providers.wire import Upload

_STATUS = {"invalid_request_error": 400, "authentication_error": 401, "billing_error": 402,
           "permission_error": 403, "not_found_error": 404, "request_too_large": 413}  # fmt: skip
"""Kinds of errors that are final, and the status of each."""
_NEVER_BEGUN = frozenset({"canceled", "expired"})


class _Counts(Struct):
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class _Batch(Struct):
    id: str
    processing_status: str = ""
    created_at: str = ""
    request_counts: _Counts | None = None
    results_url: str | None = None


class _Page(Struct):
    data: list[_Batch]
    has_more: bool | None = False


class _Result(Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Line(Struct):
    custom_id: str
    result: _Result


class _Error(Struct):
    type: str = ""
    message: str = ""


class _ErrorBody(Struct):
    error: _Error


class AnthropicBatches:
    """A `BatchApi`."""

    takes_files = False

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def pack(self, file: BinaryIO, handed: Handed, items: Iterable[Asked]) -> None:
        """The body of the request that makes the batch."""
        before = b'{"requests":['
        for item in items:
            file.write(before + b'{"custom_id":"%b","params":' % item.name.encode())
            file.write(item.body + b"}")
            before = b","
        file.write(b"]}")

    async def upload(self, handed: Handed, content: Upload) -> str:
        """There are no files here."""
        raise NotImplementedError

    async def create(self, handed: Handed, content: Upload) -> Remote:
        reply = await self._asking.do("POST", "/messages/batches", content, is_repeatable=False)
        return _remote(shaped(reply, _Batch))

    async def retrieve(self, batch_id: str) -> Remote:
        reply = await self._asking.do("GET", _path(batch_id))
        return _remote(shaped(reply, _Batch))

    async def cancel(self, batch_id: str) -> None:
        await self._asking.do("POST", f"{_path(batch_id)}/cancel")

    def results(self, remote: Remote) -> AsyncIterator[Answer]:
        return answers_in(self._asking, remote.files, answer_in)

    def recent(self, since_s: float) -> AsyncIterator[Remote]:
        listed = Listed("/messages/batches", "after_id", _Page, _remote)
        return newest(self._asking, listed, since_s)

    async def aclose(self) -> None:
        await self._asking.aclose()


def answer_in(line: bytes) -> Answer | None:
    """What a line of results says; None for what is none."""
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    name, result = found.custom_id, found.result
    if result.type == "succeeded" and result.message:
        return Answer(name, GOOD, 200, bytes(result.message))
    if result.type == "errored":
        return _errored(name, bytes(result.error))
    is_billed = result.type not in _NEVER_BEGUN
    return Answer(name, AGAIN, code=f"batch_{result.type[:32]}", may_be_billed=is_billed)


def _errored(name: str, body: bytes) -> Answer:
    """Errors are not billed."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Answer(name, AGAIN, code="batch_errored")
    status = _STATUS.get(error.type)
    if status is None:
        return Answer(name, AGAIN, 0, body, error.type, error.message)
    return Answer(name, BAD, status, body, error.type, error.message)


def _remote(batch: _Batch) -> Remote:
    counts = batch.request_counts or _Counts()
    has_ended = batch.processing_status == "ended"
    # Not where `results_url` leads: no reply names a host that our key is sent to.
    has_results = has_ended and batch.results_url is not None
    return Remote(
        id=batch.id,
        state=ENDED if has_ended else RUNNING,
        created_s=_stamp(batch.created_at),
        count=sum(msgspec.structs.astuple(counts)),
        files=(f"{_path(batch.id)}/results",) if has_results else (),
    )


def _path(batch_id: str) -> str:
    return f"/messages/batches/{quote(batch_id, safe='')}"


def _stamp(text: str) -> float:
    """Seconds since 1970; 0 for what is no time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
