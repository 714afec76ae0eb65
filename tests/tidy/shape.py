"""Rules on size and form: files, functions, docstrings. The limits sit on the tail."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Iterable, Iterator

from tidy.source import Finding, Function, Named, Source, at, functions, named, sources

FILE_LINES_MAX = 400
LAYER_LINES_MAX = 150
FUNCTION_LINES_MAX = 50
FUNCTION_LINES_P90_MAX = 25
NESTING_MAX = 3
PARAMETERS_MAX = 6
OPENING_LINES_MAX = 10
NESTING = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith,
    ast.Match,
)  # fmt: skip


def files_are_short(source: Source) -> Iterator[Finding]:
    in_layers = source.path.startswith("src/headgate/layers/")
    limit = LAYER_LINES_MAX if in_layers else FILE_LINES_MAX
    lines = len(source.text.splitlines())
    if lines > limit:
        yield Finding(source.path, lines, "", f"{lines} lines; at most {limit}")


def functions_are_short(source: Source) -> Iterator[Finding]:
    for name, node in functions(source.tree):
        if (lines := length(node)) > FUNCTION_LINES_MAX:
            message = f"{lines} lines without its docstring; at most {FUNCTION_LINES_MAX}"
            yield at(source, node, name, message)


def length(node: Function) -> int:
    """Lines from `def` to the end, docstring not counted."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    opening = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (opening.end_lineno or opening.lineno) - opening.lineno + 1
    return lines


def p90(lengths: Iterable[int]) -> int:
    """The length that nine of ten do not exceed (nearest rank)."""
    ordered = sorted(lengths)
    return ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else 0


def functions_are_flat(source: Source) -> Iterator[Finding]:
    for name, node in functions(source.tree):
        if (levels := depth(node)) > NESTING_MAX:
            message = f"nested {levels} deep; at most {NESTING_MAX}"
            yield at(source, node, name, message)


def depth(node: ast.AST) -> int:
    """How many `if`, `for`, `try`, `with`, ... stand inside one another; `elif` is no level, and a
    function inside a function starts again."""
    return max((_step(node, child) + depth(child) for child in _inner(node)), default=0)


def _inner(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.ClassDef | ast.Lambda):
            yield child


def _step(parent: ast.AST, child: ast.AST) -> int:
    is_elif = isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.orelse == [child]
    return int(isinstance(child, NESTING) and not is_elif)


def parameters_are_few(source: Source) -> Iterator[Finding]:
    for name, node in functions(source.tree):
        count = len(parameters(node))
        if count > PARAMETERS_MAX:
            message = f"{count} parameters; at most {PARAMETERS_MAX}"
            yield at(source, node, name, message)


def parameters(node: Function) -> list[str]:
    """Names of the parameters without `self` and `cls`."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def files_open_with_a_docstring(source: Source) -> Iterator[Finding]:
    """Empty `__init__.py` files are the exception."""
    if not source.text.strip() and source.path.endswith("__init__.py"):
        return
    if ast.get_docstring(source.tree) is None:
        yield Finding(source.path, 1, "", "opens without a docstring: what is it, what may it not?")
        return
    opening = source.tree.body[0]
    lines = (opening.end_lineno or 1) - opening.lineno + 1
    if lines > OPENING_LINES_MAX:
        message = f"opening docstring of {lines} lines; at most {OPENING_LINES_MAX}"
        yield Finding(source.path, 1, "", message)


def public_names_are_documented(source: Source) -> Iterator[Finding]:
    """Needs no docstring: what is private or nested in a function, stubs of a Protocol, methods
    that some class of the package already describes, and bodies of a single statement in a
    documented class, which say what they do."""
    for found in named(source.tree):
        if _needs_docstring(found) and ast.get_docstring(found.node) is None:
            message = "public and without a docstring"
            yield at(source, found.node, found.name, message)


def _needs_docstring(found: Named) -> bool:
    parts = found.name.split(".")
    if any(part.startswith("_") for part in parts) or isinstance(found.parent, Function):
        return False
    if isinstance(found.node, ast.ClassDef) or not isinstance(found.parent, ast.ClassDef):
        return True
    return len(found.node.body) > 1 and found.node.name not in described_methods()


@functools.cache
def described_methods() -> frozenset[str]:
    """Names of the methods that some Protocol of the package describes."""
    protocols = [
        found.node
        for source in sources(("src",))
        for found in named(source.tree)
        if isinstance(found.node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in found.node.bases)
    ]
    return frozenset(
        method.name for node in protocols for method in node.body if isinstance(method, Function)
    )
