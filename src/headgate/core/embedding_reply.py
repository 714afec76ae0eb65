"""The reply to several inputs taken apart, and replies to one input put together. Pure.

Vectors are slices of the bytes that came: no number of theirs is read, so none is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from headgate.core.apportion import apportioned
from headgate.core.inspection_rules import UNREADABLE

Fields = dict[str, Raw]
_decode_frame = msgspec.json.Decoder(Fields).decode
_decode_items = msgspec.json.Decoder(list[Fields]).decode
_decode_index = msgspec.json.Decoder(int).decode
_decode_usage = msgspec.json.Decoder(dict[str, Any] | None).decode
_encode = msgspec.json.Encoder().encode
_NULL = Raw(b"null")


class Mismatch(ValueError):
    """A reply from which it cannot be told whose vector is whose."""


class Piece(Struct, frozen=True):
    """The answer to one input."""

    frame: Fields
    """Everything around the list: model, object, and what a provider adds."""
    item: Fields
    usage: dict[str, Any] | None
    """Its part of what was counted; None where nobody has."""


def taken_apart(content: bytes, weights: Sequence[int]) -> list[Piece]:
    """One piece for each of `weights` inputs, in their order, by `index`; numbers of the usage are
    shared out by the weights. Raises Mismatch where an index is missing, there twice or strange,
    and where vectors of one reply differ in length."""
    try:
        frame = _decode_frame(content)
        items = _decode_items(frame["data"])
        usage = _decode_usage(frame.get("usage", _NULL))
        # Their places in the frame stay: what is put together has the order that it came in.
        frame |= {name: _NULL for name in ("data", "usage") if name in frame}
        places = [_decode_index(item["index"]) for item in items]
    except (*UNREADABLE, KeyError) as error:
        raise Mismatch("no list of vectors with an index each") from error
    if sorted(places) != list(range(len(weights))):
        raise Mismatch(f"{len(items)} vectors came for {len(weights)} inputs, or not one for each")
    if len({_length(item) for item in items}) != 1:
        raise Mismatch("vectors of different lengths came for one model")
    usages = _shared(usage, weights)
    ordered = dict(zip(places, items, strict=True))
    return [Piece(frame, ordered[at], part) for at, part in enumerate(usages)]


def piece_in(content: bytes) -> Piece | None:
    """The only answer in a reply to one input; None for any other reply."""
    try:
        return taken_apart(content, [1])[0]
    except Mismatch:
        return None


def put_together(pieces: Sequence[Piece]) -> bytes:
    """The reply to all these inputs, in their order; numbers of the usage add up, the frame is that
    of the first. At least one."""
    items = [{**piece.item, "index": at} for at, piece in enumerate(pieces)]
    whole: dict[str, Any] = {**pieces[0].frame, "data": items}
    usage = _added([piece.usage for piece in pieces])
    if usage is not None:
        whole["usage"] = usage
    return _encode(whole)


def _length(item: Fields) -> int:
    """Of a vector: how many numbers, or how many characters of base64. One that is neither (a
    matrix, say) may have any length."""
    vector = bytes(item.get("embedding", b""))
    if vector.startswith(b'"'):
        return len(vector)
    return vector.count(b",") + 1 if vector.startswith(b"[") and b"[" not in vector[1:] else -1


def _shared(usage: dict[str, Any] | None, weights: Sequence[int]) -> list[dict[str, Any] | None]:
    if usage is None:
        return [None] * len(weights)
    columns = {
        name: apportioned(value, weights) if _is_count(value) else [value] * len(weights)
        for name, value in usage.items()
    }
    return [{name: parts[at] for name, parts in columns.items()} for at in range(len(weights))]


def _added(usages: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    whole: dict[str, Any] = {}
    for usage in usages:
        for name, value in (usage or {}).items():
            known = whole.get(name)
            whole[name] = known + value if _is_count(known) and _is_count(value) else value
    return whole or None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
