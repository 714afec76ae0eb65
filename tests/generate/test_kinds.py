"""Types of arguments and outputs: read, checked, and written in three ways."""

from __future__ import annotations

from typing import Any

import pytest
from appspelling import kind_of

from headgate.generate.kinds import (
    Kind,
    annotation_of,
    example_of,
    fits,
    read_argument,
    read_kind,
    schema_of,
)

TEXTS = Kind("array", Kind("string"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("string", Kind("string")),
        ("Text", Kind("string")),
        (" int ", Kind("integer")),
        ("float?", Kind("number", optional=True)),
        ("list", TEXTS),
        ("string[]", TEXTS),
        ("list[string]", TEXTS),
        ("array[ list[int?] ]?", Kind("array", Kind("array", Kind("integer", optional=True)),
                                      optional=True)),
        ("object", Kind("object")),
    ],
)  # fmt: skip
def test_a_type_has_several_spellings(text: str, kind: Kind) -> None:
    assert read_kind(text) == kind
    assert read_kind(kind_of(kind)) == kind


@pytest.mark.parametrize("text", ["", "strin", "list[", "list[x]", "int int", "list[" * 20])
def test_another_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unknown type"):
        read_kind(text)


def test_lists_of_lists_have_an_end() -> None:
    with pytest.raises(ValueError, match="deeper than 8"):
        read_kind("int" + "[]" * 20)


@pytest.mark.parametrize(
    ("text", "has_default", "default"),
    [
        ("int", False, None),
        ("int?", True, None),
        ("int = 3", True, 3),
        ("float = 3", True, 3),
        ("bool = true", True, True),
        ("bool = True", True, True),
        ("string = hello there", True, "hello there"),
        ('string = "a = b"', True, "a = b"),
        ("string = 3", True, "3"),
        ("list[int] = [1, 2]", True, [1, 2]),
        ("string? = null", True, None),
    ],
)
def test_a_default_stands_behind_the_type(text: str, has_default: bool, default: Any) -> None:
    assert read_argument(text)[1:] == (has_default, default)


@pytest.mark.parametrize("text", ["int = x", "int = 1.5", "bool = 1", "list[int] = [true]"])
def test_a_default_of_another_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_argument(text)


OBJECT = Kind("object", fields=(("a", Kind("string", optional=True)), ("b", TEXTS)))


def test_a_schema_requires_every_field_and_allows_no_other() -> None:
    assert schema_of(Kind("array", OBJECT)) == {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "a": {"type": ["string", "null"]},
                "b": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    }


def test_python_has_a_name_for_each() -> None:
    assert annotation_of(Kind("array", OBJECT), "Thing") == "list[Thing]"
    assert annotation_of(Kind("number", optional=True)) == "float | None"
    assert annotation_of(Kind("object")) == "dict[str, Any]"


@pytest.mark.parametrize("kind", [TEXTS, Kind("number"), Kind("boolean"), Kind("integer"), OBJECT])
def test_an_example_is_of_its_kind(kind: Kind) -> None:
    assert fits(kind, example_of(kind))
    assert not fits(kind, None)
