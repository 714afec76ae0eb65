"""The two shapes of a chat: a `chat.completion`, and its `chat.completion.chunk`s. Pure.

Rules as in the API reference of OpenAI and in its SDK's `ChatCompletionStreamState`; the reasoning
fields are DeepSeek's and OpenRouter's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headgate.core.shapes_chunks import (
    ENDS,
    ChunkDialect,
    assembled,
    ends_of,
    note_ends,
    streamed,
)
from headgate.core.shapes_values import (
    Event,
    Fields,
    Lossy,
    Series,
    fields_of,
    in_order,
    index_of,
    items_of,
    pieces_of,
    set_once,
    text_of,
    tokens_match,
)

_TEXTS = ("reasoning_content", "reasoning", "content", "refusal")
_CALLED = frozenset({"name", "arguments"})
_LOGPROBS = frozenset({"content", "refusal"})
_CALL = frozenset({"id", "type", "function"})
_OPENAI_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
_CHUNK = frozenset({"index", "delta", "logprobs", *ENDS})
_WHOLE = frozenset({"index", "message", "logprobs", *ENDS})
_DELTA = frozenset({"role", "tool_calls", "function_call", *_TEXTS})
_MESSAGE = _DELTA | {"annotations"}


class _Function:
    """A called function while its arguments come in."""

    __slots__ = ("_series",)

    def __init__(self) -> None:
        self._series = Series(str)

    def add(self, function: Any) -> None:
        for name, value in fields_of(function, _CALLED).items():
            if name == "name":
                self._series.add_once(name, value)
            else:
                self._series.add(name, value)

    def whole(self) -> Fields:
        return self._series.joined()


class _Call:
    """A tool call while it comes in; only those of functions come in pieces that are documented."""

    __slots__ = ("_function", "_ids", "_kind")

    def __init__(self) -> None:
        self._ids = Series(str)
        self._kind: Fields = {}
        self._function = _Function()

    def add(self, call: Fields) -> None:
        fields_of(call, _CALL | {"index"})
        if "id" in call:
            self._ids.add_once("id", call["id"])
        if "type" in call:
            set_once(self._kind, "type", call["type"])
        if call.get("function") is not None:
            self._function.add(call["function"])

    def whole(self) -> Fields:
        if self._kind.get("type") != "function":
            raise Lossy
        return {**self._ids.joined(), **self._kind, "function": self._function.whole()}


class _Gathering:
    """One choice while its chunks come in."""

    __slots__ = ("_calls", "_ends", "_function", "_has_logprobs", "_logprobs", "_role", "_texts")

    def __init__(self) -> None:
        self._role: Fields = {}
        self._ends: Fields = {}
        self._texts = Series(str)
        self._calls: dict[int, _Call] = {}
        self._function: _Function | None = None
        self._has_logprobs: bool | None = None
        self._logprobs = Series(list)

    def add(self, choice: Fields) -> None:
        note_ends(self._ends, fields_of(choice, _CHUNK))
        if "logprobs" in choice:
            self._add_logprobs(choice["logprobs"])
        delta = fields_of(choice.get("delta"), _DELTA)
        for name in _TEXTS:
            if name in delta:
                self._texts.add(name, delta[name])
        if "role" in delta:
            set_once(self._role, "role", delta["role"])
        if delta.get("tool_calls") is not None:
            self._add_calls(items_of(delta["tool_calls"]))
        if delta.get("function_call") is not None:
            self._function = self._function or _Function()
            self._function.add(delta["function_call"])

    def _add_logprobs(self, logprobs: Any) -> None:
        self._has_logprobs = bool(self._has_logprobs) or logprobs is not None
        if logprobs is not None:
            for name, tokens in fields_of(logprobs, _LOGPROBS).items():
                self._logprobs.add(name, tokens)

    def _add_calls(self, calls: list[Any]) -> None:
        for call in map(fields_of, calls):
            index = index_of(call.get("index"))
            if index not in self._calls:
                self._calls[index] = _Call()
            self._calls[index].add(call)

    def whole(self) -> Fields:
        message = {**self._role, **self._texts.joined()}
        if self._calls:
            message["tool_calls"] = [call.whole() for call in in_order(self._calls)]
        if self._function is not None:
            message["function_call"] = self._function.whole()
        choice = {"message": message, **ends_of(self._ends)}
        if self._has_logprobs is None:
            return choice
        return choice | {"logprobs": self._logprobs.joined() if self._has_logprobs else None}


def chat_assembled(events: list[Event]) -> Fields:
    """The `chat.completion` of a stream. Raises Lossy.

    Whole answers of OpenAI always have `refusal` and `annotations`; its streams say nothing of
    them where there are none. An answer is taken for OpenAI's by the name of its service tier.
    """
    answer = assembled(CHAT, events)
    if answer.get("service_tier") in _OPENAI_TIERS:
        for choice in answer["choices"]:
            choice["message"] = {"refusal": None, **choice["message"], "annotations": []}
    return answer


def chat_streamed(answer: Fields) -> Iterator[tuple[bytes, bool]]:
    """The events of a `chat.completion`, and whether each has only usage. Raises Lossy."""
    return streamed(CHAT, answer)


def _chunks(choice: Fields) -> Iterator[Fields]:
    message = fields_of(fields_of(choice, _WHOLE).get("message"), _MESSAGE)
    if message.get("annotations"):
        raise Lossy
    logprobs = choice.get("logprobs")
    lists = {} if logprobs is None else fields_of(logprobs, _LOGPROBS)
    usual = {"logprobs": None} if "logprobs" in choice else {}
    opened = usual if logprobs is None else {"logprobs": _emptied(lists)}
    yield {"delta": _opening(message), **opened, "finish_reason": None}
    for delta, found in _deltas(message, lists):
        told = {"logprobs": {**dict.fromkeys(lists), **found}} if found else usual
        yield {"delta": delta, **told, "finish_reason": None}
    yield {"delta": {}, **usual, **ends_of(choice)}


def _emptied(lists: Fields) -> Fields:
    return {name: None if tokens is None else [] for name, tokens in lists.items()}


def _opening(message: Fields) -> Fields:
    """The first delta: the role, and each text that will come, or that is null."""
    opening = {"role": message["role"]} if "role" in message else {}
    for name in _TEXTS:
        if name in message:
            opening[name] = None if message[name] is None else ""
    return opening


def _deltas(message: Fields, lists: Fields) -> Iterator[tuple[Fields, Fields]]:
    """The deltas after the first, each with the log probabilities that belong to it."""
    for name in _TEXTS:
        yield from _text_deltas(name, message.get(name), lists.get(name))
    for index, call in enumerate(items_of(message.get("tool_calls", []))):
        known = fields_of(call, _CALL)
        for function in _function_deltas(known.get("function")):
            yield {"tool_calls": [{"index": index, **known, "function": function}]}, {}
            known = {}
    if "function_call" in message:
        for function in _function_deltas(message["function_call"]):
            yield {"function_call": function}, {}


def _text_deltas(name: str, text: Any, tokens: Any) -> Iterator[tuple[Fields, Fields]]:
    """Token by token where log probabilities are there for them."""
    if tokens:
        parts = [fields_of(token).get("token") for token in items_of(tokens)]
        if tokens_match(parts, text):
            pairs = zip(parts, tokens, strict=True)
            yield from (({name: part}, {name: [token]}) for part, token in pairs)
        else:
            yield {name: text} if text else {}, {name: tokens}
    elif text is not None:
        yield from (({name: piece}, {}) for piece in pieces_of(text_of(text)))


def _function_deltas(function: Any) -> Iterator[Fields]:
    """The first has the name, the others a piece of the arguments each."""
    known = fields_of(function, _CALLED)
    arguments = known.get("arguments")
    yield known if arguments is None else known | {"arguments": ""}
    if arguments is not None:
        yield from ({"arguments": piece} for piece in pieces_of(text_of(arguments)))


CHAT = ChunkDialect("chat.completion", "chat.completion.chunk", _Gathering, _chunks)
