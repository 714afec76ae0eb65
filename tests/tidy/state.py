"""Rules on state: a module has none. Two runtimes in one process share nothing but code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tidy.source import Finding, Source, at, called, functions, vocabulary, within

CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]*$")
DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
CONTAINERS = vocabulary(
    "list dict set bytearray defaultdict deque Counter OrderedDict WeakSet WeakKeyDictionary "
    "WeakValueDictionary"
)
LIVING = vocabulary(
    "Lock RLock Condition Event Semaphore BoundedSemaphore Queue SimpleQueue LifoQueue local count "
    "cycle iter Random Thread ThreadPoolExecutor"
)
MEMOS = frozenset(("cache", "lru_cache"))
# Calls whose result nobody can change, or that are changed per context.
SETTLED = vocabulary(
    "TypeVar ParamSpec NewType ContextVar getLogger compile frozenset tuple MappingProxyType "
    "namedtuple"
)
CHANGES = vocabulary(
    "append extend insert pop popitem popleft appendleft remove clear update setdefault add "
    "discard sort reverse"
)


def modules_keep_no_state(source: Source) -> Iterator[Finding]:
    """A capitalised table is a constant as long as nothing in its file changes it."""
    for name, node in within(source):
        if isinstance(node, ast.Global):
            yield at(source, node, name, "`global`")
        if not name and isinstance(node, ast.Assign | ast.AnnAssign):
            yield from _assigned(source, node)
    yield from _memos(source)
    yield from _changed(source)


def _assigned(source: Source, node: ast.Assign | ast.AnnAssign) -> Iterator[Finding]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if isinstance(target, ast.Name) and node.value is not None:
            message = _why_state(target.id, node.value)
            if message and not target.id.startswith("__"):
                yield at(source, node, target.id, message)


def _why_state(name: str, value: ast.expr) -> str:
    callee = called(value).rsplit(".", 1)[-1] if isinstance(value, ast.Call) else ""
    is_container = isinstance(value, DISPLAYS) or callee in CONTAINERS
    if callee in LIVING:
        return f"{callee} at the level of the module"
    if is_container and (not CONSTANT.match(name) or _is_empty(value)):
        return "a container that can change, at the level of the module"
    if callee and callee not in SETTLED and not CONSTANT.match(name) and callee[0].isupper():
        return f"an object ({callee}) at the level of the module"
    return ""


def _is_empty(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return not value.args and not value.keywords
    return not (value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", True))


def _memos(source: Source) -> Iterator[Finding]:
    for name, node in functions(source.tree):
        callees = {called(decorator).rsplit(".", 1)[-1] for decorator in node.decorator_list}
        if callees & MEMOS:
            yield at(source, node, name, "a memo is state of its module")


def _changed(source: Source) -> Iterator[Finding]:
    for name, node in within(source):
        if (constant := _changed_constant(node)) and CONSTANT.match(constant):
            yield at(source, node, name, f"changes the constant {constant}")


def _changed_constant(node: ast.AST) -> str:
    """The name of what `node` changes in place, or ""."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return called(node.value)
    if isinstance(node, ast.AugAssign):
        return called(node.target)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return called(node.func.value) if node.func.attr in CHANGES else ""
    return ""
