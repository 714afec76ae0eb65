"""Strict JSON in, canonical bytes out. Whatever two readers could understand differently is
refused here, so that the key, the upstream and we all mean the same request. Pure.

Measured on a 400 B chat body: decode 0.55 us, duplicate check 2.7 us, sorted encode 0.36 us.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, cast

import msgspec

from headgate.errors import BadRequest

DEPTH_MAX = 64
ARRAY_MAX = 10_000
INTEGER_MAX = 2**53
SEED_MAX = 2**63 - 1

_INTEGER_RANGE = (-INTEGER_MAX, INTEGER_MAX)
_SEED_RANGE = (-SEED_MAX - 1, SEED_MAX)

_decode = msgspec.json.Decoder().decode


def parse(body: bytes) -> Any:
    """The value of a JSON document.

    Raises BadRequest for malformed JSON or UTF-8, NaN and infinities, lone surrogates, duplicate
    keys, more than 64 levels, arrays of more than 10 000 items, and integers beyond 2**53
    (`seed`: beyond 64 bits signed).
    """
    try:
        value = _decode(body)
        # Without the white space before it, which the scanner takes for no JSON.
        _check_keys(body.decode().lstrip(), 0)
    except RecursionError:
        raise BadRequest(f"JSON nested deeper than {DEPTH_MAX} levels") from None
    except UnicodeError:
        raise BadRequest("body is not valid UTF-8") from None
    except msgspec.MsgspecError as error:
        raise BadRequest(f"body is not valid JSON: {_why(body, error)}") from None
    except ValueError as error:
        # json is stricter than msgspec nowhere but in its limit on digits of an integer.
        raise BadRequest(f"body is not valid JSON: {error}") from None
    _check(value, 1, "")
    return value


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _why(body: bytes, error: msgspec.MsgspecError) -> str:
    """What is wrong, where the library's own words would mislead: it takes a lone surrogate for the
    end of the text, as it takes no text at all."""
    if not body.strip():
        return "it is empty"
    try:
        json.loads(body, parse_constant=_reject_constant)
    except BadRequest as found:
        return found.message
    except (ValueError, RecursionError):
        return str(error)
    return "it holds half of a surrogate pair" if _SURROGATE.search(body) else str(error)


def _reject_constant(name: str) -> None:
    raise BadRequest(f"{name} is no number in JSON; send null or a string")


def parse_object(body: bytes) -> dict[str, Any]:
    """As `parse`, for a body that must be a JSON object."""
    value = parse(body)
    if not isinstance(value, dict):
        raise BadRequest(f"expected a JSON object, got {_kind(value)}")
    return value


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"duplicate key {twice[:80]!r}; send each key once")


_check_keys = cast(Any, json.JSONDecoder(object_pairs_hook=_reject_duplicates)).scan_once
"""Made once: `json.loads` makes a decoder for each call that has a hook, which takes longer. The
scanner alone, as there is no white space to look for and nothing left over: it was decoded."""


def _check(value: Any, depth: int, name: str) -> None:
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is float:
        return
    if kind is int:
        low, high = _SEED_RANGE if name == "seed" else _INTEGER_RANGE
        if not low <= value <= high:
            raise BadRequest(f"integer out of range in {name[:80]!r}; send it as a string")
        return
    if depth > DEPTH_MAX:
        raise BadRequest(f"JSON nested deeper than {DEPTH_MAX} levels")
    if kind is dict:
        for field, item in value.items():
            # Strings, most of what there is, without a call.
            if type(item) is not str:
                _check(item, depth + 1, field)
        return
    if len(value) > ARRAY_MAX:
        raise BadRequest(f"array of {len(value)} items in {name[:80]!r}; at most {ARRAY_MAX}")
    for item in value:
        _check(item, depth + 1, name)


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


canonical: Callable[[Any], bytes] = msgspec.json.Encoder(order="sorted").encode
"""One spelling per JSON value: keys sorted, no white space, floats in their shortest round-trip
form, strings byte-exact. The encoder's own function: no Python frame a call.

The value must be JSON by `is_json` or come from `parse`; anything else would be *coerced* by the
encoder (bytes to base64, NaN to null) and could meet another value's spelling.
"""


_SCALARS = frozenset({str, int, bool, type(None)})


def is_json(value: Any, depth: int = 1) -> bool:
    """Whether a Python value is exactly a JSON value: no subclass, no NaN, no key but str, so that
    writing it and reading it back gives an equal value of equal types."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is float:
        return bool(value - value == 0.0)
    if depth > DEPTH_MAX:
        return False
    if kind is dict:
        return all(type(name) is str and is_json(item, depth + 1) for name, item in value.items())
    return kind is list and all(is_json(item, depth + 1) for item in value)
