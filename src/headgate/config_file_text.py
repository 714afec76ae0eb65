"""`headgate.toml` as text: its tree, the line of every key, and `${VAR}` in its strings.

Nothing here knows a setting, and nothing here reads a file or the environment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from headgate.errors import Problem

Path = tuple[str, ...]
Tree = dict[str, Any]

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_HEADER = re.compile(r"\[\[?((?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\]\"'])*)\]\]?")
_KEY = re.compile(r"((?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^=\"'])*)=")
_VALUE_PIECE = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}'  # strings of several lines
    r'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#[^\n]*'
    r"|(?P<open>[\[{])|(?P<close>[\]}])|(?P<end>\n)|[^\"'#\[\]{}\n]+",
    re.S,
)
_LINE_OF_ERROR = re.compile(r" \(at line (\d+), column \d+\)$")
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_]\w*)(?P<default>:-[^}]*)?\})?", re.ASCII)
_FORMS = "write ${VAR} or ${VAR:-default}, and $${ for a plain ${"
DEPTH_MAX = 32
"""Tables and lists inside one another; no setting stands deeper than five."""
_TOO_DEEP = f"tables or lists stand inside one another more than {DEPTH_MAX} times"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Expanded(str):
    """A string that came from the environment. Its text may be secret: no message repeats it."""

    __slots__ = ()


class Document(NamedTuple):
    """A TOML file: its values, and the line (from 1) where each key or table stands."""

    tree: Tree
    lines: dict[Path, int]

    def line(self, path: Path) -> int | None:
        """The line of `path`, or of the first key inside it (`a.b = 1` for `a`), or of the nearest
        thing around it."""
        if path not in self.lines:
            inside = [line for key, line in self.lines.items() if key[: len(path)] == path != ()]
            if inside:
                return min(inside)
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def dotted(path: Path) -> str:
    """A path as TOML writes it: `cache.models."gpt-4.1".ttl`."""
    return ".".join(
        part if _BARE_KEY.fullmatch(part) else '"' + part.replace('"', '\\"') + '"'
        for part in path
    )  # fmt: skip


def parse(text: str) -> Document | Problem:
    """The document, or what makes the text no TOML, with its line."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _LINE_OF_ERROR.search(message)
        line = int(place[1]) if place else text.count("\n") + 1
        return Problem("", f"not TOML: {_LINE_OF_ERROR.sub('', message)}", line)
    except RecursionError:
        return Problem("", _TOO_DEEP)
    except ValueError:
        # Of Python's own bound to the digits of an integer.
        return Problem("", "a number has too many digits")
    if _is_deeper(tree, DEPTH_MAX):
        return Problem("", _TOO_DEEP)
    return Document(tree, dict(_lines(text)))


def _is_deeper(tree: Any, depth: int) -> bool:
    """Whether tables and lists stand inside one another more than `depth` times."""
    level = [tree]
    for _ in range(depth):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
    return bool(level)


def _lines(text: str) -> Iterator[tuple[Path, int]]:
    """Keys and tables of a valid document with their lines; an inline table is one line."""
    table: Path = ()
    at = _skip(_SPACE, text, 0)
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        if match := _HEADER.match(text, at):
            table = _path(match[1])
            yield table, line
            at = match.end()
        elif match := _KEY.match(text, at):
            yield table + _path(match[1]), line
            at = _value_end(text, match.end())
        else:
            return
        at = _skip(_SPACE, text, at)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _value_end(text: str, at: int) -> int:
    depth = 0
    while match := _VALUE_PIECE.match(text, at):
        at = match.end()
        depth += bool(match["open"]) - bool(match["close"])
        if match["end"] and depth == 0:
            break
    return at


def _path(key: str) -> Path:
    """The parts of a dotted key; quoting is read by the TOML parser itself."""
    parts: list[str] = []
    tree: Any = tomllib.loads(f"{key.strip()} = 0")
    while isinstance(tree, dict):
        ((part, tree),) = tree.items()
        parts.append(part)
    return tuple(parts)


def expand(tree: Tree, environment: Mapping[str, str]) -> tuple[Tree, list[tuple[Path, str]]]:
    """The tree with `${VAR}` and `${VAR:-default}` replaced in every string value.

    As in a shell the default also stands in for an empty variable, `${VAR}` alone does not mind
    one. Returns what could not be replaced, too: (path, message). Values are not expanded again.
    """
    problems: list[tuple[Path, str]] = []

    def visit(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: visit(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [visit(item, path) for item in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        return _expanded(value, environment, lambda message: problems.append((path, message)))

    return {key: visit(value, (key,)) for key, value in tree.items()}, problems


def _expanded(text: str, environment: Mapping[str, str], report: Callable[[str], None]) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match[0] == "$${":
            return "${"
        if name is None:
            report(f"an unfinished variable: {_FORMS}")
            return ""
        if default is not None:
            return environment.get(name) or default[2:]
        if name not in environment:
            report(
                f"the environment variable {name} is not set: "
                f"set it, or give a default with ${{{name}:-default}}"
            )
        return environment.get(name, "")

    return Expanded(_VARIABLE.sub(value, text))


def at(tree: Any, *path: str) -> Any:
    """The value at `path`, None where something on the way is missing or no table."""
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def tables(tree: Tree, section: str) -> list[tuple[str, Tree]]:
    """The named tables of a section: (name, table)."""
    named = at(tree, section)
    if not isinstance(named, dict):
        return []
    return [(name, table) for name, table in named.items() if isinstance(table, dict)]
