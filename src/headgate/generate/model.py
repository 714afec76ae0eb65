"""One app as it was declared, whatever it was written in: the typed model, and what a reader may
say about a source. Values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from headgate.errors import HeadgateError
from headgate.generate.kinds import Kind


class Llm(Struct, frozen=True):
    """A model with its settings; `params` are sent as they are, `cache` has `ttl` and `enabled`."""

    name: str
    provider: str
    model: str
    system_prompt: str = ""
    params: dict[str, Any] = {}
    cache: dict[str, Any] = {}
    base_url: str = ""


class Argument(Struct, frozen=True):
    """An argument of a prompt."""

    name: str
    kind: Kind
    has_default: bool = False
    default: Any = None


class Prompt(Struct, frozen=True):
    """A template with typed arguments; `output` is an object, or None for text."""

    name: str
    llm: str
    template: str
    args: tuple[Argument, ...] = ()
    output: Kind | None = None
    repairs: int = 1
    description: str = ""


class Step(Struct, frozen=True):
    """One step of a chain: `kind` is prompt, llm or chain."""

    name: str
    kind: str
    target: str


class Chain(Struct, frozen=True):
    """Steps that are taken one after the other."""

    name: str
    steps: tuple[Step, ...]
    input_key: str = "input"
    description: str = ""


class App(Struct, frozen=True):
    """Everything that is generated from. `runtime` and `models` are N3's `RUNTIME_SETTINGS` and
    `MODEL_CACHE_CONFIG`."""

    name: str
    description: str = ""
    runtime: dict[str, Any] = {}
    models: dict[str, Any] = {}
    llms: tuple[Llm, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    chains: tuple[Chain, ...] = ()


class Place(NamedTuple):
    """A place in a source, both from 1; column 0: somewhere in this line."""

    line: int
    column: int


START = Place(1, 0)


class Node(Struct, frozen=True):
    """A value of a source and where it stands. `value` is a string, a number, true, false or None,
    a tuple of nodes, or a dictionary of them; `key_at` is where its key stands."""

    value: Any
    at: Place
    key_at: Place = START


class Declaration(Struct, frozen=True):
    """A block of a source: `app`, `llm`, `prompt` or `chain`, its name, and what stands in it."""

    kind: str
    name: str
    at: Place
    fields: dict[str, Node]


class Skipped(NamedTuple):
    """A declaration that nothing is generated from."""

    kind: str
    name: str
    at: Place


class Finding(NamedTuple):
    """Something wrong, and where."""

    at: Place
    message: str


class Source(NamedTuple):
    """What was read from a file. `text` is for showing lines of it."""

    file: str
    text: str
    declarations: list[Declaration]
    skipped: list[Skipped]
    findings: list[Finding]
    unread: frozenset[str] = frozenset()
    """Names of declarations that cannot be read: it is not known what they declare."""


class Faulty(HeadgateError):
    """A source that no app can be made of: every problem with its line and a caret below it."""

    code = "faulty_app"

    def __init__(self, file: str, text: str, findings: Sequence[Finding]) -> None:
        self.findings = sorted(findings)
        lines = text.split("\n")
        told = [_shown(file, lines, finding) for finding in self.findings[:FINDINGS_SHOWN_MAX]]
        if len(self.findings) > FINDINGS_SHOWN_MAX:
            told.append(f"{file}: and {len(self.findings) - FINDINGS_SHOWN_MAX} more problems")
        super().__init__("\n".join(told))


FINDINGS_SHOWN_MAX = 50
_SHOWN_CHARS_MAX = 100


def _shown(file: str, lines: list[str], finding: Finding) -> str:
    """`file:line:column: message`, the line, and a caret."""
    (line, column), message = finding
    if not column:
        return f"{file}:{line}: {message}"
    head = f"{file}:{line}:{column}: {message}"
    if not 1 <= line <= len(lines):
        return head
    # A long line is shown around the place.
    begin = max(0, column - 1 - _SHOWN_CHARS_MAX // 2)
    shown = lines[line - 1].replace("\t", " ")[begin : begin + _SHOWN_CHARS_MAX]
    return f"{head}\n    {shown}\n    {' ' * (column - 1 - begin)}^"
