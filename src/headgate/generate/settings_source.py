"""An app written as Python dictionaries or as TOML. Python is read, never run: only literals count.

`APP`, `RUNTIME_SETTINGS`, `MODEL_CACHE_CONFIG`, `LLMS`, `PROMPTS` and `CHAINS`; in TOML tables of
the same names in lower case.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Any

from headgate.config_file_text import Document, parse
from headgate.errors import Problem
from headgate.generate.hints import near
from headgate.generate.model import START, Declaration, Finding, Node, Place, Source

_GROUPS = {"LLMS": "llm", "PROMPTS": "prompt", "CHAINS": "chain"}
_APP = {"RUNTIME_SETTINGS": "runtime", "MODEL_CACHE_CONFIG": "models"}
_NAMES = ("APP", *_APP, *_GROUPS)
_Tables = dict[str, Node]


def read_python(file: str, text: str) -> Source:
    """The app in the dictionaries of a Python module; other names in it are left alone."""
    findings: list[Finding] = []
    try:
        with warnings.catch_warnings():
            # Of strange escapes in a text that is not ours.
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except SyntaxError as error:
        at = Place(error.lineno or 1, error.offset or 0)
        return Source(file, text, [], [], [Finding(at, f"not Python: {error.msg}")])
    except (ValueError, RecursionError, MemoryError) as error:
        return Source(file, text, [], [], [Finding(START, f"not Python: {error}")])
    tables: _Tables = {}
    for name, value in _assigned(module):
        at = Place(value.lineno, value.col_offset + 1)
        if name in tables:
            findings.append(Finding(at, f"{name} is assigned twice"))
        tables[name] = _literal(value, findings)
    return Source(file, text, _declarations(tables, findings), [], findings)


def _assigned(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in module.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in _NAMES:
                assert isinstance(statement, ast.Assign | ast.AnnAssign)  # noqa: S101 - for mypy
                yield target.id, statement.value  # type: ignore[misc]


def _literal(value: ast.expr, findings: list[Finding]) -> Node:
    """What a literal says; anything else is a finding, and None."""
    at = Place(value.lineno, value.col_offset + 1)
    if isinstance(value, ast.Dict):
        return Node(_dictionary(value, findings), at)
    if isinstance(value, ast.List | ast.Tuple):
        return Node(tuple(_literal(item, findings) for item in value.elts), at)
    try:
        plain = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        plain = ...
    if plain is None or isinstance(plain, str | bool | int | float):
        return Node(plain, at)
    findings.append(Finding(at, "not a literal: strings, numbers, lists and dictionaries only"))
    return Node(None, at)


def _dictionary(value: ast.Dict, findings: list[Finding]) -> dict[str, Node]:
    fields: dict[str, Node] = {}
    for key, item in zip(value.keys, value.values, strict=True):
        place = key or item
        at = Place(place.lineno, place.col_offset + 1)
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            findings.append(Finding(at, "a key must be a string, written out"))
            continue
        if key.value in fields:
            findings.append(Finding(at, f"{key.value!r} stands twice in this dictionary"))
        node = _literal(item, findings)
        fields[key.value] = Node(node.value, node.at, at)
    return fields


def read_toml(file: str, text: str) -> Source:
    """The app in the tables of a TOML file."""
    document = parse(text)
    if isinstance(document, Problem):
        at = Place(document.line or 1, 0)
        return Source(file, text, [], [], [Finding(at, document.message)])
    findings: list[Finding] = []
    known = {name.lower(): name for name in _NAMES}
    tables: _Tables = {}
    for name, value in document.tree.items():
        node = _node(value, (name,), document, findings)
        if name in known:
            tables[known[name]] = node
        else:
            hint = near(name, known) or f"; known: {', '.join(known)}"
            findings.append(Finding(node.at, f"unknown table {name[:60]!r}{hint}"))
    return Source(file, text, _declarations(tables, findings), [], findings)


def _node(value: Any, path: tuple[str, ...], document: Document, findings: list[Finding]) -> Node:
    at = Place(document.line(path) or 1, 0)
    if isinstance(value, dict):
        fields = {key: _node(item, (*path, key), document, findings) for key, item in value.items()}
        return Node(fields, at, at)
    if isinstance(value, list):
        return Node(tuple(_node(item, path, document, findings) for item in value), at, at)
    if not isinstance(value, str | bool | int | float):
        findings.append(Finding(at, f"{path[-1]}: dates and times have no use here"))
        value = None
    return Node(value, at, at)


def _declarations(tables: _Tables, findings: list[Finding]) -> list[Declaration]:
    found: list[Declaration] = []
    app = _fields_of(tables.get("APP"), findings)
    app |= {key: tables[name] for name, key in _APP.items() if name in tables}
    if app:
        named = app.pop("name", None)
        name = named.value if named is not None and isinstance(named.value, str) else ""
        found.append(Declaration("app", name, next(iter(app.values()), Node("", START)).at, app))
    for group, kind in _GROUPS.items():
        for name, node in _fields_of(tables.get(group), findings).items():
            fields = _fields_of(node, findings)
            found.append(Declaration(kind, name, node.key_at, fields))
    return found


def _fields_of(node: Node | None, findings: list[Finding]) -> dict[str, Node]:
    if node is None:
        return {}
    if not isinstance(node.value, dict):
        findings.append(Finding(node.at, "expected a dictionary here"))
        return {}
    return {**node.value}
