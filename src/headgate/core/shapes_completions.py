"""The two shapes of a legacy completion; both are called `text_completion`. Pure."""

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
    Series,
    fields_of,
    items_of,
    pieces_of,
    text_of,
    tokens_match,
)

_LOGPROBS = frozenset({"tokens", "token_logprobs", "top_logprobs", "text_offset"})
_CHOICE = frozenset({"index", "text", "logprobs", *ENDS})


class _Gathering:
    """One choice while its chunks come in."""

    __slots__ = ("_ends", "_has_logprobs", "_logprobs", "_text")

    def __init__(self) -> None:
        self._ends: Fields = {}
        self._text = Series(str)
        self._has_logprobs: bool | None = None
        self._logprobs = Series(list)

    def add(self, choice: Fields) -> None:
        note_ends(self._ends, fields_of(choice, _CHOICE))
        self._text.add("text", text_of(choice.get("text")))
        if "logprobs" in choice:
            self._add_logprobs(choice["logprobs"])

    def _add_logprobs(self, logprobs: Any) -> None:
        self._has_logprobs = bool(self._has_logprobs) or logprobs is not None
        if logprobs is not None:
            for name, items in fields_of(logprobs, _LOGPROBS).items():
                self._logprobs.add(name, items)

    def whole(self) -> Fields:
        choice = {**self._text.joined(), **ends_of(self._ends)}
        if self._has_logprobs is None:
            return choice
        return choice | {"logprobs": self._logprobs.joined() if self._has_logprobs else None}


def completion_assembled(events: list[Event]) -> Fields:
    """The whole `text_completion` of a stream. Raises Lossy."""
    return assembled(COMPLETIONS, events)


def completion_streamed(answer: Fields) -> Iterator[tuple[bytes, bool]]:
    """The events of a whole `text_completion`, and whether each has only usage. Raises Lossy."""
    return streamed(COMPLETIONS, answer)


def _chunks(choice: Fields) -> Iterator[Fields]:
    text = text_of(fields_of(choice, _CHOICE).get("text"))
    logprobs = choice.get("logprobs")
    usual: Fields = {"logprobs": None} if "logprobs" in choice else {}
    if logprobs is None:
        for piece in pieces_of(text):
            yield {"text": piece, **usual, "finish_reason": None}
    else:
        for piece, lists in _tokens(text, fields_of(logprobs, _LOGPROBS)):
            yield {"text": piece, "logprobs": lists, "finish_reason": None}
    yield {"text": "", **usual, **ends_of(choice)}


def _tokens(text: str, logprobs: Fields) -> Iterator[tuple[str, Any]]:
    """Token by token where each list has an item for each of them, else all at once."""
    tokens = logprobs.get("tokens")
    lists = {name: items_of(items) for name, items in logprobs.items() if items is not None}
    is_even = tokens_match(tokens, text) and len({len(items) for items in lists.values()}) == 1
    if not is_even or tokens is None:
        yield text, logprobs
        return
    for at, token in enumerate(tokens):
        yield token, {**logprobs, **{name: [items[at]] for name, items in lists.items()}}


COMPLETIONS = ChunkDialect("text_completion", "text_completion", _Gathering, _chunks)
