"""How exactly an answer fits the types of the official SDKs. The SDKs themselves forgive missing
and unknown fields, so a test that only reads an answer through them would not notice either.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pydantic

DONE = "[DONE]"


def fitted(shape: Any, content: bytes | str) -> Any:
    """`content` as an object of the SDK's type `shape`; ValidationError where it does not fit."""
    return adapter_of(shape).validate_json(content, strict=True)


@functools.cache
def adapter_of(shape: Any) -> pydantic.TypeAdapter[Any]:
    """Kept, because that of a union of fifty events takes a second to make."""
    return pydantic.TypeAdapter(shape)


def unknown_fields(value: Any, place: str = "") -> Iterator[str]:
    """Where `value`, made by `fitted`, has fields that its types do not know."""
    if isinstance(value, pydantic.BaseModel):
        yield from (f"{place}.{name}" for name in value.model_extra or {})
        children = [(f".{name}", child) for name, child in value]
    elif isinstance(value, list):
        children = [(f"[{index}]", child) for index, child in enumerate(value)]
    else:
        return
    for name, child in children:
        yield from unknown_fields(child, place + name)


def data_of(pieces: Iterable[bytes]) -> list[str]:
    """The `data:` of each event of a stream that has one event per piece, `[DONE]` included."""
    return [piece.decode().removesuffix("\n\n").partition("data: ")[2] for piece in pieces]


def events_of(pieces: Iterable[bytes]) -> list[Any]:
    """The JSON of each event, without the final `[DONE]`."""
    return [json.loads(data) for data in data_of(pieces) if data != DONE]
