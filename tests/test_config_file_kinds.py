"""The kinds of settings: what each accepts, what it says otherwise, how it is spelled."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest

from headgate.config_file_kinds import form_of, kind_of, shown
from headgate.config_file_text import Expanded
from headgate.core.units import Bounds, Bytes, Dollars, Factor, Seconds
from headgate.types import Secret

PORT = Annotated[int, Bounds(0, 65535)]
TTL = Annotated[Seconds, Bounds(0, above=True)]
SIZE = Annotated[Bytes, Bounds(1024)]
RATIO = Annotated[float, Bounds(0, 1, above=True)]
PRICE = Annotated[Dollars | None, Bounds(0, 1_000_000)]
SHARE = Annotated[Factor, Bounds(0, 1)]
CHOICE = Literal["lru", "fifo"]
TEXTS = tuple[str, ...]


@pytest.mark.parametrize(
    ("annotation", "written", "value"),
    [
        (PORT, 4000, 4000),
        (PORT, Expanded("4000"), 4000),
        (TTL, "5m", 300.0),
        (TTL, Expanded("250ms"), 0.25),
        (TTL, 1.5, 1.5),
        (TTL, 7, 7.0),
        (Annotated[Seconds | None, Bounds(0, above=True)], "2h", 7200.0),
        (SIZE, "64KB", 64_000),
        (RATIO, 0.5, 0.5),
        (RATIO, 1, 1.0),
        (RATIO, Expanded(" 0.25 "), 0.25),
        (Annotated[float | None, Bounds(0)], 2, 2.0),
        (SIZE, "1KiB", 1024),
        (SIZE, 2048, 2048),
        (PRICE, "0.15", Decimal("0.15")),
        (PRICE, 0.15, Decimal("0.15")),
        (PRICE, 3, Decimal(3)),
        (PRICE, 0, Decimal(0)),
        (PRICE, 1e-7, Decimal("0.0000001")),
        (PRICE, Expanded(" 0.02 "), Decimal("0.02")),
        (SHARE, 0.5, Decimal("0.5")),
        (bool, False, False),
        (bool, Expanded("true"), True),
        (str, "x", "x"),
        (str, Expanded("x"), "x"),
        (CHOICE, Expanded("fifo"), "fifo"),
        (TEXTS, ["a", Expanded("b")], ("a", "b")),
        (TEXTS, [], ()),
    ],
)
def test_a_value_is_read(annotation: Any, written: Any, value: Any) -> None:
    parsed = kind_of(annotation).parse(written)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("annotation", "written", "message"),
    [
        (PORT, "4000", 'expected a whole number, at least 0 and at most 65535, got "4000"'),
        (PORT, 1.0, "expected a whole number, at least 0 and at most 65535, got 1.0"),
        (PORT, True, "expected a whole number, at least 0 and at most 65535, got true"),
        (PORT, -1, "must be at least 0 and at most 65535, got -1"),
        (PORT, [1], "expected a whole number, at least 0 and at most 65535, got a list"),
        (TTL, "5 parsecs", "expected a duration such as 250ms, 90s, 5m, 2h or 7d, got"),
        (TTL, "0s", 'must be more than 0 seconds, got "0s"'),
        (TTL, -5, "must be finite and more than 0 seconds, got -5"),
        (TTL, float("nan"), "must be finite and more than 0 seconds, got NaN"),
        (TTL, float("inf"), "must be finite and more than 0 seconds, got Infinity"),
        (SIZE, -1, "must be finite and at least 1024B, got -1"),
        (PORT, float("nan"), "expected a whole number, at least 0 and at most 65535, got NaN"),
        (RATIO, "150%", 'expected a number, more than 0 and at most 1, got "150%"'),
        (TTL, True, "expected a duration"),
        (TTL, {}, "got a table"),
        (RATIO, "0.5", 'expected a number, more than 0 and at most 1, got "0.5"'),
        (RATIO, True, "expected a number, more than 0 and at most 1, got true"),
        (RATIO, 0, "must be more than 0 and at most 1, got 0"),
        (RATIO, 1.5, "must be more than 0 and at most 1, got 1.5"),
        (RATIO, float("nan"), "must be more than 0 and at most 1, got NaN"),
        (SIZE, "1K", 'expected a size such as 64KB, 256MB or 1GiB, got "1K"'),
        (SIZE, "1KB", 'must be at least 1024B, got "1KB"'),
        (PRICE, -1, "must be at least 0 and at most 1000000, got -1"),
        (PRICE, "1000001", 'must be at least 0 and at most 1000000, got "1000001"'),
        (PRICE, "free", 'expected dollars per million tokens such as 0.15, got "free"'),
        (PRICE, "$3", "expected dollars per million tokens"),
        (PRICE, "1_000", "expected dollars per million tokens"),
        (PRICE, "1e9999", "expected dollars per million tokens"),
        (PRICE, "1e999", "must be at least 0"),
        (PRICE, "9" * 50, "expected dollars per million tokens"),
        (PRICE, float("nan"), "expected dollars per million tokens"),
        (PRICE, float("inf"), "expected dollars per million tokens"),
        (PRICE, True, "expected dollars per million tokens such as 0.15, got true"),
        (PRICE, [1], "got a list"),
        (PRICE, "0.0000000001", "has more than 9 digits after the point"),
        (PRICE, 0.1 + 0.2, "has more than 9 digits after the point"),
        (SHARE, 1.5, "must be at least 0 and at most 1, got 1.5"),
        (SHARE, "half", 'expected a number such as 0.5, got "half"'),
        (bool, 1, "expected true or false, got 1"),
        (bool, "true", 'expected true or false, got "true"'),
        (str, 1, "expected a string, got 1"),
        (str, "a\0b", "contains a NUL character"),
        (CHOICE, "gdsf", 'expected "lru" or "fifo", got "gdsf"'),
        (CHOICE, [], 'expected "lru" or "fifo", got a list'),
        (TEXTS, "a", 'expected a list of strings, got "a"'),
        (TEXTS, ["a", 1], "expected a list of strings, got one with 1 in it"),
        (Secret, 12345, "expected a string"),
        (Secret, "two words", "contains a space"),
        (Secret, "line\n", "a line break"),
        (Secret, "é", "outside ASCII"),
    ],
)
def test_a_wrong_value_is_told_what_would_be_right(
    annotation: Any, written: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kind_of(annotation).parse(written)


@pytest.mark.parametrize(
    "annotation", [PORT, TTL, SIZE, RATIO, PRICE, SHARE, bool, CHOICE, TEXTS, Secret]
)
def test_no_message_repeats_what_came_from_the_environment(annotation: Any) -> None:
    for value in (Expanded("s3cret word\n"), [Expanded("s3cret"), 1]):
        with pytest.raises(ValueError, match=r"expected|contains") as caught:
            kind_of(annotation).parse(value)
        assert "s3cret" not in str(caught.value)


def test_a_secret_is_kept_and_never_spelled() -> None:
    kind = kind_of(Secret)
    secret = kind.parse("sk-1")
    assert isinstance(secret, Secret)
    assert secret.reveal() == "sk-1"
    assert [kind.spell(secret), kind.spell(Secret(""))] == ['"***"', '""']


@pytest.mark.parametrize(
    ("annotation", "value", "spelled"),
    [
        (PORT, 4000, "4000"),
        (TTL, 3600.0, '"1h"'),
        (SIZE, 256_000_000, '"256MB"'),
        (RATIO, 0.125, "0.125"),
        (RATIO, 1.0, "1"),
        (PRICE, Decimal("0.0000001"), '"0.0000001"'),
        (PRICE, Decimal("2.50"), '"2.50"'),
        (PRICE, Decimal(0), '"0"'),
        (bool, True, "true"),
        (str, 'a"b', '"a\\"b"'),
        (TEXTS, ("a", "b"), '["a", "b"]'),
    ],
)
def test_a_value_is_spelled_as_in_a_file(annotation: Any, value: Any, spelled: str) -> None:
    assert kind_of(annotation).spell(value) == spelled


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (PORT, {"type": "integer", "minimum": 0, "maximum": 65535}),
        (TTL, {"type": "number", "exclusiveMinimum": 0}),
        (SIZE, {"type": "integer", "minimum": 1024}),
        (RATIO, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        (PRICE, {"type": "number", "minimum": 0, "maximum": 1_000_000}),
        (int, {"type": "integer"}),
    ],
)
def test_bounds_stand_in_the_schema(annotation: Any, schema: dict[str, Any]) -> None:
    assert kind_of(annotation).schema["anyOf"][0] == schema


def test_an_annotation_is_taken_apart() -> None:
    form = form_of(Annotated[Seconds | None, Bounds(1, 2)])
    assert form.base is float
    assert form.marks == ("duration", Bounds(1, 2))
    assert form_of(bool).bounds.admit(float("-inf"))


def test_an_annotation_no_setting_uses_is_an_error_of_the_program() -> None:
    with pytest.raises(TypeError, match="complex"):
        kind_of(complex)


def test_long_values_are_shortened_in_messages() -> None:
    assert len(shown("x" * 1000)) < 50
    assert shown(None) == "nothing"
