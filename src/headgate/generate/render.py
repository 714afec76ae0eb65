"""Templates and literals: how a value of an app gets into a generated file.

A template is a file with `@{name}` where values go, filled in one pass. What a user wrote gets into
Python as a literal and in no other way, so that nothing in it can become code.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

_PLACE = re.compile(r"@\{([a-z_]+)\}")
_SHORT_CHARS = 60


class Templates:
    """The template files of this package, each read once."""

    def __init__(self) -> None:
        self._folder = resources.files("headgate.generate").joinpath("templates")
        self._texts: dict[str, str] = {}

    def fill(self, template: str, /, **values: str) -> str:
        """The template with these values, all of which it has a place for. Raises KeyError."""
        text = self._texts.get(template)
        if text is None:
            file = self._folder.joinpath(f"{template}.tmpl")
            text = self._texts[template] = file.read_text("utf-8")
        unused = set(values) - set(_PLACE.findall(text))
        if unused:
            raise KeyError(f"{template} has no place for {', '.join(sorted(unused))}")
        return _PLACE.sub(lambda found: values[found[1]], text)


def literal(value: Any, indent: int = 0) -> str:
    """A JSON value as Python writes it, over several lines where it has parts; `indent` is the
    column of the line that it begins in."""
    inner = " " * (indent + 4)
    if isinstance(value, dict) and value:
        lines = [f"{quoted(key)}: {literal(item, indent + 4)}" for key, item in value.items()]
    elif isinstance(value, list | tuple) and value:
        lines = [literal(item, indent + 4) for item in value]
    elif isinstance(value, str):
        return _text(value, indent)
    else:
        return repr(value)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    body = "".join(f"{inner}{line},\n" for line in lines)
    return f"{opening}\n{body}{' ' * indent}{closing}"


def quoted(text: str) -> str:
    """A string literal, in double quotes where nothing speaks against it. `repr` spells out what
    cannot be printed, and marks that reorder text on a screen."""
    written = repr(text)
    if written[0] == "'" and '"' not in written and "\\'" not in written:
        return f'"{written[1:-1]}"'
    return written


def _text(text: str, indent: int) -> str:
    """A string literal; of a long text one for each of its lines."""
    lines = text.splitlines(keepends=True)
    if len(text) <= _SHORT_CHARS or len(lines) < 2:
        return quoted(text)
    inner = " " * (indent + 4)
    body = "".join(f"{inner}{quoted(line)}\n" for line in lines)
    return f"(\n{body}{' ' * indent})"


def toml(value: str) -> str:
    """A TOML string or quoted key."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def one_line(text: str) -> str:
    """A text for a line of Markdown: no line ends, nothing that is not printable."""
    return "".join(char if char.isprintable() else " " for char in text).strip()
