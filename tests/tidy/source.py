"""What the house rules read: files as syntax trees, and what they report.

Nothing here knows a rule. A rule is a function from one `Source` to its findings.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "scripts", "benchmarks")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """One Python file; `path` is relative to the repository, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """Dotted name below `headgate`, such as `core.units`; "" for the package itself."""
        parts = Path(self.path).with_suffix("").parts[2:]
        return ".".join(parts[:-1] if parts[-1:] == ("__init__",) else parts)


class Finding(NamedTuple):
    """One broken rule. `name` is the function or class it stands in, "" for the file."""

    path: str
    line: int
    name: str
    message: str

    @property
    def place(self) -> str:
        """What an exemption names: `path` or `path::function`."""
        return f"{self.path}::{self.name}" if self.name else self.path

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.name or 'file'}: {self.message}"


class Rule(NamedTuple):
    """A sentence, the function that checks it, and the folders it holds in."""

    sentence: str
    check: Callable[[Source], Iterator[Finding]]
    folders: tuple[str, ...] = ("src",)


class Named(NamedTuple):
    """A function or class with the dotted name it has in its file."""

    name: str
    node: Function | ast.ClassDef
    parent: ast.AST


def vocabulary(words: str) -> frozenset[str]:
    return frozenset(words.split())


def at(source: Source, node: ast.AST, name: str, message: str) -> Finding:
    """A finding at `node`, which stands in the function or class `name`."""
    return Finding(source.path, getattr(node, "lineno", 1), name, message)


def parse(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, path))


@functools.cache
def sources(folders: tuple[str, ...] = FOLDERS) -> tuple[Source, ...]:
    """Every Python file below the folders, parsed once per run."""
    files = sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return tuple(parse(f.relative_to(ROOT).as_posix(), f.read_text("utf-8")) for f in files)


def named(tree: ast.AST, prefix: str = "") -> Iterator[Named]:
    """Functions and classes at any depth, outer ones first."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, Function | ast.ClassDef):
            yield Named(prefix + child.name, child, tree)
            yield from named(child, f"{prefix}{child.name}.")
        else:
            yield from named_below(child, tree, prefix)


def named_below(node: ast.AST, parent: ast.AST, prefix: str) -> Iterator[Named]:
    """As `named`, for what stands inside an `if` or `try` and still belongs to `parent`."""
    for found in named(node, prefix):
        yield found._replace(parent=parent) if found.parent is node else found


def functions(tree: ast.AST) -> Iterator[tuple[str, Function]]:
    """The functions among `named`."""
    for found in named(tree):
        if isinstance(found.node, Function):
            yield found.name, found.node


def within(source: Source) -> Iterator[tuple[str, ast.AST]]:
    """Every node of the file with the name of the innermost function or class it stands in."""
    yield from _within(source.tree, "")


def _within(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        yield name, child
        inner = name
        if isinstance(child, Function | ast.ClassDef):
            inner = f"{name}.{child.name}".lstrip(".")
        yield from _within(child, inner)


def called(node: ast.AST) -> str:
    """Dotted name of what a call calls (`json.loads`), "" where it is no plain name."""
    if isinstance(node, ast.Call):
        return called(node.func)
    if isinstance(node, ast.Attribute):
        return f"{called(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def split(findings: Iterable[Finding], exempt: Iterable[str]) -> tuple[list[Finding], list[str]]:
    """Findings that no exemption covers, and exemptions that cover no finding."""
    every = list(findings)
    places = {finding.place for finding in every}
    wanted = set(exempt)
    return [f for f in every if f.place not in wanted], sorted(wanted - places)
