"""Strict parsing and the canonical form, judged by three independent readers: the standard library,
orjson, and rfc8785 as the oracle of canonical spelling.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.canonical import (
    ARRAY_MAX,
    DEPTH_MAX,
    INTEGER_MAX,
    SEED_MAX,
    canonical,
    is_json,
    parse,
    parse_object,
)
from headgate.errors import BadRequest

AMBIGUOUS = {
    "NaN": b'{"temperature": NaN}',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "1e400": b"[1e400]",
    "minus 1E400": b"[-1E400]",
    "duplicate key": b'{"model": "a", "model": "b"}',
    "duplicate key of equal value": b'{"a": 1, "a": 1}',
    "duplicate key in an array": b'[{"a": [{"b": 1, "b": 2}]}]',
    "duplicate key deep down": b'{"a": {"b": {"c": {"d": 1, "d": 2}}}}',
    "duplicate key in another spelling": b'{"a": 1, "\\u0061": 2}',
    "duplicate empty key": b'{"": 1, "": 2}',
    "high surrogate": b'["\\ud800"]',
    "high surrogate before text": b'["\\ud800abc"]',
    "high surrogate after text": b'["abc\\udbff"]',
    "high surrogate before an escape": b'["\\ud800\\n"]',
    "high surrogate before a letter's escape": b'["\\ud800\\u0041"]',
    "high surrogate before U+E000": b'["\\ud800\\ue000"]',
    "two high surrogates": b'["\\ud800\\ud800"]',
    "two high surrogates, then a low one": b'["\\ud800\\ud800\\udc00"]',
    "low surrogate": b'["\\udc00"]',
    "last low surrogate": b'["\\udfff"]',
    "surrogates in the wrong order": b'["\\udc00\\ud800"]',
    "surrogate in upper case": b'["\\uD800"]',
    "surrogate in a key": b'{"\\ud800": 1}',
    "surrogate encoded in UTF-8": b'["\xed\xa0\x80"]',
    "pair of surrogates encoded in UTF-8": b'["\xed\xa0\xbd\xed\xb8\x80"]',
    "invalid UTF-8": b'["\xff"]',
    "invalid UTF-8 in a key": b'{"\xff": 1}',
    "overlong UTF-8": b'["\xc0\xaf"]',
    "truncated UTF-8": b'["\xe2\x82"]',
    "code point beyond Unicode": b'["\xf4\x90\x80\x80"]',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "UTF-32 without a mark": "[1]".encode("utf-32-be"),
    "integer of 100 digits": b"[" + b"9" * 100 + b"]",
    "integer of 5000 digits": b"9" * 5000,
    "integer beyond 2**53": b"[9007199254740993]",
    "integer below -2**53": b"[-9007199254740993]",
    "integer of 64 bits": b'{"top_k": 18446744073709551615}',
    "seed of 65 bits": b'{"seed": 9223372036854775808}',
    "negative seed of 65 bits": b'{"seed": -9223372036854775809}',
    "leading zero": b"[01]",
    "plus sign": b"[+1]",
    "bare point": b"[1.]",
    "leading point": b"[.5]",
    "hexadecimal": b"[0x10]",
    "trailing comma": b"[1,]",
    "trailing comma in an object": b'{"a": 1,}',
    "comment": b"[1] // one",
    "single quotes": b"{'a': 1}",
    "bare key": b"{a: 1}",
    "raw control character": b'["a\nb"]',
    "raw NUL": b'["a\x00b"]',
    "bad escape": b'["\\x41"]',
    "two documents": b"{}{}",
    "text after the end": b"{} x",
    "NUL after the end": b"{}\x00",
    "cut off": b'{"a": [1, 2',
    "empty": b"",
    "white space only": b" \n ",
    "form feed as white space": b"\x0c[1]",
    "no-break space as white space": b"\xc2\xa0[1]",
    "literal in the wrong case": b"[True]",
    "undefined": b"[undefined]",
    "very deep arrays": b"[" * 100_000,
    "very deep objects": b'{"a":' * 100_000,
    "balanced and very deep": b"[" * 50_000 + b"]" * 50_000,
}

CLEAR = (
    b"{}", b"[]", b"null", b"true", b'"x"', b" [1 , 2]\r\n\t", b"[0, -0, -0.0, 0.0]",
    b"[1e5, 1E5, 1e+5, 1.0e-7]", b"[1e-400]", b"[5e-324, 1.7976931348623157e308]", b"[1e19]",
    b"[0.1, 0.30000000000000004, 3.14]", b"[123456789012345678901234567890.5]",
    b"[9007199254740992, -9007199254740992]", b'{"seed": 9223372036854775807}',
    b'{"seed": -9223372036854775808}', b'["\\u0000", "\\ud83d\\ude00", "\\/", "\\u00e9"]',
    '["é", "e\u0301", "\u2028", "\ufeff", "\uffff", "\x7f"]'.encode(),
    b'{"A": 1, "a": 2, "": 3}', '{"é": 1, "e\u0301": 2}'.encode(),
)  # fmt: skip

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
JSONISH = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", '"a"', '"a":', '"\\ud800', '\\udc00"', "1", "-", ".", "e",
         "999", "0", "null", "true", "NaN", "\\", '"', " ", "\ufeff", "seed", "é", "1e400"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


def ours_of(text: bytes) -> Any:
    """What we make of `text`; None if it is refused. Any error but BadRequest fails the test."""
    try:
        return parse(text)
    except BadRequest:
        return None


def alike(left: Any, right: Any) -> bool:
    """Equal in value and in type, all the way down: 1, 1.0 and True are three things."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(alike(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


@pytest.mark.parametrize("text", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_two_readers_could_take_differently_is_a_bad_request(text: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert caught.value.status_hint == 400
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("text", CLEAR)
def test_what_is_clear_means_the_same_to_all_three_readers(text: bytes) -> None:
    ours = parse(text)
    assert alike(ours, json.loads(text))
    assert alike(ours, orjson.loads(text)) or b"-0," in text  # orjson reads -0 as a float


@settings(max_examples=400)
@given(JSONISH)
def test_json_like_text_is_refused_or_means_the_same_to_all_three_readers(text: str) -> None:
    body = text.encode()
    ours = ours_of(body)
    if ours is not None:
        assert alike(ours, json.loads(body))
        assert ours == orjson.loads(body)


@settings(max_examples=400)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_bad_request(body: bytes) -> None:
    ours = ours_of(body)
    assert ours is None or alike(ours, json.loads(body))


@settings(max_examples=300)
@given(VALUES, st.integers(0, 200), st.binary(min_size=1, max_size=2))
def test_a_damaged_document_raises_nothing_but_bad_request(
    value: Any, place: int, damage: bytes
) -> None:
    body = json.dumps(value).encode()
    place %= len(body)
    damaged = body[:place] + damage + body[place + 1 :]
    ours = ours_of(damaged)
    assert ours is None or ours == orjson.loads(damaged) or b"-0" in damaged


@settings(max_examples=300)
@given(VALUES)
def test_a_value_survives_parse_and_canonical_unchanged(value: Any) -> None:
    for spelled in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        assert alike(parse(spelled), value)
    assert alike(parse(canonical(value)), value)


@settings(max_examples=300)
@given(VALUES)
def test_order_of_keys_and_white_space_do_not_change_the_canonical_form(value: Any) -> None:
    def turned(item: Any) -> Any:
        if isinstance(item, dict):
            return {name: turned(item[name]) for name in reversed(item)}
        return [turned(part) for part in item] if isinstance(item, list) else item

    loose = json.dumps(turned(value), indent=3, separators=(" ,", " : ")).encode()
    assert canonical(parse(loose)) == canonical(value)


@settings(max_examples=300)
@given(VALUES, VALUES)
def test_two_values_share_a_canonical_form_only_if_they_are_alike(left: Any, right: Any) -> None:
    assert (canonical(left) == canonical(right)) == alike(left, right)


WITHOUT_FLOATS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=0xD7FF)), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(WITHOUT_FLOATS)
def test_the_canonical_form_is_that_of_rfc_8785_where_both_are_defined(value: Any) -> None:
    """Left out: floats (RFC 8785 writes 1.0 as 1, which we keep apart) and keys beyond U+D7FF
    (it sorts by UTF-16 units, we by code point)."""
    assert rfc8785.dumps(parse(canonical(value))) == rfc8785.dumps(value)
    assert json.loads(canonical(value)) == json.loads(rfc8785.dumps(value))
    assert canonical(value) == rfc8785.dumps(value)


def test_depth_is_allowed_up_to_the_limit_and_refused_beyond() -> None:
    at_limit = b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    assert parse(at_limit)
    assert parse(b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX)
    with pytest.raises(BadRequest, match="64 levels"):
        parse(b"[" + at_limit + b"]")


def test_an_array_is_allowed_up_to_the_limit_and_refused_beyond() -> None:
    at_limit = b"[" + b"0," * (ARRAY_MAX - 1) + b"0]"
    assert len(parse(at_limit)) == ARRAY_MAX
    with pytest.raises(BadRequest, match="10001 items in 'input'"):
        parse(b'{"input": [0,' + at_limit[1:] + b"}")


@pytest.mark.parametrize("number", [INTEGER_MAX, -INTEGER_MAX])
def test_integers_are_exact_up_to_2_to_the_53rd(number: int) -> None:
    assert parse(str(number).encode()) == number
    with pytest.raises(BadRequest, match="out of range in 'n'"):
        parse(json.dumps({"n": number + (1 if number > 0 else -1)}).encode())


@pytest.mark.parametrize("seed", [SEED_MAX, -SEED_MAX - 1])
def test_a_seed_has_the_full_64_bits_and_no_more(seed: int) -> None:
    assert parse(json.dumps({"options": {"seed": seed}}).encode())["options"]["seed"] == seed
    with pytest.raises(BadRequest, match="'seed'"):
        parse(json.dumps({"seed": seed + (1 if seed > 0 else -1)}).encode())


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"[]", "an array"), (b'"x"', "a string"), (b"null", "null"), (b"1", "a number"),
     (b"1.5", "a number"), (b"true", "a boolean")],
)  # fmt: skip
def test_a_body_that_is_no_object_is_refused_by_its_kind(body: bytes, kind: str) -> None:
    with pytest.raises(BadRequest, match=kind):
        parse_object(body)


@pytest.mark.parametrize(
    ("body", "word"),
    [(b"", "empty"), (b" \n", "empty"), (b'{"a": NaN}', "NaN"), (b"[-Infinity]", "-Infinity"),
     (b'{"a": "\\ud800"}', "surrogate"), (b'["\\uDC00x"]', "surrogate"), (b'{"a"', "truncated"),
     (b"[" * 1000 + b"NaN", "deeper"), (b"[1e999]", "out of range")],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong(body: bytes, word: str) -> None:
    with pytest.raises(BadRequest, match=word):
        parse(body)


def test_a_duplicate_key_is_named_but_never_quoted_at_length() -> None:
    name = "k" * 5000
    with pytest.raises(BadRequest, match="duplicate key 'k") as caught:
        parse(f'{{"{name}": 1, "{name}": 2}}'.encode())
    assert len(caught.value.message) < 150


class Text(str):
    """A subclass: may carry more than its characters."""


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), (1, 2), {1: "a"}, {"a": {2}}, b"x", Text("x"), {Text("x"): 1},
     [object()], 1j],
)  # fmt: skip
def test_a_python_value_that_is_not_exactly_json_is_not_json(value: Any) -> None:
    assert not is_json(value)
    assert not is_json({"nested": [value]})


@settings(max_examples=200)
@given(VALUES)
def test_a_json_value_is_json(value: Any) -> None:
    assert is_json(value)


def test_a_value_that_contains_itself_is_not_json() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert not is_json(endless)
