"""What the conversions between whole answers and streams share: strict reading of JSON values, and
the rules by which the pieces of a stream are put together. Pure.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

import msgspec

from headgate.core.canonical import canonical
from headgate.core.sse import Splitter, parse_event

Fields = dict[str, Any]
Event = tuple[bytes, bytes]
"""Name and data of one event that has data."""

ANY: frozenset[str] = frozenset()
PIECE_CHARS = 48
PIECES_MAX = 256
"""A text is cut into at most so many pieces: longer ones get longer pieces."""


class Lossy(Exception):
    """Something is there whose rule is not known, so a conversion would lose or invent a part."""


_decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def read(content: bytes | str) -> Any:
    """The JSON value of `content`. Raises Lossy where it is none."""
    try:
        return _decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Lossy from None


def fields_of(value: Any, known: AbstractSet[str] = ANY) -> Fields:
    """`value`, which must be an object and, where any are named, have no other than `known`
    fields. Raises Lossy."""
    if not isinstance(value, dict) or (known and not value.keys() <= known):
        raise Lossy
    return value


def items_of(value: Any) -> list[Any]:
    """`value`, which must be a list. Raises Lossy."""
    if not isinstance(value, list):
        raise Lossy
    return value


def text_of(value: Any) -> str:
    """`value`, which must be a string. Raises Lossy."""
    if not isinstance(value, str):
        raise Lossy
    return value


def index_of(value: Any) -> int:
    """`value`, which must be a whole number >= 0. Raises Lossy."""
    if type(value) is not int or value < 0:
        raise Lossy
    return value


def is_same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; 1, 1.0 and true are three values."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    return canonical(one) == canonical(other)


def in_order(numbered: dict[int, Any]) -> list[Any]:
    """The values of the keys 0, 1, 2, ... Raises Lossy for a gap or where there are none."""
    if not numbered or max(numbered) != len(numbered) - 1:
        raise Lossy
    return [numbered[index] for index in range(len(numbered))]


def events_in(content: bytes) -> list[Event]:
    """The events with data of a whole stream. Raises Lossy for one that does not end, and
    UpstreamGarbled."""
    splitter = Splitter()
    events = [parse_event(raw) for raw in splitter.feed(content)]
    if splitter.rest():
        raise Lossy
    return [event for event in events if event[1]]


def pieces_of(text: str) -> list[str]:
    """`text` as it might have been streamed; no piece if it is empty."""
    step = max(PIECE_CHARS, -(-len(text) // PIECES_MAX))
    return [text[at : at + step] for at in range(0, len(text), step)]


def set_once(fields: Fields, name: str, value: Any) -> None:
    """Sets a field that is null, or not there, until its only value comes. Raises Lossy for a
    second value."""
    known = fields.get(name)
    if known is None:
        fields[name] = value
    elif value is not None and not is_same(known, value):
        raise Lossy


class Series:
    """Fields that come in pieces, of strings or of lists, and are joined; null is no piece."""

    __slots__ = ("_pieces", "_type")

    def __init__(self, kind: type[str] | type[list[Any]]) -> None:
        self._type = kind
        self._pieces: dict[str, list[Any]] = {}

    def add(self, name: str, value: Any) -> None:
        """The next piece of a field. Raises Lossy for a value of another type."""
        pieces = self._pieces.setdefault(name, [])
        if type(value) is self._type:
            pieces.append(value)
        elif value is not None:
            raise Lossy

    def add_once(self, name: str, value: Any) -> None:
        """As `add`, for what is never cut: one piece, the others empty. Raises Lossy."""
        if value and any(self._pieces.get(name, ())):
            raise Lossy
        self.add(name, value)

    def joined(self) -> Fields:
        """Each field that came; null if it never was anything else."""
        return {name: self._join(pieces) for name, pieces in self._pieces.items()}

    def _join(self, pieces: list[Any]) -> Any:
        if not pieces:
            return None
        return "".join(pieces) if self._type is str else list(chain.from_iterable(pieces))


def tokens_match(tokens: Any, text: Any) -> bool:
    """Whether a text can be streamed token by token; half a character has no text of its own."""
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return False
    return bool(tokens) and "".join(tokens) == text
