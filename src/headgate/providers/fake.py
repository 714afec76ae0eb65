"""The built-in provider that answers by itself, offline: every operation in its own dialect, whole
and streamed, and the same bytes for the same request. It may not read a clock or roll dice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from headgate.clock import Clock
from headgate.core.canonical import parse_object
from headgate.errors import BadRequest
from headgate.providers import fake_anthropic, fake_openai, fake_responses
from headgate.providers.fake_words import Draft, digest_of, draft
from headgate.providers.settings import ProviderConfig
from headgate.stream import Chunks, Whole
from headgate.types import (
    NO_USAGE,
    OPERATIONS,
    Call,
    Headers,
    Invocation,
    Provenance,
    Reply,
    Service,
)

Fields = Mapping[str, Any]

PATHS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/responses": "responses",
    "/embeddings": "embeddings",
    "/messages": "messages",
    "/messages/count_tokens": "count_tokens",
    "/models": "models",
}
"""Path below the API root to operation. Anthropic's list of models shares its path with OpenAI's;
its operation is `anthropic_models`."""


class FakeAnswer(Struct, frozen=True):
    """Status, headers, and the body: one piece if whole, one piece per event if streamed."""

    status: int
    headers: Headers
    pieces: tuple[bytes, ...]
    streamed: bool = False

    @property
    def content(self) -> bytes:
        """The exact bytes of the whole body."""
        return b"".join(self.pieces)


def operation_of(path: str) -> str:
    """Operation of a path below the API root (a query string is ignored); "" if unknown."""
    return PATHS.get(path.partition("?")[0], "")


def fake_reply(
    operation: str, body: bytes, *, text: str | None = None, mark: str = ""
) -> FakeAnswer:
    """The answer to a request of `operation` with this JSON `body`.

    Pure: equal requests (key order and white space aside) get equal bytes, different ones
    different answers. `stream`, `stream_options` and `encoding_format` change the shape alone,
    never words, numbers or ids. `text` replaces the words. `mark` stands at both ends of the usual
    words and in front of every id, so that an answer tells whose it is. A request that cannot be
    understood gets status 400, an unknown operation 404, each in its dialect; nothing is raised.

    >>> answer = fake_reply("embeddings", b'{"model": "m", "input": "hello", "dimensions": 2}')
    >>> answer.status, answer.headers[0]
    (200, (b'content-type', b'application/json'))
    """
    if operation == "models":
        return _whole(200, fake_openai.models())
    if operation == "anthropic_models":
        return _whole(200, fake_anthropic.models())
    answer = _ANSWERS.get(operation)
    if answer is None:
        return error_answer(operation, 404, f"unknown operation {operation!r}")
    try:
        fields = parse_object(body)
        return answer(fields, text, mark)
    except BadRequest as refused:
        return error_answer(operation, 400, refused.message)


def error_answer(operation: str, status: int, message: str) -> FakeAnswer:
    """A failed call's answer in the dialect of `operation`."""
    anthropic = operation in ("messages", "count_tokens", "anthropic_models")
    dialect = fake_anthropic if anthropic else fake_openai
    return _whole(status, dialect.error(status, message))


def _whole(status: int, value: Any, more: Headers = ()) -> FakeAnswer:
    headers = ((b"content-type", b"application/json"), *more)
    return FakeAnswer(status, headers, (msgspec.json.encode(value),))


def _answer(
    fields: Fields,
    said: Draft,
    whole: Callable[[], dict[str, Any]],
    events: Callable[[], Iterator[bytes]],
    id_header: bytes = b"x-request-id",
) -> FakeAnswer:
    request_id = (id_header, b"req_" + said.mint("request").encode())
    if not fields.get("stream"):
        return _whole(200, whole(), (request_id,))
    kind = (b"content-type", b"text/event-stream; charset=utf-8")
    headers = (kind, (b"cache-control", b"no-cache"), request_id)
    return FakeAnswer(200, headers, tuple(events()), True)


def _chat(fields: Fields, text: str | None, mark: str) -> FakeAnswer:
    said = draft("chat", fake_openai.read_chat(fields), text, mark)
    usage = _asks_usage(fields)
    return _answer(
        fields,
        said,
        lambda: fake_openai.chat(said),
        lambda: fake_openai.chat_events(said, include_usage=usage),
    )


def _completions(fields: Fields, text: str | None, mark: str) -> FakeAnswer:
    said = draft("completions", fake_openai.read_completion(fields), text, mark)
    usage = _asks_usage(fields)
    return _answer(
        fields,
        said,
        lambda: fake_openai.completion(said),
        lambda: fake_openai.completion_events(said, include_usage=usage),
    )


def _responses(fields: Fields, text: str | None, mark: str) -> FakeAnswer:
    said = draft("responses", fake_responses.read_response(fields), text, mark)
    return _answer(
        fields,
        said,
        lambda: fake_responses.response(said, fields),
        lambda: fake_responses.response_events(said, fields),
    )


def _messages(fields: Fields, text: str | None, mark: str) -> FakeAnswer:
    said = draft("messages", fake_anthropic.read_message(fields), text, mark)
    return _answer(
        fields,
        said,
        lambda: fake_anthropic.message(said),
        lambda: fake_anthropic.message_events(said),
        b"request-id",
    )


def _embeddings(fields: Fields, text: str | None, mark: str) -> FakeAnswer:
    digest = digest_of("embeddings", fields)
    request_id = (b"x-request-id", f"req_{mark}{digest[:24]}".encode())
    return _whole(200, fake_openai.embeddings(fields) | _marked(mark), (request_id,))


def _count_tokens(fields: Fields, text: str | None, mark: str) -> FakeAnswer:
    return _whole(200, fake_anthropic.count(fields) | _marked(mark))


def _marked(mark: str) -> dict[str, str]:
    """A field for answers that have neither words nor ids; clients ignore what they do not know."""
    return {"mark": mark} if mark else {}


def _asks_usage(fields: Fields) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


_ANSWERS: Mapping[str, Callable[[Fields, str | None, str], FakeAnswer]] = {
    "chat": _chat,
    "completions": _completions,
    "responses": _responses,
    "embeddings": _embeddings,
    "messages": _messages,
    "count_tokens": _count_tokens,
}


def fake_service(config: ProviderConfig, clock: Clock) -> Service:
    """A Service that answers after `config.latency` seconds without asking anybody.

    `clock` is taken as every provider takes it and not read: an answer that carried the time of
    day would differ from its own cached copy.
    """

    async def service(call: Call) -> Reply:
        request = call.request
        if isinstance(request, Invocation):
            raise TypeError("the fake provider takes wire calls only")
        known = call.operation in OPERATIONS
        operation = call.operation if known else operation_of(request.path)
        if operation == "models" and any(
            name == b"anthropic-version" for name, _ in request.headers
        ):
            operation = "anthropic_models"
        await asyncio.sleep(config.latency)
        answer = fake_reply(operation, request.body)
        made = Provenance(attempts=1, target=call.target.name)
        body = Chunks(_stream(answer.pieces)) if answer.streamed else Whole(answer.content)
        return Reply(answer.status, answer.headers, body, NO_USAGE, made)

    return service


async def _stream(pieces: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for piece in pieces:
        # Yields to the loop so that readers interleave as with a real network.
        await asyncio.sleep(0)
        yield piece
