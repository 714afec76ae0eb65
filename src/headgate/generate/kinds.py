"""The types of arguments and outputs: `string`, `int = 3`, `list[string]`, nested objects. Pure.

A kind is read from the text of a source, and written as JSON schema and as a Python annotation.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Any

import msgspec
from msgspec import Struct

_NAMES = {
    "string": ("string", "str", "text"),
    "integer": ("int", "integer"),
    "number": ("float", "number", "decimal"),
    "boolean": ("bool", "boolean"),
    "object": ("object", "dict", "json"),
}
_BASES = {name: base for base, names in _NAMES.items() for name in names}
_ARRAYS = ("list", "array")
_DEPTH_MAX = 8
_ITEMS = re.compile(r"(?:list|array)\s*\[(.*)\]", re.S)
_PYTHON = {"string": "str", "integer": "int", "number": "float", "boolean": "bool",
           "object": "dict[str, Any]"}  # fmt: skip


class Kind(Struct, frozen=True):
    """A type. `base` is string, integer, number, boolean, object or array."""

    base: str
    item: Kind | None = None
    """Of an array."""
    fields: tuple[tuple[str, Kind], ...] = ()
    """Of an object that has certain ones; none: any."""
    optional: bool = False
    """It may be null."""


TEXT = Kind("string")


def read_kind(text: str, depth: int = 0) -> Kind:
    """`string`, `int?`, `list[string]`, `string[]`, ... Raises ValueError saying what is known."""
    text = text.strip()
    if depth > _DEPTH_MAX:
        raise ValueError(f"lists in lists deeper than {_DEPTH_MAX}")
    if text.endswith("?"):
        inner = read_kind(text[:-1], depth + 1)
        return Kind(inner.base, inner.item, inner.fields, optional=True)
    if text.endswith("[]"):
        return Kind("array", read_kind(text[:-2], depth + 1))
    inside = _ITEMS.fullmatch(text)
    if inside:
        return Kind("array", read_kind(inside[1], depth + 1))
    if text.lower() in _ARRAYS:
        return Kind("array", TEXT)
    base = _BASES.get(text.lower())
    if base is None:
        raise ValueError(_unknown(text))
    return Kind(base)


def read_argument(text: str) -> tuple[Kind, bool, Any]:
    """Of `int = 3` the kind, whether there is a default, and the default. Raises ValueError."""
    name, equals, written = text.partition("=")
    kind = read_kind(name)
    if not equals:
        return kind, kind.optional, None
    default = _default(kind, written.strip())
    if not fits(kind, default):
        raise ValueError(f"the default {written.strip()[:40]} is no {name.strip()}")
    return kind, True, default


def _default(kind: Kind, written: str) -> Any:
    """JSON, or for strings also the bare text."""
    try:
        value = msgspec.json.decode(written)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        if kind.base == "string":
            return written
        lowered = written.lower()
        return {"true": True, "false": False, "null": None, "none": None}.get(lowered, written)
    return written if kind.base == "string" and not isinstance(value, str | None) else value


def fits(kind: Kind, value: Any) -> bool:
    """Whether a value is of a kind."""
    if value is None:
        return kind.optional
    if kind.base == "array":
        item = kind.item or TEXT
        return isinstance(value, list) and all(fits(item, one) for one in value)
    if kind.base == "object":
        return isinstance(value, dict)
    if kind.base == "boolean" or isinstance(value, bool):
        return kind.base == "boolean" and isinstance(value, bool)
    if kind.base == "number":
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, int if kind.base == "integer" else str)


def schema_of(kind: Kind) -> dict[str, Any]:
    """Its JSON schema, in the form that providers hold a model to: every field is required and no
    other is allowed."""
    schema: dict[str, Any] = {"type": [kind.base, "null"] if kind.optional else kind.base}
    if kind.base == "array":
        schema["items"] = schema_of(kind.item or TEXT)
    if kind.fields:
        schema["properties"] = {name: schema_of(inner) for name, inner in kind.fields}
        schema["required"] = [name for name, _ in kind.fields]
        schema["additionalProperties"] = False
    return schema


def annotation_of(kind: Kind, name_of_object: str = "") -> str:
    """As Python writes it; `name_of_object` is the class of the innermost object with fields."""
    if kind.base == "array":
        written = f"list[{annotation_of(kind.item or TEXT, name_of_object)}]"
    elif kind.fields:
        written = name_of_object
    else:
        written = _PYTHON[kind.base]
    return f"{written} | None" if kind.optional else written


def example_of(kind: Kind) -> Any:
    """A value of this kind, for tests."""
    if kind.base == "array":
        return [example_of(kind.item or TEXT)]
    if kind.base == "object":
        return {name: example_of(inner) for name, inner in kind.fields}
    return {"string": "some text", "integer": 3, "number": 0.5, "boolean": True}[kind.base]


def _unknown(text: str) -> str:
    known = [*_BASES, *_ARRAYS]
    near = difflib.get_close_matches(text.lower(), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
    return f"unknown type {text[:40]!r}{hint}"
