"""What a test says about the next request, and what then goes over the wire: the steps that
`headgate.testing.FakeProvider` and `FaultServer` have in common. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headgate.providers.fake import FakeAnswer, error_answer, fake_reply, operation_of
from headgate.testing_server import Plan, Recorded
from headgate.types import Headers


class Answer(Struct, frozen=True):
    """A complete answer. With nothing but `text` (or nothing at all) it is what the fake provider
    would say, in the dialect and shape of the request; `body` or `chunks` replace it."""

    text: str | None = None
    """Words of the answer."""
    status: int = 200
    body: Any = None
    """The exact body: bytes or str as they are, anything else as JSON."""
    chunks: Sequence[bytes] = ()
    """The exact pieces of a `text/event-stream`, one network write each."""
    headers: Mapping[str, str] = {}
    """Added to the usual ones; an equal name replaces."""
    delay_s: float = 0.0
    """Real seconds before the first byte."""
    chunk_delay_s: float = 0.0
    """Real seconds before every further piece of a stream."""


class Status(Struct, frozen=True):
    """A failure. Without `body`, an error in the dialect of the request."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Cut(Struct, frozen=True):
    """The usual answer, but the connection is closed after `after_bytes` of its body: 0 right
    after the head, None before it."""

    after_bytes: int | None = None


class Hang(Struct, frozen=True):
    """The usual answer up to `after_bytes` of its body (0: the head, None: nothing), then silence
    until the client leaves or the provider is closed."""

    after_bytes: int | None = None


Step = Answer | Status | Cut | Hang


def plan_of(step: Step, request: Recorded, mark: str = "") -> Plan:
    """What to send for `step` in the dialect and shape of `request`; `mark` as in `fake_reply`."""
    operation = asked_operation(request)
    if isinstance(step, Status):
        answer = error_answer(operation, step.status, f"a scripted {step.status}")
        return _replaced(answer, step.status, step.body, step.headers)
    if isinstance(step, Answer) and step.chunks:
        kind = ((b"content-type", b"text/event-stream"),)
        plan = Plan(step.status, _headers(kind, step.headers), tuple(step.chunks), True)
    else:
        text = step.text if isinstance(step, Answer) else None
        usual = fake_reply(operation, request.raw, text=text, mark=mark)
        if not isinstance(step, Answer):
            stops = "cut" if isinstance(step, Cut) else "hang"
            plan = _replaced(usual, usual.status, None, {})
            return msgspec.structs.replace(plan, stops=stops, stops_after=step.after_bytes)
        status = usual.status if step.status == 200 and step.body is None else step.status
        plan = _replaced(usual, status, step.body, step.headers)
    return msgspec.structs.replace(plan, delay_s=step.delay_s, piece_delay_s=step.chunk_delay_s)


def asked_operation(request: Recorded) -> str:
    """The operation of a request; for an unknown path one that is answered with 404."""
    operation = operation_of(request.path.removeprefix("/v1"))
    if operation == "models" and "anthropic-version" in request.headers:
        return "anthropic_models"
    expected = "GET" if operation == "models" else "POST"
    return operation if request.method == expected else f"{request.method} {request.path}"


def _replaced(usual: FakeAnswer, status: int, body: Any, headers: Mapping[str, str]) -> Plan:
    if body is None:
        return Plan(status, _headers(usual.headers, headers), usual.pieces, usual.streamed)
    content = body.encode() if isinstance(body, str) else body
    if not isinstance(content, bytes):
        content = msgspec.json.encode(content)
    kind = ((b"content-type", b"application/json"),)
    return Plan(status, _headers(kind, headers), (content,))


def _headers(usual: Headers, wanted: Mapping[str, str]) -> Headers:
    named = tuple((name.lower().encode(), value.encode()) for name, value in wanted.items())
    replaced = {name for name, _ in named}
    return tuple((name, value) for name, value in usual if name not in replaced) + named
