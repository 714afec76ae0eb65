"""One question in the dialect of its provider, and what an answer says in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headgate.backend.declared import Llm
from headgate.core.sse import parse_event
from headgate.core.usage import RawUsage, usage_of
from headgate.errors import BadRequest, UpstreamFailed, UpstreamGarbled
from headgate.types import NO_USAGE, Headers, Usage

Message = Mapping[str, str]
"""`role` (system, user or assistant) and `content`."""

ANTHROPIC_MAX_TOKENS = 4096
"""Anthropic wants to be told how long an answer may be; what it is told where the app does not."""
_JSON: Headers = ((b"content-type", b"application/json"),)
_VERSIONED: Headers = (*_JSON, (b"anthropic-version", b"2023-06-01"))


class Question(Struct, frozen=True):
    """A request to a provider: what `Runtime.find` and `Runtime.forward` take."""

    operation: str
    path: str
    body: bytes
    headers: Headers = _JSON


class Said(Struct, frozen=True):
    """What an answer says."""

    text: str
    model: str = ""
    usage: Usage = NO_USAGE


def question(
    llm: Llm,
    messages: Sequence[Message],
    *,
    name: str = "",
    schema: Mapping[str, Any] | None = None,
    streamed: bool = False,
) -> Question:
    """`messages`, with the model's own system prompt where they have none. `name` names the
    `schema` of the answer. Raises BadRequest for a text that is none."""
    if llm.system_prompt and not any(message["role"] == "system" for message in messages):
        messages = [{"role": "system", "content": llm.system_prompt}, *messages]
    if llm.dialect == "anthropic":
        return _messages(llm, messages, schema, streamed)
    fields: dict[str, Any] = {"model": llm.model, "messages": messages, **llm.params}
    if schema is not None:
        form = {"name": name, "schema": schema, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": form}
    if streamed:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return Question("chat", "/chat/completions", _encode(fields))


def _messages(
    llm: Llm, messages: Sequence[Message], schema: Mapping[str, Any] | None, streamed: bool
) -> Question:
    """Here the system prompt stands beside the messages."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    fields: dict[str, Any] = {"model": llm.model, "max_tokens": ANTHROPIC_MAX_TOKENS}
    if system:
        fields["system"] = "\n\n".join(system)
    fields |= {"messages": others, **llm.params}
    if schema is not None:
        fields["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if streamed:
        fields["stream"] = True
    return Question("messages", "/messages", _encode(fields), _VERSIONED)


class _Message(Struct):
    content: Any = None
    refusal: Any = None


class _Choice(Struct):
    message: _Message | None = None
    delta: _Message | None = None


class _Chat(Struct):
    """A whole answer of chat, or a chunk of one."""

    choices: list[_Choice] = []
    model: str = ""
    usage: RawUsage | None = None


class _Part(Struct):
    type: str = ""
    text: str = ""


class _Started(Struct):
    model: str = ""
    usage: RawUsage | None = None


class _Messages(Struct):
    """A whole answer of messages, or an event of one."""

    content: list[_Part] = []
    model: str = ""
    usage: RawUsage | None = None
    delta: _Part | None = None
    message: _Started | None = None


_to_json = msgspec.json.Encoder().encode
_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_messages = msgspec.json.Decoder(_Messages).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeError)


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return _to_json(fields)
    except UnicodeError:
        raise BadRequest("the text has half of a surrogate pair") from None


def said(operation: str, content: bytes) -> Said:
    """What a whole answer says. Raises UpstreamFailed where that is no text."""
    try:
        if operation == "messages":
            message = _decode_messages(content)
            texts = [part.text for part in message.content if part.type == "text"]
            text: Any = "".join(texts) if texts else None
            answer: _Messages | _Chat = message
        else:
            answer = _decode_chat(content)
            first = (answer.choices[0].message if answer.choices else None) or _Message()
            text = first.content
            if text is None and isinstance(first.refusal, str):
                raise UpstreamFailed(f"the model refused: {first.refusal[:500]}")
    except _UNREADABLE:
        raise UpstreamGarbled("the provider's answer cannot be read") from None
    if not isinstance(text, str):
        raise UpstreamFailed("the model answered without text")
    return Said(text, answer.model, usage_of(answer.usage))


class Listener:
    """Reads the events of a streamed answer, and knows at the end what it said."""

    __slots__ = ("_input", "_is_messages", "_texts", "_usage", "model")

    def __init__(self, operation: str) -> None:
        self._is_messages = operation == "messages"
        self._texts: list[str] = []
        self._usage: RawUsage | None = None
        self._input: RawUsage | None = None
        self.model = ""

    def hear(self, event: bytes) -> str:
        """The text that one event brings, often "". Raises UpstreamFailed for an error in it."""
        name, content = parse_event(event)
        if not content or content == b"[DONE]":
            return ""
        if name == b"error" or content.startswith(b'{"error"'):
            raise UpstreamFailed("the provider broke the answer off")
        try:
            text = self._message(content) if self._is_messages else self._chunk(content)
        except _UNREADABLE:
            raise UpstreamGarbled("the provider's answer cannot be read") from None
        if text:
            self._texts.append(text)
        return text

    def said(self) -> Said:
        """Everything up to here."""
        return Said("".join(self._texts), self.model, self._counted())

    def _chunk(self, content: bytes) -> str:
        chunk = _decode_chat(content)
        self.model = chunk.model or self.model
        self._usage = chunk.usage or self._usage
        text = chunk.choices[0].delta and chunk.choices[0].delta.content if chunk.choices else ""
        return text if isinstance(text, str) else ""

    def _message(self, content: bytes) -> str:
        event = _decode_messages(content)
        if event.message is not None:
            self.model, self._input = event.message.model, event.message.usage
        self._usage = event.usage or self._usage
        return event.delta.text if event.delta is not None else ""

    def _counted(self) -> Usage:
        """Anthropic tells the input when the answer begins, and the output when it ends."""
        end, begin = usage_of(self._usage), usage_of(self._input)
        tokens_in = end.tokens_in or begin.tokens_in
        return Usage(tokens_in, end.tokens_out or begin.tokens_out)
