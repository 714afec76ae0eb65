"""What the fake provider says where a JSON Schema is to be satisfied: a small value of that shape.
Pure, and bounded whatever the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PLENTY_DEPTH, _PLENTY_PARTS = 5, 200
"""Up to here everything that a schema names is made; beyond, only what it requires."""
_DEPTH_MAX, _PARTS_MAX = 32, 2000
"""A schema may refer to itself; from here on everything is null."""
_ITEMS_MAX, _CHARS_MAX = 100, 10_000
_OPTIONS = ("anyOf", "oneOf", "allOf")
_NESTING = ("$ref", "properties", "items", *_OPTIONS)
_FORMATS = {"date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "00:00:00Z",
            "email": "someone@example.com", "uri": "https://example.com/",
            "uuid": "00000000-0000-4000-8000-000000000000"}  # fmt: skip


def example_of(schema: Any) -> Any:
    """A small value that satisfies the usual JSON Schema: types, properties, items, enum, const,
    bounds of numbers, texts and lists, formats, local `$ref`, the first of anyOf, oneOf, allOf.
    Patterns are not honoured; nor is anything below 32 levels or after 2000 parts."""
    return _Example(schema).of(schema, 0)


class _Example:
    """Walks one schema and counts the parts it has made."""

    __slots__ = ("_parts", "_root")

    def __init__(self, root: Any) -> None:
        self._root = root
        self._parts = 0

    def of(self, schema: Any, depth: int) -> Any:
        self._parts += 1
        if not isinstance(schema, Mapping) or depth > _DEPTH_MAX or self._parts > _PARTS_MAX:
            return None
        if "const" in schema:
            return schema["const"]
        enum = schema.get("enum")
        if isinstance(enum, list) and enum:
            return enum[0]
        if isinstance(schema.get("$ref"), str):
            return self.of(self._resolve(schema["$ref"]), depth + 1)
        for name in _OPTIONS:
            options = schema.get(name)
            if isinstance(options, list) and options:
                return self.of(self._choice(options, depth), depth + 1)
        return self._of_type(self._kind(schema, depth), schema, depth)

    def _has_plenty(self, depth: int) -> bool:
        return depth > _PLENTY_DEPTH or self._parts > _PLENTY_PARTS

    def _choice(self, options: list[Any], depth: int) -> Any:
        """The first; where there is plenty the first that goes no deeper."""
        if not self._has_plenty(depth):
            return options[0]
        return next((one for one in options if _is_flat(one)), options[0])

    def _kind(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else None)
        if not isinstance(kind, list):
            return kind
        return "null" if self._has_plenty(depth) and "null" in kind else next(iter(kind), None)

    def _of_type(self, kind: Any, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "object":
            return {name: self.of(part, depth + 1) for name, part in self._fields(schema, depth)}
        if kind == "array":
            return [self.of(part, depth + 1) for part in self._items(schema, depth)]
        if kind in ("integer", "number"):
            return _number_within(schema)
        if kind == "string":
            return _text_within(schema)
        return True if kind == "boolean" else None

    def _fields(self, schema: Mapping[str, Any], depth: int) -> list[tuple[str, Any]]:
        properties = schema.get("properties")
        named = [*properties.items()] if isinstance(properties, Mapping) else []
        if not self._has_plenty(depth):
            return named
        required = schema.get("required")
        needed = required if isinstance(required, list) else []
        return [(name, part) for name, part in named if name in needed]

    def _items(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems")
        parts = [*first] if isinstance(first, list) else []
        usual = 1 if "items" in schema and not parts and not self._has_plenty(depth) else 0
        count = max(usual, _count_in(schema, "minItems", 0))
        count = min(count, _count_in(schema, "maxItems", _ITEMS_MAX), _ITEMS_MAX)
        return parts + [schema.get("items")] * (count - len(parts))

    def _resolve(self, pointer: str) -> Any:
        """What a local reference such as `#/$defs/City` points at; None if nothing."""
        place = self._root
        for step in pointer.removeprefix("#").strip("/").split("/"):
            if step:
                place = place.get(step) if isinstance(place, Mapping) else None
        return place


def _is_flat(schema: Any) -> bool:
    return isinstance(schema, Mapping) and not any(name in schema for name in _NESTING)


def _count_in(schema: Mapping[str, Any], name: str, usual: int) -> int:
    count = schema.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) else usual


def _text_within(schema: Mapping[str, Any]) -> str:
    """A text of the format, or one as long as the schema wants it."""
    formatted = _FORMATS.get(str(schema.get("format")))
    if formatted is not None:
        return formatted
    shortest = min(_count_in(schema, "minLength", 0), _CHARS_MAX)
    return "example".ljust(shortest, "e")[: max(0, _count_in(schema, "maxLength", _CHARS_MAX))]


def _number_within(schema: Mapping[str, Any]) -> int | float:
    """The lowest number a schema allows by a whole step, 1 where it has no lower bound."""
    low = max(_bounds(schema, ("minimum", 0), ("exclusiveMinimum", 1)), default=1)
    return min([low, *_bounds(schema, ("maximum", 0), ("exclusiveMaximum", -1))])


def _bounds(schema: Mapping[str, Any], *steps: tuple[str, int]) -> Iterator[int | float]:
    for name, step in steps:
        bound = schema.get(name)
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            yield bound + step
