"""The settings blocks as one pydantic model: every problem of a tree at once, with its path.

The model is made from the dataclasses of `config.py` and the blocks beside layers and providers;
it adds no setting, no default and no bound of its own.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from headgate.config import Config
from headgate.config_file_kinds import kind_of, shown
from headgate.config_file_text import Path, Tree, dotted

Describe = Callable[[type], dict[str, str]]
"""One line for each field of a block; the block's own stands under ""."""

# Keys of later versions, which a reader of the roadmap may try: `*` is any name.
_LATER = frozenset({("cache", "models", "*", "semantic"), ("semantic",)})

_LATER_VALUES: dict[Path, tuple[str, ...]] = {
    ("cache", "policy"): ("gdsf",),
}


def undescribed(_: type) -> dict[str, str]:
    """No lines: for reading a file."""
    return {}


def block_of(annotation: Any) -> tuple[type, bool] | None:
    """The block an annotation stands for, and whether it is a table of named blocks."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return annotation, False
    if get_origin(annotation) is dict:
        return get_args(annotation)[1], True
    return None


def hints_of(block: type) -> dict[str, Any]:
    """Annotations of a block's fields, in the order they stand in."""
    hints = get_type_hints(block, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(block)}


def default_of(block: type, name: str) -> Any:
    """The default of one field."""
    return getattr(block(), name)


def model_of(block: type, describe: Describe = undescribed) -> type[BaseModel]:
    """The pydantic model of one block and those inside it.

    Its own defaults are spelled as in a file, for the schema only: `settings` leaves out what a
    file does not set, so that the dataclass's default holds.
    """
    lines = describe(block)
    fields: dict[str, Any] = {}
    for name, annotation in hints_of(block).items():
        fields[name] = _field(block, name, annotation, describe, lines.get(name))
    return create_model(
        block.__name__,
        __config__=ConfigDict(extra="forbid", strict=True),
        __doc__=lines.get("", ""),
        **fields,
    )


def _field(
    block: type, name: str, annotation: Any, describe: Describe, line: str | None
) -> tuple[Any, Any]:
    nested = block_of(annotation)
    if nested is not None:
        model = model_of(nested[0], describe)
        kind: Any = dict[str, model] if nested[1] else model  # type: ignore[valid-type]
        return kind, Field(default_factory=dict if nested[1] else model, description=line)
    value = kind_of(annotation)
    kind = Annotated[Any, PlainValidator(value.parse), WithJsonSchema(value.schema)]
    default = default_of(block, name)
    # Optional fields have no value of their own to show: absent means "as in the block above".
    spelled = None if default is None else json.loads(value.spell(default))
    return kind, Field(default=spelled, description=line)


MODEL = model_of(Config)


def settings(tree: Tree) -> tuple[Config | None, list[tuple[Path, str]]]:
    """The configuration a tree describes, or None and what is wrong with it: (path, message)."""
    try:
        model = MODEL.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        return None, [_problem(entry) for entry in found]
    config: Config = _built(Config, model)
    return config, []


def _built(block: type, model: BaseModel) -> Any:
    given = {}
    hints = hints_of(block)
    for name in model.model_fields_set:
        value, nested = getattr(model, name), block_of(hints[name])
        if nested and nested[1]:
            value = {key: _built(nested[0], item) for key, item in value.items()}
        elif nested:
            value = _built(nested[0], value)
        given[name] = value
    return block(**given)


class Leaf(NamedTuple):
    """One effective setting."""

    path: Path
    annotation: Any
    value: Any


def leaves(block: Any, path: Path = ()) -> Iterator[Leaf]:
    """Every setting of a configuration, those of named blocks too, in the order of the classes."""
    for name, annotation in hints_of(type(block)).items():
        value, here = getattr(block, name), (*path, name)
        nested = block_of(annotation)
        if nested is None:
            yield Leaf(here, annotation, value)
        elif nested[1]:
            for key, item in value.items():
                yield from leaves(item, (*here, key))
        else:
            yield from leaves(value, here)


def _problem(error: Any) -> tuple[Path, str]:
    path = tuple(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return path, unknown(path, error["input"])
    if error["input"] in _LATER_VALUES.get(path, ()):
        return path, f"{shown(error['input'])} is not available in this version"
    if error["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return path, f"expected a table, got {shown(error['input'])}"
    return path, error["msg"].removeprefix("Value error, ")


def unknown(path: Path, value: Any = None) -> str:
    """What is wrong with a key that no block has, and the key that was probably meant."""
    *outer, key = path
    known = list(_fields_at(tuple(outer)))
    if any(_matches(path, later) for later in _LATER):
        return "not available in this version"
    close = difflib.get_close_matches(key.lower(), known, n=1)
    if close:
        return f"unknown key; did you mean {close[0]!r}?"
    if isinstance(value, dict) and _is_named(tuple(outer)):
        name = dotted((f"{outer[-1]}.{key}",))
        return f"unknown key; a name with a dot needs quotes: [{dotted(tuple(outer[:-1]))}.{name}]"
    owners = [dotted(owner) for owner in _owners(key)]
    if owners:
        return f"unknown key here; it belongs to [{'] or ['.join(owners)}]"
    return f"unknown key; known here: {', '.join(known)}"


def _matches(path: Path, pattern: Path) -> bool:
    return len(path) == len(pattern) and all(
        wanted in ("*", part) for part, wanted in zip(path, pattern, strict=True)
    )


def _fields_at(path: Path) -> dict[str, Any]:
    """Fields of the block that stands at a path."""
    block: type = Config
    parts = iter(path)
    for part in parts:
        nested = block_of(hints_of(block)[part])
        if nested is None:
            return {}
        block = nested[0]
        if nested[1]:
            next(parts, None)
    return hints_of(block)


def _is_named(path: Path) -> bool:
    """Whether a path ends with a name that the user chose: `models."gpt-4"`."""
    if len(path) < 2:
        return False
    nested = block_of(_fields_at(path[:-2]).get(path[-2]))
    return nested is not None and nested[1]


def _owners(key: str) -> Iterator[Path]:
    for section, annotation in hints_of(Config).items():
        nested = block_of(annotation)
        if nested and key in hints_of(nested[0]):
            yield (section, "NAME") if nested[1] else (section,)
