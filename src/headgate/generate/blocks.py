"""One declared block: its fields by name and type, and a finding for whatever is not as it should
be. A field that is wrong gets a value that goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from headgate.generate.hints import near
from headgate.generate.model import Declaration, Finding, Node, Place

FINDINGS_MAX = 1000
"""So many are enough: every one costs a look at all known names."""


class Block:
    """The fields of a declaration. What was asked for by name is known; `end` finds the rest."""

    def __init__(self, declared: Declaration, findings: list[Finding]) -> None:
        self._declared = declared
        self._findings = findings
        self._asked: dict[str, None] = {}

    @property
    def _called(self) -> str:
        return f"{self._declared.kind} {self._declared.name!r}" if self._declared.name else "a step"

    def node(self, key: str) -> Node | None:
        """A field as it stands there."""
        self._asked[key] = None
        return self._declared.fields.get(key)

    def text(self, key: str, *, needed: bool = False) -> str:
        """A string; "" where there is none."""
        node = self.node(key)
        if node is None:
            if needed:
                self._add(self._declared.at, f"{self._called} has no {key}")
            return ""
        if not isinstance(node.value, str) or (needed and not node.value.strip()):
            self._add(node.at, f"{key}: expected a string")
            return ""
        return node.value

    def number(self, key: str, bounds: tuple[float, float]) -> float:
        """A number within bounds."""
        found: float = self._number(key, bounds, int | float, "a number")
        return found

    def whole_number(self, key: str, bounds: tuple[int, int], default: int = 0) -> int:
        """A whole number within bounds."""
        if self.node(key) is None:
            return default
        return int(self._number(key, bounds, int, "a whole number"))

    def _number(self, key: str, bounds: tuple[float, float], kind: Any, spelt: str) -> Any:
        node, (low, high) = self.node(key), bounds
        value: Any = node.value if node is not None else None
        right = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        if node is not None and not (right and low <= value <= high):
            self._add(node.at, f"{key}: expected {spelt} from {low:g} to {high:g}")
            return low
        return value

    def texts(self, key: str) -> list[str]:
        """A list of strings; a single one stands for itself."""
        node = self.node(key)
        value = plain(node) if node is not None else []
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.wrong(key, f"{key}: expected strings")
            return []
        return value

    def table(self, key: str) -> dict[str, Any]:
        """A table of plain values."""
        node = self.node(key)
        if node is None:
            return {}
        if not isinstance(node.value, dict):
            self._add(node.at, f"{key}: expected a table")
            return {}
        found: dict[str, Any] = plain(node)
        return found

    def end(self, more: Iterable[str] = ()) -> None:
        """Finds every field that nobody asked for and that is not among `more`."""
        known = [*dict.fromkeys([*self._asked, *more])]
        for key, node in self._declared.fields.items():
            if key not in known and len(self._findings) < FINDINGS_MAX:
                hint = near(key, known) or f"; known: {', '.join(known)}"
                self._add(node.key_at, f"unknown key {key[:40]!r} in {self._called}{hint}")

    def wrong(self, key: str, message: str, inner: str = "") -> None:
        """Something is wrong with a field, or with a field inside it."""
        node = self._declared.fields.get(key)
        if node is not None and isinstance(node.value, dict):
            node = node.value.get(inner, node)
        self._add(node.at if node is not None else self._declared.at, message)

    def wrong_at(self, keys: tuple[str, ...], inner: str, message: str) -> None:
        """Something is wrong with a name inside the first of these fields that there is."""
        node = next(self._declared.fields[key] for key in keys if key in self._declared.fields)
        if isinstance(node.value, dict) and inner in node.value:
            self._add(node.value[inner].key_at, message)
        else:
            self._add(node.at, message)

    def _add(self, at: Place, message: str) -> None:
        self._findings.append(Finding(at, message))


def plain(node: Node) -> Any:
    """A node without places."""
    if isinstance(node.value, dict):
        return {key: plain(inner) for key, inner in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(inner) for inner in node.value]
    return node.value
