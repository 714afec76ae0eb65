"""Names of Python for names of an app. Pure, and the same each time."""

from __future__ import annotations

import keyword
import re

_OTHER = re.compile(r"[^A-Za-z0-9]+")
# Attributes of a pydantic model, and what annotations in generated code are made of.
_TAKEN = frozenset(
    (
        *("copy", "construct", "dict", "fields", "from_orm", "json", "parse_file", "parse_obj"),
        *("parse_raw", "schema", "schema_json", "update_forward_refs", "validate"),
        *("Any", "Field", "bool", "float", "int", "list", "str"),
    )
)


class Names:
    """Names of one module: a second one that would be equal gets a number."""

    def __init__(self, *taken: str) -> None:
        self._taken = set(taken)

    def take(self, wanted: str) -> str:
        """`wanted`, or `wanted_2`, ..."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def snake(name: str) -> str:
    """`Title it` as `title_it`."""
    return _OTHER.sub("_", name).strip("_").lower()


def camel(name: str) -> str:
    """`title-it` as `TitleIt`."""
    parts = [part for part in _OTHER.split(name) if part]
    return "".join(part[0].upper() + part[1:] for part in parts)


def attribute(name: str) -> str:
    """The attribute that holds an argument: its own name where that is free."""
    taken = name in _TAKEN or keyword.iskeyword(name) or name.startswith(("_", "model_"))
    return f"{name.lstrip('_') or 'field'}_" if taken else name
