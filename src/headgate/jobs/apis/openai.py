"""OpenAI's batch API: a file is uploaded, a batch made of it, two files come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec
from msgspec import Struct

from headgate.core.units import format_duration
from headgate.jobs.apis.asking import Asking
from headgate.jobs.apis.base import (
    AGAIN,
    BAD,
    ENDED,
    GOOD,
    INVALID,
    RUNNING,
    Answer,
    Asked,
    Handed,
    Remote,
)
from headgate.jobs.apis.reading import Listed, answers_in, newest, shaped
from headgate.providers.wire import Upload
from headgate.types import Headers

TOKEN = "submit_token"  # noqa: S105
"""Name in a batch's metadata of what it is found by."""
_STATES = {"completed": ENDED, "expired": ENDED, "cancelled": ENDED, "failed": INVALID}
_LATER = frozenset({408, 409, 425, 429})
_NEVER_BEGUN = frozenset({"batch_expired", "batch_cancelled"})
"""Codes of items that nobody has worked on."""


class _Counts(Struct):
    total: int = 0


class _Problem(Struct):
    code: str | None = ""
    message: str | None = ""


class _Problems(Struct):
    data: list[_Problem] | None = None


class _Batch(Struct):
    id: str
    status: str = ""
    created_at: float = 0.0
    request_counts: _Counts | None = None
    metadata: dict[str, Any] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Problems | None = None


class _Page(Struct):
    data: list[_Batch]
    has_more: bool | None = False


class _File(Struct):
    id: str


class _Response(Struct):
    status_code: int | None = 0
    body: msgspec.Raw = msgspec.Raw()


class _Line(Struct):
    custom_id: str
    response: _Response | None = None
    error: _Problem | None = None


class OpenAiBatches:
    """A `BatchApi`."""

    takes_files = True

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def pack(self, file: BinaryIO, handed: Handed, items: Iterable[Asked]) -> None:
        """The form of an upload, its file in it."""
        mark = _boundary(handed)
        file.write(_field(mark, 'name="purpose"') + b"batch\r\n")
        named = f'name="file"; filename="{handed.token}.jsonl"'
        file.write(_field(mark, named, "application/jsonl"))
        url = msgspec.json.encode(handed.endpoint)
        for item in items:
            # The body's own bytes; white space between lines of a pretty one would end the line.
            body = item.body.replace(b"\r", b" ").replace(b"\n", b" ")
            name = item.name.encode()
            file.write(b'{"custom_id":"%b","method":"POST","url":%b,"body":' % (name, url))
            file.write(body + b"}\n")
        file.write(b"\r\n--%b--\r\n" % mark)

    async def upload(self, handed: Handed, content: Upload) -> str:
        """Repeated where it fails: a second file costs nothing, and no batch is made of it."""
        kind = b"multipart/form-data; boundary=%b" % _boundary(handed)
        headers: Headers = ((b"content-type", kind),)
        reply = await self._asking.do("POST", "/files", content, headers)
        return str(shaped(reply, _File).id)

    async def create(self, handed: Handed, content: Upload) -> Remote:
        asked = {
            "input_file_id": handed.file_id,
            "endpoint": handed.endpoint,
            "completion_window": window(handed.window_s),
            "metadata": {TOKEN: handed.token},
        }
        body = msgspec.json.encode(asked)
        reply = await self._asking.do("POST", "/batches", body, is_repeatable=False)
        return _remote(shaped(reply, _Batch))

    async def retrieve(self, batch_id: str) -> Remote:
        reply = await self._asking.do("GET", _path(batch_id))
        return _remote(shaped(reply, _Batch))

    async def cancel(self, batch_id: str) -> None:
        await self._asking.do("POST", f"{_path(batch_id)}/cancel")

    def results(self, remote: Remote) -> AsyncIterator[Answer]:
        paths = [f"/files/{quote(name, safe='')}/content" for name in remote.files]
        return answers_in(self._asking, paths, answer_in)

    def recent(self, since_s: float) -> AsyncIterator[Remote]:
        listed = Listed("/batches", "after", _Page, _remote)
        return newest(self._asking, listed, since_s)

    async def aclose(self) -> None:
        await self._asking.aclose()


def _path(batch_id: str) -> str:
    return f"/batches/{quote(batch_id, safe='')}"


def window(seconds: float) -> str:
    """As the API spells it: hours, where it can be."""
    hours = seconds / 3600
    return f"{hours:.0f}h" if hours == int(hours) else format_duration(seconds)


def answer_in(line: bytes) -> Answer | None:
    """What a line of results says; None for what is none."""
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    response, error = found.response, found.error
    status = (response.status_code or 0) if response is not None else 0
    body = bytes(response.body) if response is not None else b""
    body = b"" if body == b"null" else body
    code, message = _told(error, body)
    if 200 <= status < 300 and body and error is None:
        return Answer(found.custom_id, GOOD, status, body)
    if 400 <= status < 500 and status not in _LATER:
        return Answer(found.custom_id, BAD, status, body, code, message)
    may_be_billed = code not in _NEVER_BEGUN and status < 400
    code = code or f"status_{status}"
    return Answer(found.custom_id, AGAIN, status, body, code, message, may_be_billed)


def _told(error: _Problem | None, body: bytes) -> tuple[str, str]:
    """(code, message) of a failure, as far as there is one."""
    if error is None:
        try:
            holder = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
            error = msgspec.convert(holder.get("error") or {}, _Problem)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return "", ""
    return error.code or "", error.message or ""


def _remote(batch: _Batch) -> Remote:
    token = (batch.metadata or {}).get(TOKEN, "")
    problems = (batch.errors.data or []) if batch.errors is not None else []
    return Remote(
        id=batch.id,
        state=_STATES.get(batch.status, RUNNING),
        created_s=batch.created_at,
        count=batch.request_counts.total if batch.request_counts is not None else 0,
        token=token if isinstance(token, str) else "",
        files=tuple(name for name in (batch.output_file_id, batch.error_file_id) if name),
        is_complete=batch.status == "completed",
        problems=tuple((one.code or "", one.message or "") for one in problems),
    )


def _boundary(handed: Handed) -> bytes:
    # The token is random: no line of the file has it after two dashes.
    return b"headgate-" + handed.token.encode()


def _field(mark: bytes, named: str, kind: str = "") -> bytes:
    lines = [
        f"content-disposition: form-data; {named}",
        *([f"content-type: {kind}"] if kind else []),
    ]
    return b"--%b\r\n%b\r\n\r\n" % (mark, "\r\n".join(lines).encode())
