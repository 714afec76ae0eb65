"""TOML text: the line of every key, and variables in strings."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config_file_text import Document, Expanded, dotted, expand, parse
from headgate.errors import Problem

PAGE = '''\
# [not.a.table]
top = 1
[server]   # a comment with = and [
host = "a # b"
"port" = 2

[cache]
models."gpt-4.1".ttl = 'x'
ignore_fields = [
  "a", # [
  ["]"],
]
text = """
[inside]
key = 1 \\"""
"""
raw = \'\'\'
[raw] = \'\'\'
inline = { a = 1, b = { c = "}" } }
[providers."a.b"]
kind = 'fake'
[[list]]
x = 2024-01-01
'''


def document(text: str) -> Document:
    parsed = parse(text)
    assert isinstance(parsed, Document)
    return parsed


def test_every_key_and_table_has_its_line() -> None:
    for page in (PAGE, PAGE.replace("\n", "\r\n")):
        found = document(page)
        assert {dotted(path): line for path, line in found.lines.items()} == {
            "top": 2, "server": 3, "server.host": 4, "server.port": 5, "cache": 7,
            'cache.models."gpt-4.1".ttl': 8, "cache.ignore_fields": 9, "cache.text": 13,
            "cache.raw": 17, "cache.inline": 19, 'providers."a.b"': 20,
            'providers."a.b".kind': 21, "list": 22, "list.x": 23,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("cache", "inline", "b", "c"), 19),
        (("cache", "models", "gpt-4.1"), 8),
        (("server", "absent"), 3),
        (("absent",), None),
        ((), None),
    ],
)
def test_what_has_no_line_of_its_own_has_that_of_what_is_around_it(
    path: tuple[str, ...], line: int | None
) -> None:
    assert document(PAGE).line(path) == line


def test_a_table_that_is_never_opened_has_the_line_of_its_first_key() -> None:
    found = document("[cache]\nttl = 1\nmodels.x.ttl = 2\nmodels.y.ttl = 3\n[server]\nport = 1\n")
    assert (found.line(("cache", "models")), found.line(("cache", "models", "y"))) == (3, 4)
    assert document("\nbatsh.size = 1\n").line(("batsh",)) == 2


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
TEXTS = st.sampled_from(
    ['"a\\"# ["', "'[x]'", '"""\n[a]\n"""', "'''\n# b = 1\n'''", "[1,\n# ]\n2]", '{a = "}"}', '""']
)


@given(st.lists(st.tuples(KEYS, TEXTS), max_size=8, unique_by=lambda pair: pair[0]))
def test_the_lines_of_any_document_are_those_where_its_keys_begin(
    pairs: list[tuple[str, str]],
) -> None:
    text, wanted = "", {}
    for number, (key, value) in enumerate(pairs):
        text += "\n# = [\n" if number % 2 else ""
        wanted[(key,)] = text.count("\n") + 1
        text += f"{quoted(key)} = {value}\n"
    assert set(tomllib.loads(text)) == {key for key, _ in pairs}
    assert document(text).lines == wanted


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("[x\n", 1), ('a = "x', 1), ("a = 1\n[a]\n", 2)],
)
def test_what_is_no_toml_is_a_problem_with_its_line(text: str, line: int) -> None:
    problem = parse(text)
    assert isinstance(problem, Problem)
    assert problem.line == line
    assert problem.message.startswith("not TOML: ")


@pytest.mark.parametrize("depth", [31, 32, 5_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ("{a=", "}"), ("a.", "")], ids=["lists", "tables", "keys"]
)
def test_what_stands_too_deep_is_a_problem(opening: str, closing: str, depth: int) -> None:
    inside = "0" if closing else "a = 0"
    text = f"{opening * depth}{inside}{closing * depth}"
    found = parse(f"x = {text}" if closing else text)
    if depth < 32:
        assert isinstance(found, Document)
    else:
        assert isinstance(found, Problem)
        assert "more than 32 times" in found.message


def test_a_number_of_too_many_digits_is_a_problem() -> None:
    found = parse(f"x = {'9' * 5_000}")
    assert isinstance(found, Problem)
    assert found.message == "a number has too many digits"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("cache", "ttl"), "cache.ttl"),
        (("models", "gpt-4.1"), 'models."gpt-4.1"'),
        (("models", ""), 'models.""'),
        (("a b", 'c"d'), '"a b"."c\\"d"'),
    ],
)
def test_a_path_is_written_as_in_toml(path: tuple[str, ...], text: str) -> None:
    assert dotted(path) == text


ENVIRONMENT = {"A": "one", "EMPTY": "", "NESTED": "${A}"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain $A {A}", "plain $A {A}"),
        ("${A}", "one"),
        ("x${A}-${A}y", "xone-oney"),
        ("${MISSING:-two}", "two"),
        ("${MISSING:-}", ""),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY}", ""),
        ("${A:-two}", "one"),
        ("${MISSING:-a:-b}", "a:-b"),
        ("${NESTED}", "${A}"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
    ],
)
def test_variables_are_replaced_once(text: str, expanded: str) -> None:
    assert expand({"key": text}, ENVIRONMENT) == ({"key": expanded}, [])


def test_strings_are_expanded_at_any_depth_and_nothing_else_is() -> None:
    tree: dict[str, Any] = {"a": {"b": ["${A}", 3, ["x${A}"]]}, "${A}": True}
    expanded, problems = expand(tree, ENVIRONMENT)
    assert expanded == {"a": {"b": ["one", 3, ["xone"]]}, "${A}": True}
    assert problems == []


def test_what_came_from_the_environment_is_marked() -> None:
    expanded, _ = expand({"a": "${A}", "b": "one"}, ENVIRONMENT)
    assert isinstance(expanded["a"], Expanded)
    assert not isinstance(expanded["b"], Expanded)


def test_every_missing_variable_is_named_with_its_key() -> None:
    tree = {"a": {"b": "${NO_1} ${A} ${NO_2}"}, "c": ["${NO_3}"]}
    _, problems = expand(tree, ENVIRONMENT)
    assert [path for path, _ in problems] == [("a", "b"), ("a", "b"), ("c",)]
    for (_, message), name in zip(problems, ("NO_1", "NO_2", "NO_3"), strict=True):
        assert f"environment variable {name} is not set" in message
        assert f"${{{name}:-default}}" in message


@pytest.mark.parametrize("text", ["${A", "${}", "${1A}", "${A-b}", "${A:b}", "${ A }"])
def test_an_unfinished_variable_is_a_problem(text: str) -> None:
    _, problems = expand({"key": text}, ENVIRONMENT)
    assert [path for path, _ in problems] == [("key",)]
    assert "${VAR:-default}" in problems[0][1]
