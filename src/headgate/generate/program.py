"""A `.ai` program: its declarations, with the place of everything in them.

The grammar is in program.lark. Every declaration is read by itself, so that a mistake in one does
not hide those in the next.
"""

from __future__ import annotations

import re
import textwrap
from importlib import resources
from typing import Any

import lark

from headgate.generate.model import Declaration, Finding, Node, Place, Source
from headgate.generate.program_words import Lines, Word, cut, shown

_BARE = {"true": True, "false": False, "null": None, "none": None}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.S)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f"}
_DIGITS_MAX = 300
_SPELT = {
    "APP": "app", "KIND": "llm, prompt or chain", "NAME": "a name", "STRING": "a string",
    "NUMBER": "a number", "LBRACE": "'{'", "RBRACE": "'}'", "LSQB": "'['", "RSQB": "']'",
    "COLON": "':'", "COMMA": "','", "DOT": "'.'",
}  # fmt: skip


def read_program(file: str, text: str) -> Source:
    """The declarations of a program. Mistakes are among the findings; nothing is raised."""
    lines = Lines(text)
    found = cut(text)
    findings = [*found.findings]
    reader = _Reader(lines, findings)
    grammar = resources.files(__package__).joinpath("program.lark").read_text("utf-8")
    parser = lark.Lark(
        grammar, parser="lalr", lexer=_Given, transformer=reader, maybe_placeholders=True
    )
    declarations = []
    for words in found.declarations:
        declaration = _read(parser, words, lines, findings)
        if declaration is not None:
            declarations.append(declaration)
    unread = frozenset(_name(words) for words in found.declarations) - {
        declaration.name for declaration in declarations
    }
    return Source(file, text, declarations, found.skipped, findings, unread)


def _name(words: list[Word]) -> str:
    return words[1].text.strip('"') if len(words) > 1 else ""


class _Given(lark.lexer.Lexer):
    """The words are there already: each is fed to the parser."""

    def __init__(self, conf: Any) -> None:
        """Nothing of it is needed."""

    def lex(self, *_: Any) -> Any:
        return iter(())


def _read(
    parser: lark.Lark, words: list[Word], lines: Lines, findings: list[Finding]
) -> Declaration | None:
    steps = parser.parse_interactive("")
    at = words[0]
    try:
        for at in words:
            kind = "STRING" if at.type in ("LONG", "OPEN_STRING") else at.type
            steps.feed_token(lark.Token(kind, at.text, start_pos=at.offset))
        declaration: Declaration = steps.feed_eof()  # type: ignore[no-untyped-call]
    except lark.UnexpectedToken as error:
        wanted = " or ".join(_SPELT[name] for name in sorted(error.expected) if name in _SPELT)
        if error.token.type == "$END":
            place = lines.place(at.offset + len(at.text) - 1)
            begun = lines.place(words[0].offset).line
            message = f"the declaration that begins in line {begun} has no end: expected {wanted}"
        else:
            place = lines.place(at.offset)
            message = f"expected {wanted or 'the next declaration'}, got {shown(at)}"
        findings.append(Finding(place, message))
        return None
    return declaration


class _Reader(lark.Transformer):  # type: ignore[type-arg]
    """Makes nodes of what the grammar finds."""

    def __init__(self, lines: Lines, findings: list[Finding]) -> None:
        super().__init__()
        self._lines = lines
        self._findings = findings

    def app(self, parts: list[Any]) -> Declaration:
        first, name, *_ = parts
        tables = [part for part in parts[2:] if isinstance(part, Node)]
        fields = next((part.value for part in tables if isinstance(part.value, dict)), {})
        return Declaration("app", name.value, self._place(first), fields)

    def block(self, parts: list[Any]) -> Declaration:
        first, name, table = parts[:3]
        return Declaration(str(first), name.value, self._place(first), table.value)

    def table(self, parts: list[Any]) -> Node:
        fields: dict[str, Node] = {}
        for entry in parts:
            if isinstance(entry, tuple):
                self._put(fields, *entry)
        return Node(fields, self._place(parts[0]))

    def field(self, parts: list[Any]) -> tuple[Node, Node]:
        key, value = parts[0], parts[-1]
        return key, Node(value.value, value.at, key.at)

    def child(self, parts: list[Any]) -> tuple[Node, Node]:
        """`step "s1" {...}`: one of several under the key `step`, its name among its fields."""
        key, name, table = parts
        fields = {"name": name, **table.value}
        at = self._place(key)
        return Node(str(key), at), Node((Node(fields, at, at),), at, at)

    def items(self, parts: list[Any]) -> Node:
        nodes = tuple(part for part in parts if isinstance(part, Node))
        return Node(nodes, self._place(parts[0]))

    def string(self, parts: list[Any]) -> Node:
        return self._text(parts[0])

    def number(self, parts: list[Any]) -> Node:
        text, at = str(parts[0]), self._place(parts[0])
        value: Any = 0
        if len(text) > _DIGITS_MAX:
            self._findings.append(Finding(at, f"a number of more than {_DIGITS_MAX} digits"))
        elif re.fullmatch("[+-]?[0-9]+", text):
            value = int(text)
        else:
            value = float(text)
            if value in (float("inf"), float("-inf")):
                self._findings.append(Finding(at, "a number that is too large"))
        return Node(value, at)

    def bare(self, parts: list[Any]) -> Node:
        text = str(parts[0])
        return Node(_BARE.get(text, text), self._place(parts[0]))

    def key(self, parts: list[Any]) -> Node:
        return self._text(parts[0])

    name = word = key

    def _put(self, fields: dict[str, Node], key: Node, node: Node) -> None:
        before = fields.get(key.value)
        if before is None:
            fields[key.value] = node
        elif (
            isinstance(before.value, tuple)
            and isinstance(node.value, tuple)
            and key.value == "step"
        ):
            fields[key.value] = Node(before.value + node.value, before.at, before.key_at)
        else:
            message = (
                f"{key.value!r} stands twice in this block: first in line {before.key_at.line}"
            )
            self._findings.append(Finding(key.at, message))

    def _text(self, token: lark.Token) -> Node:
        text, at = str(token), self._place(token)
        if text.startswith('"""'):
            return Node(_dedented(text[3:-3]), at)
        if not text.startswith('"'):
            return Node(text, at)
        if len(text) < 2 or not text.endswith('"'):
            self._findings.append(Finding(at, "the string that begins here has no end in its line"))
            return Node(text[1:], at)
        return Node(self._unescaped(text[1:-1], at), at)

    def _unescaped(self, text: str, at: Place) -> str:
        if "\\" not in text:
            return text

        def plain(match: re.Match[str]) -> str:
            code = match[1]
            if code[0] == "u" and len(code) == 5:
                return chr(int(code[1:], 16))
            if code not in _ESCAPES:
                place = Place(at.line, at.column + 1 + match.start())
                self._findings.append(
                    Finding(place, f"unknown escape \\{code}; write \\\\ for a \\")
                )
            return _ESCAPES.get(code, code)

        found = _ESCAPE.sub(plain, text)
        try:
            return found.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeError:
            self._findings.append(Finding(at, "half of a \\u pair in this string"))
            return ""

    def _place(self, token: lark.Token) -> Place:
        return self._lines.place(token.start_pos or 0)


def _dedented(text: str) -> str:
    """A text of several lines without what only lays it out in its source: the common indentation,
    and the line ends beside the quotation marks."""
    first, newline, rest = text.partition("\n")
    if first.strip():
        return first + newline + textwrap.dedent(rest) if newline else first
    return textwrap.dedent(rest).rstrip(" \t").removesuffix("\n")
