"""What a reply is worth: may it be stored, what did it use, and what is its failure called. Pure.

The rules of the store gate stand in one table, `FINISHES`; a finish nobody listed is never stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.usage import (
    GoogleUsage,
    RawUsage,
    google_usage_of,
    tier_label,
    tier_of_google_usage,
    tier_of_usage,
    usage_of,
)
from headgate.types import GENERATE, NO_USAGE, Usage

STORE, EXPLICIT_LIMIT, NEVER = "store", "explicit_limit", "never"

FINISHES: Mapping[str, str] = {
    "stop": STORE,
    "end_turn": STORE,
    "stop_sequence": STORE,
    "completed": STORE,
    "tool_calls": STORE,
    "tool_use": STORE,
    "function_call": STORE,
    "length": EXPLICIT_LIMIT,
    "max_tokens": EXPLICIT_LIMIT,
    "max_output_tokens": EXPLICIT_LIMIT,
    "content_filter": NEVER,
    "refusal": NEVER,
    "pause_turn": NEVER,
    # Google's; the other ends it has are not listed, so they are not stored.
    "STOP": STORE,
    "MAX_TOKENS": EXPLICIT_LIMIT,
    "SAFETY": NEVER,
}
"""Finish reason to rule; `EXPLICIT_LIMIT` = only if the request itself set the limit, because then
the limit is part of the key."""

LIMIT_FIELDS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})


_TOOL_FINISHES = frozenset({"tool_calls", "tool_use", "function_call"})
_TOOL_ITEMS = frozenset({"function_call", "custom_tool_call"})
"""Output items of `/responses`, whose finish is `completed` all the same."""


class _Function(Struct):
    arguments: str = "{}"


class _ToolCall(Struct):
    function: _Function | None = None


class _Message(Struct):
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    refusal: str | None = None


class _Choice(Struct):
    finish_reason: str | None = None
    message: _Message | None = None


class _Part(Struct):
    type: str = ""


class Item(Struct):
    """An output item of `/responses`. Only the arguments of a function call are JSON in a string;
    those of some hosted tools are an object."""

    type: str = ""
    arguments: Any = None
    content: Any = None

    @property
    def is_refusal(self) -> bool:
        """Whether any part of a message says no."""
        parts = self.content if isinstance(self.content, list) else ()
        return any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)


class _GooglePart(Struct, rename="camel"):
    function_call: Any = None


class _GoogleContent(Struct):
    parts: list[_GooglePart] | None = None


class Candidate(Struct, rename="camel"):
    """One of Google's answers, or a piece of it in a stream."""

    index: int | None = 0
    finish_reason: str | None = None
    content: _GoogleContent | None = None

    @property
    def calls_tools(self) -> bool:
        """Whether it asks the client to run a function."""
        parts = self.content.parts if self.content else None
        return any(part.function_call is not None for part in parts or ())


class _Incomplete(Struct):
    reason: str | None = None


class Answer(Struct):
    """What the gate needs of an answer of any dialect; everything else is skipped unread."""

    choices: list[_Choice] | None = None
    usage: RawUsage | None = None
    service_tier: Any = None
    stop_reason: str | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    output: list[Item] | None = None
    content: list[_Part] | None = None
    data: list[msgspec.Raw] | None = None
    candidates: list[Candidate] | None = None
    google_usage: GoogleUsage | None = msgspec.field(name="usageMetadata", default=None)
    error: Any = None


_decode_answer = msgspec.json.Decoder(Answer).decode


class Verdict(Struct, frozen=True):
    """`skip` is "" when the reply may be stored, else the countable reason why not."""

    skip: str
    finish: str
    usage: Usage
    calls_tools: bool = False
    """The answer asks the client to run a function."""
    tier: str = ""
    """The tier that the reply says it was served in; "" where it says none."""


def judge(operation: str, status: int, content: bytes, *, limit_explicit: bool) -> Verdict:
    """The verdict on a whole answer. `limit_explicit`: the request set its own output limit."""
    if status != 200:
        return Verdict(f"status_{status // 100}xx" if status >= 300 else "status", "", NO_USAGE)
    try:
        if not content.isascii():
            # The decoder skips what the gate does not need without looking whether it is UTF-8.
            content.decode()
        answer = _decode_answer(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Verdict("not_parsed", "", NO_USAGE)
    return weigh(operation, answer, limit_explicit=limit_explicit)


def weigh(operation: str, answer: Answer, *, limit_explicit: bool) -> Verdict:
    """As `judge`, of an answer that is decoded already."""
    usage = (
        usage_of(answer.usage)
        if answer.google_usage is None
        else google_usage_of(answer.google_usage)
    )
    finishes_of = _FINISHES_OF.get(operation)
    if finishes_of is None:
        return Verdict("not_cacheable", "", usage, tier=tier_of(answer))
    finishes = finishes_of(answer)
    skip = "error_in_answer" if answer.error else skip_of(finishes, limit_explicit)
    if not skip and not arguments_parse(_arguments(answer)):
        skip = "tool_arguments"
    calls_tools = (
        not _TOOL_FINISHES.isdisjoint(finishes)
        or (answer.output and any(item.type in _TOOL_ITEMS for item in answer.output))
        or (answer.candidates and any(one.calls_tools for one in answer.candidates))
    )
    return Verdict(skip, label_of(finishes), usage, bool(calls_tools), tier_of(answer))


def calls_tools_by(finishes: Iterable[str | None]) -> bool:
    """Whether one of these ends says that the client is to run a function."""
    return not _TOOL_FINISHES.isdisjoint(finishes)


def label_of(finishes: Iterable[str | None]) -> str:
    """How the choices of an answer ended, as `Verdict.finish` has it."""
    names = {finish or "null" for finish in finishes}
    return ",".join(sorted(names)) if len(names) > 1 else "".join(names)


def skip_of(finishes: Collection[str | None], limit_explicit: bool) -> str:
    """Why an answer whose choices ended like this is not stored; "" if it may be."""
    if not finishes:
        return "incomplete"
    for finish in finishes:
        rule = FINISHES.get(finish or "", "unknown")
        if rule == NEVER or (rule == EXPLICIT_LIMIT and not limit_explicit):
            return f"finish_{finish}"
        if rule == "unknown":
            return "finish_unknown"
    return ""


def _chat_finishes(answer: Answer) -> list[str | None]:
    choices = answer.choices or []
    return [
        "refusal" if choice.message and choice.message.refusal else choice.finish_reason
        for choice in choices
    ]


def _message_finishes(answer: Answer) -> list[str | None]:
    return [answer.stop_reason]


def _response_finishes(answer: Answer) -> list[str | None]:
    if answer.status == "incomplete" and answer.incomplete_details:
        return [answer.incomplete_details.reason]
    refused = any(item.is_refusal for item in answer.output or [])
    return ["refusal" if refused else answer.status]


def _embedding_finishes(answer: Answer) -> list[str | None]:
    return ["stop"] if answer.data else []


def _candidate_finishes(answer: Answer) -> list[str | None]:
    return [candidate.finish_reason for candidate in answer.candidates or []]


_FINISHES_OF = {
    "chat": _chat_finishes,
    "completions": _chat_finishes,
    "messages": _message_finishes,
    "responses": _response_finishes,
    "embeddings": _embedding_finishes,
    GENERATE: _candidate_finishes,
}


def _arguments(answer: Answer) -> list[Any]:
    texts: list[Any] = []
    for choice in answer.choices or ():
        message = choice.message
        if message is None:
            continue
        functions = [call.function for call in message.tool_calls] if message.tool_calls else []
        functions.append(message.function_call)
        texts += [function.arguments for function in functions if function]
    if answer.output:
        texts += [item.arguments for item in answer.output]
    return texts


def arguments_parse(texts: Iterable[Any]) -> bool:
    """Whether the arguments of every tool call that has them in a string are JSON; none at all
    count as `{}`."""
    for text in texts:
        if not isinstance(text, str):
            continue
        try:
            msgspec.json.decode(text or "{}")
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return False
    return True


def usage_in(content: bytes) -> Usage:
    """Usage of any answer or event that carries a `usage` object; NO_USAGE where there is none."""
    try:
        return usage_of(_decode_answer(content).usage)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return NO_USAGE


def tier_in(content: bytes) -> str:
    """The tier that an answer says it was served in, "" where it says none."""
    try:
        return tier_of(_decode_answer(content))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""


def tier_of(answer: Answer) -> str:
    """As `tier_in`. What a request asked for is no evidence: it may be served in another."""
    said = tier_label(answer.service_tier) or tier_of_usage(answer.usage)
    return said or tier_of_google_usage(answer.google_usage)


_BY_STATUS = {400: "bad_request", 401: "authentication", 402: "billing", 403: "permission",
              404: "not_found", 408: "timeout", 413: "too_large", 422: "bad_request",
              429: "rate_limit", 503: "unavailable", 504: "timeout", 529: "overloaded"}  # fmt: skip


def status_error(status: int) -> str:
    """Short name of a failed status for the `errors` table, e.g. `rate_limit` for 429."""
    return _BY_STATUS.get(status, "server_error" if status >= 500 else f"status_{status}")


def is_callers_mistake(status: int) -> bool:
    """Whether a failed status says the request itself was wrong: no fault of the provider."""
    return 400 <= status < 500 and status not in (401, 402, 403, 408, 409, 425, 429)


def exception_error(error: BaseException) -> str:
    """Short name of an exception: by the HTTP status it carries (as SDK errors do), as a timeout,
    else by its class."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status_error(status)
    name = type(error).__name__
    if isinstance(error, TimeoutError) or "timeout" in name.lower():
        return "timeout"
    code = getattr(error, "code", None)
    return code if isinstance(code, str) and code.isidentifier() else name
