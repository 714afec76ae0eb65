"""What the server says by itself, in the dialect of each request and with its mark; what it would
bill for it; and what an error and a ping look like inside a stream. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headgate.core.sse import parse_event
from headgate.core.verdict import usage_in
from headgate.faultserver.desk_routes import OPERATIONS as DESK_OPERATIONS
from headgate.faultserver.desk_routes import desk_operation
from headgate.faultserver.marks import Mark, alias_of, credential_in, tenant_of
from headgate.providers.fake import error_answer, fake_reply
from headgate.testing_server import Plan, Recorded
from headgate.testing_steps import Answer, Status, Step, asked_operation, plan_of

_ANTHROPIC = ("messages", "count_tokens")
_ANTHROPIC_DESK = tuple(name for name in DESK_OPERATIONS if name.startswith("message_"))


class Prepared(Struct, frozen=True):
    """A request that was understood as far as it can be."""

    request: Recorded
    operation: str
    model: str
    is_streamed: bool
    credential: str
    """Alias of the asking credential."""
    mark: Mark
    tokens_in: int
    """What the prompt would be billed if the request is taken on; 0 where prompts are free."""
    offered: Plan | None = None
    """What the desk for files and batches says to it; None for all that is not for the desk."""

    def plan(self, step: Step) -> Plan:
        """What `step` sends."""
        if self.offered is not None and step == Answer():
            return self.offered
        if isinstance(step, Status) and step.body is None and self.operation in _ANTHROPIC_DESK:
            body = error_answer("messages", step.status, f"a scripted {step.status}").content
            step = replace(step, body=body)
        return plan_of(step, self.request, str(self.mark))

    def usual(self) -> Plan:
        """What goes out where no script says otherwise."""
        return self.plan(Answer())


def prepare(request: Recorded, serial: int) -> Prepared:
    """Whose request it is, what it asks, and its price. Raises nothing: what is not understood gets
    its 400 or 404 later."""
    fields: Mapping[str, Any] = request.body if isinstance(request.body, dict) else {}
    credential = credential_in(request.headers)
    at_desk = desk_operation(request)
    operation = at_desk or asked_operation(request)
    whole = msgspec.json.encode({**fields, "stream": False}) if fields and not at_desk else b""
    return Prepared(
        request,
        operation,
        str(fields.get("model", "")),
        fields.get("stream") is True,
        alias_of(credential),
        Mark(tenant_of(credential), serial),
        usage_in(fake_reply(operation, whole).content).tokens_in if whole else 0,
    )


def tokens_out_of(content: bytes) -> int:
    """Output tokens of a whole answer, as it says itself."""
    return usage_in(content).tokens_out


def said_chars(piece: bytes) -> int:
    """Characters of text or tool arguments in one event of a stream of any dialect; 0 for what is
    no such event."""
    return sum(map(len, _texts(_object(parse_event(piece)[1]))))


def is_refusal(content: bytes) -> bool:
    """Whether this whole answer is an error, which is not billed whatever its status is."""
    return bool(_object(content).get("error"))


def _object(content: bytes) -> Mapping[str, Any]:
    """The JSON object in `content`; an empty one for anything else."""
    try:
        value = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _texts(event: Mapping[str, Any]) -> list[str]:
    deltas = [choice for choice in _listed(event.get("choices")) if isinstance(choice, dict)]
    deltas += [choice["delta"] for choice in deltas if isinstance(choice.get("delta"), dict)]
    calls = [call for delta in deltas for call in _listed(delta.get("tool_calls"))]
    deltas += [call["function"] for call in calls if isinstance(call, dict) and "function" in call]
    # Anthropic nests the delta in an object, Responses names it as a string.
    delta = event.get("delta")
    named = [delta] if isinstance(delta, str) else []
    deltas += [delta] if isinstance(delta, dict) else []
    names = ("text", "content", "arguments", "partial_json")
    found = [part.get(name) for part in deltas for name in names]
    return named + [text for text in found if isinstance(text, str)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def error_event(operation: str, status: int) -> bytes:
    """The event by which a provider says inside a stream that it failed."""
    if operation == "responses":
        code = {400: "invalid_prompt", 429: "rate_limit_exceeded"}.get(status, "server_error")
        event = {"type": "error", "code": code, "message": f"a scripted {status}",
                 "param": None, "sequence_number": 0}  # fmt: skip
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
    body = error_answer(operation, status, f"a scripted {status}").content
    name = b"event: error\n" if operation in _ANTHROPIC else b""
    return name + b"data: " + body + b"\n\n"


def ping(operation: str) -> bytes:
    """What keeps a silent stream alive: Anthropic's event, for others a comment."""
    return b'event: ping\ndata: {"type": "ping"}\n\n' if operation in _ANTHROPIC else b": ping\n\n"
