"""The two shapes of what chat and completions have in common: a frame that every chunk repeats,
numbered choices, and usage in a chunk of its own. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec import Struct

from headgate.core.inspection_rules import DONE
from headgate.core.shapes_values import (
    Event,
    Fields,
    Lossy,
    encode,
    fields_of,
    in_order,
    index_of,
    is_same,
    items_of,
    read,
    set_once,
)
from headgate.core.sse import spell

_FRAME = frozenset({"id", "object", "created", "model", "system_fingerprint", "service_tier"})
_APART = frozenset({"choices", "usage", "obfuscation"})
"""Not of the frame. `obfuscation` is padding against observers of the line: it says nothing."""

ENDS = ("finish_reason", "native_finish_reason", "stop_reason", "matched_stop")
"""Fields of a choice that come when it ends. All but the first are those of other servers:
OpenRouter, vLLM, SGLang."""


class Gathering(Protocol):
    """One choice while its chunks come in."""

    def add(self, choice: Fields) -> None:
        """The next chunk. Raises Lossy."""
        ...

    def whole(self) -> Fields:
        """The choice of a whole answer, without its index. Raises Lossy."""
        ...


class ChunkDialect(Struct, frozen=True):
    """What tells chat and completions apart."""

    whole_kind: str
    """The `object` of a whole answer."""
    chunk_kind: str
    gathering: Callable[[], Gathering]
    chunks: Callable[[Fields], Iterator[Fields]]
    """A whole choice to its chunks, without their index. Raises Lossy."""


def assembled(dialect: ChunkDialect, events: list[Event]) -> Fields:
    """The whole answer of a stream that ends with `[DONE]`. Raises Lossy."""
    if not events or events[-1] != (b"", DONE):
        raise Lossy
    frame, choices, usage = _Frame(), dict[int, Gathering](), Fields()
    for name, content in events[:-1]:
        chunk = fields_of(read(content))
        if name or chunk.get("object") != dialect.chunk_kind:
            raise Lossy
        frame.add(chunk)
        set_once(usage, "usage", chunk.get("usage"))
        for choice in map(fields_of, items_of(chunk.get("choices"))):
            index = index_of(choice.get("index"))
            if index not in choices:
                choices[index] = dialect.gathering()
            choices[index].add(choice)
    listed = [{"index": index} | choice.whole() for index, choice in enumerate(in_order(choices))]
    answer = frame.whole() | {"object": dialect.whole_kind, "choices": listed}
    return answer if usage["usage"] is None else answer | usage


class _Frame:
    """Fields of the whole answer that every chunk repeats. One that is not known must be equal in
    all of them: else it belongs to a chunk, and how to join it is not known."""

    __slots__ = ("_count", "_counts", "_fields")

    def __init__(self) -> None:
        self._fields: Fields = {}
        self._counts: dict[str, int] = {}
        self._count = 0

    def add(self, chunk: Fields) -> None:
        self._count += 1
        for name, value in chunk.items():
            if name in _FRAME:
                set_once(self._fields, name, value)
            elif name not in _APART and is_same(self._fields.setdefault(name, value), value):
                self._counts[name] = self._counts.get(name, 0) + 1

    def whole(self) -> Fields:
        if any(count != self._count for count in self._counts.values()):
            raise Lossy
        return self._fields


def streamed(dialect: ChunkDialect, answer: Fields) -> Iterator[tuple[bytes, bool]]:
    """The events of a whole answer, and whether each is the one with only usage. Raises Lossy."""
    if answer.get("object") != dialect.whole_kind:
        raise Lossy
    frame = {name: value for name, value in answer.items() if name not in _APART}
    opening = encode(frame | {"object": dialect.chunk_kind})[:-1] + b',"choices":['
    for choice in map(fields_of, items_of(answer.get("choices"))):
        index = {"index": index_of(choice.get("index"))}
        for chunk in dialect.chunks(choice):
            yield spell(opening + encode(index | chunk) + b"]}"), False
    if "usage" in answer:
        yield spell(opening + b'],"usage":' + encode(fields_of(answer["usage"])) + b"}"), True
    yield spell(DONE), False


def ends_of(choice: Fields) -> Fields:
    """The fields of `ENDS` that a whole choice has. Raises Lossy if it has no finish reason."""
    if not isinstance(choice.get("finish_reason"), str):
        raise Lossy
    return {name: choice[name] for name in ENDS if name in choice}


def note_ends(ends: Fields, choice: Fields) -> None:
    """Notes what a chunk says about the end of its choice. Raises Lossy."""
    for name in ENDS:
        if name in choice:
            set_once(ends, name, choice[name])
