"""Rules on names: words that say nothing about a thing are not used for one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePath

from tidy.shape import parameters
from tidy.source import Finding, Source, at, named, vocabulary

EMPTY_WORDS = vocabulary(
    "manager managers handler handlers helper helpers util utils utilities misc common data info "
    "new v2 process"
)
WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def names_say_something(source: Source) -> Iterator[Finding]:
    """Files, classes, functions and parameters. `process` may not be a verb in front of a noun."""
    if word := empty_word(PurePath(source.path).stem):
        yield Finding(source.path, 1, "", f"the file's name says {word!r}")
    for found in named(source.tree):
        words = [empty_word(found.node.name)]
        if not isinstance(found.node, ast.ClassDef):
            words += [empty_word(parameter) for parameter in parameters(found.node)]
        for word in filter(None, words):
            message = f"{word!r} in a name says nothing: name what it is or does"
            yield at(source, found.node, found.name, message)


def empty_word(identifier: str) -> str:
    """The first word of the identifier that says nothing, or ""."""
    if identifier.startswith("__"):
        return ""
    words: list[str] = [word.lower() for word in WORD.findall(identifier)]
    for position, word in enumerate(words):
        is_noun = word == "process" and (position > 0 or len(words) == 1)
        if word in EMPTY_WORDS and not is_noun:
            return word
    return ""
