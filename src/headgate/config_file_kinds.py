"""The kinds of values a setting may have: how each is read, described to an editor, and spelled.

A kind follows from the annotation of a dataclass field; messages never repeat what came from the
environment or belongs to a secret.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from headgate.config_file_text import Expanded
from headgate.core.units import (
    Bounds,
    format_duration,
    format_size,
    parse_duration,
    parse_exact,
    parse_size,
)
from headgate.types import Secret

_DURATION = "a duration such as 250ms, 90s, 5m, 2h or 7d"
_SIZE = "a size such as 64KB, 256MB or 1GiB"
_SWITCHES = {"true": True, "false": False}
_SHOWN_CHARACTERS = 40
# What a string with a variable in it looks like to an editor, where a number is wanted.
_VARIABLE_SCHEMA = {"type": "string", "pattern": r"\$\{"}
Schema = dict[str, Any]


class Kind(NamedTuple):
    """One kind of value."""

    name: str
    """For people: `duration`, `size`, `integer`, `true or false`, `string`, ..."""
    parse: Callable[[Any], Any]
    """The value in memory; raises ValueError saying what would be right."""
    schema: Schema
    """JSON schema of what the file may say."""
    spell: Callable[[Any], str]
    """A value in memory as the file writes it; a secret as `***`."""


class Form(NamedTuple):
    """An annotation taken apart: `Annotated[Seconds | None, Bounds(0)]` is a float that may be
    absent, marked `duration`, with bounds."""

    base: Any
    marks: tuple[Any, ...] = ()

    @property
    def bounds(self) -> Bounds:
        return next(
            (mark for mark in self.marks if isinstance(mark, Bounds)), Bounds(float("-inf"))
        )


def form_of(annotation: Any) -> Form:
    """Takes an annotation apart."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        form = form_of(inner)
        return form._replace(marks=form.marks + tuple(marks))
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = (part for part in get_args(annotation) if part is not NoneType)
        return form_of(inner)
    return Form(annotation)


def kind_of(annotation: Any) -> Kind:
    """The kind of value that a field with this annotation holds.

    Raises TypeError for an annotation that no setting uses yet.
    """
    form = form_of(annotation)
    if "duration" in form.marks:
        return _duration(form.bounds)
    if "size" in form.marks:
        return _size(form.bounds)
    if "dollars" in form.marks:
        return _exact("dollars", "dollars per million tokens such as 0.15", form.bounds)
    if "factor" in form.marks:
        return _exact("number", "a number such as 0.5", form.bounds)
    if get_origin(form.base) is Literal:
        return _choice(get_args(form.base))
    for base, kind in ((bool, _switch), (str, _text), (Secret, _secret)):
        if form.base is base:
            return kind()
    if form.base is int:
        return _integer(form.bounds)
    if form.base is float:
        return _real(form.bounds)
    if form.base == tuple[str, ...]:
        return Kind(
            "list of strings", _texts, {"type": "array", "items": {"type": "string"}}, _json
        )
    if form.base == tuple[Secret, ...]:
        return _secrets()
    raise TypeError(f"no kind of setting for {annotation!r}")


def shown(value: Any) -> str:
    """A value for a message: short, and nothing from the environment."""
    if isinstance(value, Expanded):
        return "something else from the environment"
    if isinstance(value, bool | int | float | str):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    names = {dict: "a table", list: "a list", tuple: "a list", NoneType: "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")


def _unlike(wanted: str, value: Any) -> ValueError:
    return ValueError(f"expected {wanted}, got {shown(value)}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _duration(bounds: Bounds) -> Kind:
    wanted = f"{bounds.describe()} seconds"

    def parse(value: Any) -> Any:
        if _is_number(value) and not 0 <= value < math.inf:
            raise ValueError(f"must be finite and {wanted}, got {shown(value)}")
        return _within(bounds, _read(parse_duration, _DURATION, value), wanted, value)

    schema = {"anyOf": [_number_schema("number", bounds), {"type": "string"}]}
    return Kind("duration", parse, schema, lambda seconds: _json(format_duration(seconds)))


def _size(bounds: Bounds) -> Kind:
    wanted = f"at least {format_size(int(bounds.low))}"

    def parse(value: Any) -> Any:
        if _is_number(value) and not 0 <= value < math.inf:
            raise ValueError(f"must be finite and {wanted}, got {shown(value)}")
        return _within(bounds, _read(parse_size, _SIZE, value), wanted, value)

    schema = {"anyOf": [_number_schema("integer", bounds), {"type": "string"}]}
    return Kind("size", parse, schema, lambda size_bytes: _json(format_size(size_bytes)))


def _read(parse: Callable[[Any], Any], wanted: str, value: Any) -> Any:
    try:
        return parse(value)
    except ValueError:
        raise _unlike(wanted, value) from None


def _within(bounds: Bounds, number: Any, wanted: str, value: Any) -> Any:
    if bounds.admit(number):
        return number
    raise ValueError(f"must be {wanted}, got {shown(value)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_range(kind: str, bounds: Bounds) -> str:
    """`a number, at least 1`: what is allowed is said of a value of another kind, too."""
    return kind if bounds.low == -math.inf else f"{kind}, {bounds.describe()}"


def _number_schema(type_name: str, bounds: Bounds) -> Schema:
    schema: Schema = {"type": type_name}
    if bounds.low > float("-inf"):
        schema["exclusiveMinimum" if bounds.above else "minimum"] = bounds.low
    if bounds.high < float("inf"):
        schema["maximum"] = bounds.high
    return schema


def _integer(bounds: Bounds) -> Kind:
    def parse(value: Any) -> int:
        is_number = isinstance(value, Expanded) and value.strip().isdecimal()
        number = int(value) if is_number else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise _unlike(_in_range("a whole number", bounds), value)
        return int(_within(bounds, number, bounds.describe(), value))

    schema = {"anyOf": [_number_schema("integer", bounds), _VARIABLE_SCHEMA]}
    return Kind("whole number", parse, schema, str)


def _real(bounds: Bounds) -> Kind:
    def parse(value: Any) -> float:
        number = _from_environment(value) if isinstance(value, Expanded) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _unlike(_in_range("a number", bounds), value)
        return float(_within(bounds, number, bounds.describe(), value))

    schema = {"anyOf": [_number_schema("number", bounds), _VARIABLE_SCHEMA]}
    return Kind("number", parse, schema, lambda number: f"{number:.15g}")


def _exact(name: str, wanted: str, bounds: Bounds) -> Kind:
    """A number without rounding: TOML floats count as they are written."""

    def parse(value: Any) -> Decimal:
        try:
            number = parse_exact(value)
        except ValueError as error:
            if "digits" in str(error):
                raise ValueError(f"has {error}: {shown(value)}") from None
            raise _unlike(wanted, value) from None
        ends = f"at least {bounds.low:.0f} and at most {bounds.high:.0f}"
        return Decimal(_within(bounds, number, ends, value))

    schema = {"anyOf": [_number_schema("number", bounds), {"type": "string"}]}
    return Kind(name, parse, schema, lambda number: _json(f"{number:f}"))


def _from_environment(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _switch() -> Kind:
    def parse(value: Any) -> bool:
        switch = _SWITCHES.get(value.strip()) if isinstance(value, Expanded) else value
        if not isinstance(switch, bool):
            raise _unlike("true or false", value)
        return switch

    schema = {"anyOf": [{"type": "boolean"}, _VARIABLE_SCHEMA]}
    return Kind("true or false", parse, schema, _json)


def _choice(choices: tuple[str, ...]) -> Kind:
    wanted = " or ".join(map(_json, choices))

    def parse(value: Any) -> str:
        if value not in choices:
            raise _unlike(wanted, value)
        return str(value)

    return Kind(wanted, parse, {"type": "string", "enum": list(choices)}, _json)


def _text() -> Kind:
    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise _unlike("a string", value)
        if "\0" in value:
            # No host, file or model has one in its name, and the system's own errors are obscure.
            raise ValueError("contains a NUL character")
        return str(value)

    return Kind("string", parse, {"type": "string"}, _json)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _unlike("a list of strings", value)
    for item in value:
        if not isinstance(item, str):
            raise ValueError(f"expected a list of strings, got one with {shown(item)} in it")
    return tuple(map(str, value))


def _secret() -> Kind:
    def parse(value: Any) -> Secret:
        if not isinstance(value, str):
            raise ValueError("expected a string")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("contains a space, a line break or a character outside ASCII")
        return Secret(str(value))

    return Kind("secret string", parse, {"type": "string"}, lambda it: '"***"' if it else '""')


def _secrets() -> Kind:
    one = _secret()

    def parse(value: Any) -> tuple[Secret, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError("expected a list of strings")
        found = tuple(one.parse(item) for item in value)
        if not all(found):
            raise ValueError("contains an empty string")
        return found

    schema = {"type": "array", "items": {"type": "string"}}
    return Kind("list of secret strings", parse, schema, lambda it: _json(["***"] * len(it)))
