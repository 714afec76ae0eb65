"""The template of a prompt: text with `{{name}}` where arguments go. Pure.

It is cut once, when it is declared, and joined at each use: what an argument says is never searched
for more `{{...}}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from headgate.errors import BadRequest

VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class Template:
    """A text with places for arguments.

    >>> Template("Say {{word}} {{count}} times").filled({"word": "{{count}}", "count": 2})
    'Say {{count}} 2 times'
    """

    __slots__ = ("_names", "_parts")

    def __init__(self, text: str) -> None:
        # Texts and names in turn: a text stands at each end.
        self._parts = VARIABLE.split(text)
        self._names = self._parts[1::2]

    @property
    def names(self) -> list[str]:
        """The arguments that are used, in the order of their first use."""
        return list(dict.fromkeys(self._names))

    def filled(self, values: Mapping[str, Any]) -> str:
        """The text with these values; of anything but strings its JSON. Raises KeyError for one
        that is missing."""
        parts = [*self._parts]
        parts[1::2] = [written(values[name]) for name in self._names]
        return "".join(parts)


def written(value: Any) -> str:
    """A value as a model reads it: a string as it is, anything else as JSON. Raises BadRequest for
    what is neither, half of a surrogate pair in a list for instance."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeError, RecursionError, TypeError) as error:
        raise BadRequest(f"an argument cannot be written as JSON: {error}") from None
