"""The body of a request as a thread reads it: piece by piece, and the next one when it is wanted.

A body of 200 MB is never whole in memory: who does not ask for more keeps its sender waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from headgate.core.json_items import Items
from headgate.core.multipart import Form
from headgate.errors import BadRequest
from headgate.jobs.base import JobStore
from headgate.jobs.settings import JobsConfig
from headgate.surfaces.receiving import Receive

FORM_MAX_BYTES = 100_000
"""Of a form, besides its file."""


class Pieces:
    """What `receive` of the running loop hands over, to be walked through in another thread.

    Raises BadRequest: 413 over `most_bytes`, 400 if the body breaks off.
    """

    def __init__(self, receive: Receive, announced_bytes: int, most_bytes: int) -> None:
        if announced_bytes > most_bytes:
            raise too_large(most_bytes)
        self._receive = receive
        self._most_bytes = most_bytes
        self._loop = asyncio.get_running_loop()

    def __iter__(self) -> Iterator[bytes]:
        size_bytes, has_more = 0, True
        while has_more:
            waited = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            piece, has_more = waited.result()
            size_bytes += len(piece)
            if size_bytes > self._most_bytes:
                raise too_large(self._most_bytes)
            yield piece

    async def _next(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the request ended before its body did")
        return message.get("body", b""), message.get("more_body", False)


class FileInForm:
    """The file in a form: its name, then its content. `purpose` is what the form has to say it is
    for."""

    def __init__(self, form: Form, pieces: Pieces, purpose: str) -> None:
        self._form = form
        self._pieces = iter(pieces)
        self._purpose = purpose
        self._first = b""

    def begin(self) -> str:
        """The file's name, when its part has begun. Raises BadRequest."""
        for piece in self._pieces:
            self._first = self._form.feed(piece)
            if self._form.file_name is not None:
                break
        else:
            self._form.end()
        if "purpose" in self._form.fields:
            self._judge_purpose()
        return self._form.file_name or ""

    def content(self) -> Iterator[bytes]:
        """The content, piece by piece; at its end all of the form is judged."""
        yield self._first
        for piece in self._pieces:
            if content := self._form.feed(piece):
                yield content
        self._form.end()
        self._judge_purpose()

    def _judge_purpose(self) -> None:
        said = self._form.fields.get("purpose")
        if said != self._purpose:
            raise BadRequest(
                f'"purpose" has to be "{self._purpose}": files are kept for batches only',
                code="invalid_purpose",
            )
        if any(name.startswith("expires_after") for name in self._form.fields):
            raise BadRequest(
                '"expires_after" is not kept here: delete the file when it is not needed any more',
                code="unsupported_parameter",
            )


def items_in(pieces: Pieces, items: Items) -> Iterator[bytes]:
    """The items of the array that the body is. Raises BadRequest."""
    for piece in pieces:
        yield from items.feed(piece)
    items.end()


def room_for(store: JobStore, settings: JobsConfig) -> None:
    """Raises BadRequest (507) where clients have uploaded as much as they may together."""
    if store.stored_bytes() >= settings.stored_max_bytes:
        raise BadRequest(
            "no more files are kept here (batch.jobs.stored_max_bytes): delete some",
            status=507,
            code="storage_full",
        )


def too_large(most_bytes: int) -> BadRequest:
    """A body over the limit of its route."""
    return BadRequest(
        f"the body is larger than {most_bytes} bytes (batch.jobs.file_max_bytes)",
        status=413,
        code="body_too_large",
    )
