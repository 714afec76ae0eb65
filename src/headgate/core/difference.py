"""In which fields two requests differ, without keeping what stands in them. Pure.

A print has the shape of its request, with a number in place of each value: Python's own hash, keyed
anew in each process, so that it means nothing outside of it. Only short scalars of settings such as
`temperature` are kept as they are; text of a prompt never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from headgate.core.canonical import canonical

NODES_MAX = 200
"""Values of one request that are told apart; the rest is compared as a whole."""
ITEMS_MAX = 24
"""Items of one array that are told apart. Of a longer one the last stands for all that follow; of
messages the last but one does, and the last for itself."""
DEPTH_MAX = 4
SHOWN_MAX = 20
"""Differences of one pair that are named."""
SETTINGS = frozenset(
    {"temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "max_output_tokens",
     "seed", "n", "stream", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
     "dimensions", "parallel_tool_calls", "store"}
)  # fmt: skip
"""Fields of the request itself whose value may be shown where it is a number, true or false."""
CHOICES = frozenset(["model", "encoding_format", "service_tier", "reasoning_effort", "verbosity"])
"""And those where it may be a word."""
_PROMPTS = ("messages", "input", "contents", "prompt")
"""Fields that hold the prompt; each message counts as one value."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_SCALARS = frozenset({int, float, bool, type(None)})
_WORD_MAX = 64
_ABSENT = "absent"
_HIDDEN = "*"


class Print(Struct, frozen=True):
    """What is kept of a request to compare it with others."""

    anchor: int
    """Of the last message, input or prompt: requests that share it ask the same."""
    tree: Any
    nodes: int
    """How many values it tells apart: what it takes is about 100 bytes each."""


class Change(Struct, frozen=True):
    """One field that differs."""

    field: str
    """As `tools[2].description`; a name that is no plain word is `*`."""
    kind: str = "changed"
    """`changed`, `added` or `removed`."""
    was: Any = None
    """The earlier value, and the later one, where both may be shown."""
    now: Any = None
    is_shown: bool = False


class _Budget:
    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = NODES_MAX


def print_of(fields: Mapping[str, Any]) -> Print:
    """The print of a parsed request. What is no JSON is the caller's mistake."""
    budget = _Budget()
    budget.left -= len(fields)
    tree: dict[str, Any] = {}
    # Spelled out, as every miss passes here: functions would double what it takes.
    for name, value in fields.items():
        kind = type(value)
        if kind is str:
            is_shown = name in CHOICES and _is_word(value)
            tree[name] = (value, kind) if is_shown else hash(value)
        elif kind in _SCALARS and name in SETTINGS:
            # With its type: 1, 1.0 and true are three requests.
            tree[name] = value, kind
        elif kind is list and name in _PROMPTS:
            budget.left -= min(len(value), ITEMS_MAX)
            tree[name] = _messages(value)
        else:
            tree[name] = _node(value, DEPTH_MAX, budget)
    return Print(_anchor(tree), tree, NODES_MAX - budget.left)


def _anchor(tree: dict[str, Any]) -> int:
    for name in _PROMPTS:
        found = tree.get(name)
        if found:
            last = found[-1] if type(found) is list else found
            return last if type(last) is int else hash(repr(last))
    return 0


def _messages(value: list[Any]) -> list[int]:
    """One number for each; of a long list the last one for itself, and one for the middle."""
    if len(value) <= ITEMS_MAX:
        return [hash(item) for item in map(canonical, value)]
    first = [hash(item) for item in map(canonical, value[: ITEMS_MAX - 2])]
    return [*first, hash(canonical(value[ITEMS_MAX - 2 : -1])), hash(canonical(value[-1]))]


def _is_word(value: str) -> bool:
    """A regular expression takes four times as long."""
    return len(value) <= _WORD_MAX and value.isascii() and value.isprintable() and " " not in value


def _node(value: Any, depth: int, budget: _Budget) -> Any:
    """A number for a value, or the same again for each of its parts."""
    kind = type(value)
    if kind is str:
        return hash(value)
    if (kind is dict or kind is list) and depth and len(value) <= budget.left:
        if kind is list:
            return _items(value, depth, budget)
        budget.left -= len(value)
        return {part: _node(inner, depth - 1, budget) for part, inner in value.items()}
    return hash(canonical(value))


def _items(value: list[Any], depth: int, budget: _Budget) -> list[Any]:
    budget.left -= min(len(value), ITEMS_MAX)
    if len(value) <= ITEMS_MAX:
        return [_node(item, depth - 1, budget) for item in value]
    first = [_node(item, depth - 1, budget) for item in value[: ITEMS_MAX - 1]]
    return [*first, hash(canonical(value[ITEMS_MAX - 1 :]))]


def changes(earlier: Print, later: Print) -> list[Change]:
    """The fields that differ, in the order of the later request; at most `SHOWN_MAX` + 1, of which
    the last one says that there are more."""
    found: list[Change] = []
    for change in _differing("", earlier.tree, later.tree):
        if len(found) == SHOWN_MAX:
            return [*found, Change("...")]
        found.append(change)
    return found


def _differing(path: str, was: Any, now: Any) -> Iterator[Change]:
    if was == now:
        return
    if isinstance(was, dict) and isinstance(now, dict):
        names = [*now, *(name for name in was if name not in now)]
        for name in names:
            yield from _differing(
                _below(path, name), was.get(name, _ABSENT), now.get(name, _ABSENT)
            )
    elif isinstance(was, list) and isinstance(now, list):
        for at in range(max(len(was), len(now))):
            pair = [side[at] if at < len(side) else _ABSENT for side in (was, now)]
            yield from _differing(f"{path}[{at}]", *pair)
    else:
        yield _change(path, was, now)


def _below(path: str, name: str) -> str:
    shown = name if _NAME.fullmatch(name) else _HIDDEN
    return f"{path}.{shown}" if path else shown


def _change(path: str, was: Any, now: Any) -> Change:
    kind = "added" if was is _ABSENT else "removed" if now is _ABSENT else "changed"
    sides = [side for side in (was, now) if side is not _ABSENT]
    if not all(isinstance(side, tuple) for side in sides):
        return Change(path, kind)
    before, after = (None if side is _ABSENT else side[0] for side in (was, now))
    return Change(path, kind, before, after, True)
