"""A `.ai` program cut into words, and the words into declarations. Takes one pass over the text.

Declarations of kinds that nothing is generated from are passed over here: their inside may be in
any of N3's notations.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from typing import NamedTuple

from headgate.generate.hints import near
from headgate.generate.model import Finding, Place, Skipped

WORDS_MAX = 100_000
"""A program has at most so many words and signs: prompts count as one each."""
DEPTH_MAX = 20

KINDS = frozenset({"llm", "prompt", "chain"})
APP = "app"
OTHER_KINDS = frozenset(
    (
        *("action", "agent", "ai", "auth", "chart", "component", "connector", "crud"),
        *("dataset", "define", "deploy", "enable", "eval", "eval_suite", "evaluator"),
        *("experiment", "fn", "form", "frame", "graph", "guardrail", "import", "index"),
        *("insight", "knowledge", "language_version", "logic", "memory", "metric", "model"),
        *("module", "page", "planner", "policy", "query", "rag_pipeline", "rlhf", "security"),
        *("set", "state", "template", "theme", "tool", "training", "tuning_job", "ui", "use"),
        *("variable"),
    )
)

_WORD = re.compile(
    r'(?P<SPACE>[\s\ufeff]+|\#[^\n]*)'
    r'|(?P<LONG>"""[\s\S]*?""")'
    r'|(?P<OPEN_LONG>""")'
    r'|(?P<STRING>"(?:[^"\\\n]|\\[^\n])*+")'
    r'|(?P<OPEN_STRING>"[^\n]*)'
    r"|(?P<NUMBER>[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))"
    r"|(?P<NAME>\w+(?:[-./]\w+)*)"
    r"|(?P<SIGN>[{}\[\]:,.])"
    r"|(?P<OTHER>[^\s\w{}\[\]:,.\"\#]+)"
)  # fmt: skip
_SIGNS = {"{": "LBRACE", "}": "RBRACE", "[": "LSQB", "]": "RSQB", ":": "COLON", ",": "COMMA",
          ".": "DOT"}  # fmt: skip
_OUT_OF_REACH = 1_000_000_000
_EXPECTED = "expected a declaration: app, llm, prompt or chain"


class Word(NamedTuple):
    """One word or sign: what it is, how it is spelt, where it begins."""

    type: str
    text: str
    offset: int


class Lines:
    """Where the lines of a text begin."""

    def __init__(self, text: str) -> None:
        self._begins = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        """Line and column of an offset."""
        line = bisect.bisect_right(self._begins, offset)
        return Place(line, offset - self._begins[line - 1] + 1)


class Cut(NamedTuple):
    """The words of each declaration; its first word has the type APP or KIND."""

    declarations: list[list[Word]]
    skipped: list[Skipped]
    findings: list[Finding]


def cut(text: str) -> Cut:
    """The declarations of a program, and what is wrong between them."""
    lines = Lines(text)
    found = Cut([], [], [])
    words = list(_words(text, lines, found.findings))
    at = 0
    while at < len(words):
        end = _end(words, at, lines)
        _take(words[at:end], lines, found)
        at = end
    return found


def _words(text: str, lines: Lines, findings: list[Finding]) -> Iterator[Word]:
    count = 0
    for match in _WORD.finditer(text):
        kind = match.lastgroup or ""
        if kind == "SPACE":
            continue
        count += 1
        if kind == "OPEN_LONG" or count > WORDS_MAX:
            message = f"more than {WORDS_MAX} words and signs in one program"
            if kind == "OPEN_LONG":
                message = 'the text that begins here has no end: expected """'
            findings.append(Finding(lines.place(match.start()), message))
            return
        if kind == "SIGN":
            kind = _SIGNS[match[0]]
        yield Word(kind, match[0], match.start())


def _end(words: list[Word], at: int, lines: Lines) -> int:
    """Where the declaration that begins at `at` ends. One of ours ends with its block; what has no
    end that we know, before the next line that begins as a declaration, no deeper than this one."""
    first = words[at]
    is_ours = _is_ours(first)
    column = lines.place(first.offset).column
    depth = 0
    for position in range(at + 1, len(words)):
        word = words[position]
        if _begins(words, position, depth, lines) <= column:
            return position
        if word.type == "LBRACE":
            depth += 1
        elif word.type == "RBRACE":
            depth -= 1
            if depth <= 0 and is_ours:
                dots = position + 1 < len(words) and words[position + 1].type == "DOT"
                return position + 1 + dots
        elif word.type == "DOT" and depth == 0 and is_ours:
            return position + 1
    return len(words)


def _is_ours(word: Word) -> bool:
    return word.type == "NAME" and (word.text == APP or word.text in KINDS)


def _begins(words: list[Word], position: int, depth: int, lines: Lines) -> int:
    """The column of a word that may be the first of a declaration, else one that is out of reach.
    A name stands behind it, and it is of a known kind, or the first in a line outside of braces."""
    word = words[position]
    if word.type != "NAME" or not _is_named(words, position):
        return _OUT_OF_REACH
    line, column = lines.place(word.offset)
    is_known = _is_ours(word) or word.text in OTHER_KINDS
    if is_known or (depth <= 0 and lines.place(words[position - 1].offset).line < line):
        return column
    return _OUT_OF_REACH


def _is_named(words: list[Word], position: int) -> bool:
    return position + 1 < len(words) and words[position + 1].type in ("NAME", "STRING")


def _take(words: list[Word], lines: Lines, found: Cut) -> None:
    first = words[0]
    at = lines.place(first.offset)
    hint = near(first.text, [APP, *sorted(KINDS)]) if first.type == "NAME" else ""
    is_other = first.text in OTHER_KINDS or (_is_named(words, 0) and not hint)
    if first.type == "NAME" and is_other:
        name = words[1].text.strip('"') if len(words) > 1 else ""
        found.skipped.append(Skipped(first.text, name, at))
    elif not _is_ours(first):
        found.findings.append(Finding(at, f"{_EXPECTED}, got {shown(first)}{hint}"))
    elif deep := _too_deep(words):
        found.findings.append(Finding(lines.place(deep.offset), f"nested deeper than {DEPTH_MAX}"))
    else:
        begin = Word("APP" if first.text == APP else "KIND", first.text, first.offset)
        found.declarations.append([begin, *words[1:]])


def _too_deep(words: list[Word]) -> Word | None:
    depth = 0
    for word in words:
        depth += (word.type in ("LBRACE", "LSQB")) - (word.type in ("RBRACE", "RSQB"))
        if depth > DEPTH_MAX:
            return word
    return None


def shown(word: Word) -> str:
    """A word for a message."""
    text = word.text.partition("\n")[0][:40]
    return text if word.type in ("STRING", "LONG", "OPEN_STRING") else repr(text)
