"""Values that satisfy a schema: those of models and of apps, and schemas that mean harm."""

from __future__ import annotations

import datetime
import enum
import uuid
from typing import Annotated, Any, Literal

import appspelling
import pydantic
import pytest
from hypothesis import given

from headgate.generate.kinds import Kind, fits, schema_of
from headgate.providers.fake_schemas import example_of


class Colour(enum.Enum):
    RED = "red"


class City(pydantic.BaseModel):
    name: str
    size: Annotated[int, pydantic.Field(gt=5)]
    kind: Literal["town", "village"]
    colour: Colour
    founded: datetime.date
    seen: datetime.datetime | None
    key: uuid.UUID
    share: Annotated[float, pydantic.Field(ge=0, le=0.5)]
    deficit: Annotated[int, pydantic.Field(le=-3)]
    visited: bool


class Country(pydantic.BaseModel):
    cities: list[City]
    capital: City | None
    neighbours: dict[str, int]


class Branch(pydantic.BaseModel):
    """A schema that refers to itself."""

    name: str
    branches: list[Branch]
    parent: Branch | None


@pytest.mark.parametrize("model", [City, Country, Branch])
def test_an_example_satisfies_the_schema_of_a_pydantic_model(model: type[Any]) -> None:
    made = example_of(model.model_json_schema())
    assert isinstance(model.model_validate(made), model)


EXAMPLES: list[tuple[Any, Any]] = [
    ({"const": None}, None),
    ({"enum": [3, 4]}, 3),
    ({"type": ["string", "null"]}, "example"),
    ({"oneOf": [{"type": "boolean"}, {"type": "null"}]}, True),
    ({"allOf": [{"properties": {"a": {"type": "integer"}}}]}, {"a": 1}),
    ({"type": "integer", "minimum": 7}, 7),
    ({"type": "integer", "minimum": True, "maximum": "x"}, 1),
    ({"type": "array"}, []),
    ({"type": "object"}, {}),
    ({"$ref": "#/nowhere/at/all"}, None),
    ({"$ref": "#"}, None),
    ({"type": []}, None),
    ({"type": "string", "minLength": 9}, "exampleee"),
    ({"type": "string", "maxLength": 2}, "ex"),
    ({"type": "string", "minLength": 10**9, "maxLength": 3}, "exa"),
    ({"type": "string", "maxLength": -1}, ""),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
    ({"type": "array", "items": {"type": "boolean"}, "maxItems": 0}, []),
    ({"type": "array", "minItems": True}, []),
    ({"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}]}, [1, "example"]),
    ({}, None),
    (None, None),
    ("string", None),
]


@pytest.mark.parametrize(("schema", "value"), EXAMPLES, ids=repr)
def test_an_example_of_a_schema(schema: Any, value: Any) -> None:
    assert example_of(schema) == value


@pytest.mark.parametrize("required", [False, True])
def test_a_schema_that_grows_without_end_gives_a_small_example(required: bool) -> None:
    node: dict[str, Any] = {"type": "object", "properties": {}}
    node["properties"] = {f"n{index}": {"$ref": "#"} for index in range(50)}
    if required:
        node["required"] = [*node["properties"]]
    assert len(repr(example_of(node))) < 100_000


@given(appspelling.KINDS)
def test_every_schema_that_an_app_can_declare_is_satisfied(kind: Kind) -> None:
    assert fits_wholly(kind, example_of(schema_of(kind)))


@pytest.mark.parametrize("levels", [1, 8, 19])
def test_an_output_may_nest_as_deep_as_a_program_may(levels: int) -> None:
    kind = Kind("integer")
    for _ in range(levels):
        kind = Kind("object", fields=(("inner", kind), ("text", Kind("string"))))
    assert fits_wholly(kind, example_of(schema_of(kind)))


def test_an_output_may_have_hundreds_of_fields() -> None:
    kind = Kind("object", fields=tuple((f"f{at}", Kind("string")) for at in range(900)))
    assert fits_wholly(kind, example_of(schema_of(kind)))


def fits_wholly(kind: Kind, value: Any) -> bool:
    """As `fits`, which does not look into objects with certain fields."""
    if value is None or not kind.fields:
        return fits(kind, value)
    if not isinstance(value, dict) or [*value] != [name for name, _ in kind.fields]:
        return False
    return all(fits_wholly(inner, value[name]) for name, inner in kind.fields)
