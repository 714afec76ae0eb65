"""Rules on what code may do: I/O, time, dice, broad excepts, code and SQL made of strings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tidy.source import Finding, Source, at, called, vocabulary, within
from tidy.state import CONSTANT

# What core may import besides headgate's own: nothing in this list reads or writes anything.
PURE = vocabulary(
    "__future__ base64 bisect collections dataclasses decimal difflib enum functools hashlib "
    "headgate heapq itertools json math msgspec operator re string struct typing unicodedata"
)
ASYNCHRONOUS = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
OUTSIDE_WORLD = frozenset(("open", "print", "input", "breakpoint"))
CLOCKS_AND_DICE = frozenset(("time", "random", "secrets"))
READINGS = vocabulary(
    "datetime.now datetime.utcnow datetime.today date.today uuid.uuid1 uuid.uuid4 uuid1 uuid4 "
    "os.urandom os.times os.getrandom SystemRandom"
)
CODE_FROM_STRINGS = frozenset(("eval", "exec", "compile", "__import__"))
CODE_IN_DATA = frozenset(("pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "joblib"))
EXECUTES = frozenset(("execute", "executemany", "executescript"))
BROAD = frozenset(("Exception", "BaseException"))


def imported(node: ast.AST) -> list[str]:
    """Full names of the modules that a statement imports; relative ones keep their dots."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or "")]
    return []


def roots(node: ast.AST) -> list[str]:
    return [module.split(".")[0] for module in imported(node)]


def core_is_pure(source: Source) -> Iterator[Finding]:
    if not source.module.startswith("core"):
        return
    for name, node in within(source):
        for root in roots(node):
            if root not in PURE:
                message = f"core imports {root}: it only decides, the rest are arguments"
                yield at(source, node, name, message)
        if isinstance(node, ASYNCHRONOUS):
            yield at(source, node, name, "core awaits")
        if isinstance(node, ast.Call) and called(node) in OUTSIDE_WORLD:
            yield at(source, node, name, f"core calls {called(node)}")


def time_and_dice_come_from_the_clock(source: Source) -> Iterator[Finding]:
    """Limits handed to `threading` and `asyncio` are durations, not readings."""
    if source.module == "clock":
        return
    for name, node in within(source):
        for root in roots(node):
            if root in CLOCKS_AND_DICE:
                message = f"imports {root}: take a headgate.clock.Clock instead"
                yield at(source, node, name, message)
        reading = called(node) if isinstance(node, ast.Call) else ""
        if any(reading == known or reading.endswith(f".{known}") for known in READINGS):
            message = f"calls {reading}: take a headgate.clock.Clock instead"
            yield at(source, node, name, message)


def excepts_are_narrow(source: Source) -> Iterator[Finding]:
    for name, node in within(source):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            yield Finding(source.path, node.lineno, name, "catches everything")
        if isinstance(node, ast.Call) and _suppresses_all(node):
            yield at(source, node, name, "suppresses everything")


def _suppresses_all(node: ast.Call) -> bool:
    return called(node).endswith("suppress") and any(map(_is_broad, node.args))


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(item) for item in caught.elts)
    return caught is None or called(caught).rsplit(".", 1)[-1] in BROAD


def strings_are_not_code(source: Source) -> Iterator[Finding]:
    """No eval, no pickle, and only constant names for `importlib.import_module`."""
    for name, node in within(source):
        for root in roots(node):
            if root in CODE_IN_DATA:
                message = f"imports {root}, which turns data into code"
                yield at(source, node, name, message)
        if isinstance(node, ast.Call) and (problem := _runs_string(node)):
            yield at(source, node, name, problem)


def _runs_string(node: ast.Call) -> str:
    callee = called(node)
    if callee in CODE_FROM_STRINGS:
        return f"calls {callee}"
    if callee.endswith("import_module") and not _is_fixed(node):
        return "imports a module whose name is not written here"
    return ""


def sql_is_fixed(source: Source) -> Iterator[Finding]:
    """The first argument of `execute` is a literal or a capitalised constant: values are bound."""
    for name, node in within(source):
        if isinstance(node, ast.Call) and _is_execute(node.func) and not _is_fixed(node):
            message = "SQL that is put together: use a constant and bind the values"
            yield at(source, node, name, message)


def _is_execute(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in EXECUTES


def _is_fixed(node: ast.Call) -> bool:
    return bool(node.args) and _is_constant(node.args[0])


def _is_constant(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return _is_constant(value.left) and _is_constant(value.right)
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str)
    is_name = isinstance(value, ast.Name | ast.Attribute)
    return is_name and bool(CONSTANT.match(called(value).rsplit(".", 1)[-1]))
