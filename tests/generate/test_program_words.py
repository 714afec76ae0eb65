"""A program cut into declarations: in one pass, whatever is in it."""

from __future__ import annotations

import pytest
from executed import executed_lines

from headgate.generate.program import read_program
from headgate.generate.program_words import DEPTH_MAX, WORDS_MAX, cut

PROGRAM = 'llm "a" { provider: "fake" model: "m" }\n'
OTHERS = """page "Home" at "/":
  show text "llm x"
  prompt "inner" y
dataset "d" from csv "x.csv" {
  prompt: "q"
}
  memory "m" { x: { y: 1 } }
agent "a" { llm: "f"
}
"""


def test_declarations_of_other_kinds_are_named_and_passed_over() -> None:
    found = cut(PROGRAM + OTHERS + PROGRAM)
    assert len(found.declarations) == 2
    assert [(kind, name, at.line) for kind, name, at in found.skipped] == [
        ("page", "Home", 2), ("dataset", "d", 5), ("agent", "a", 9),
    ]  # fmt: skip
    assert found.findings == []


def test_a_kind_that_nobody_knows_is_named_but_not_one_that_is_nearly_ours() -> None:
    found = cut('page "P" { show text "x" }\nwidget "W" {\n  x\n}\npromt "p" { }\n' + PROGRAM)
    assert [(one.kind, one.name) for one in found.skipped] == [("page", "P"), ("widget", "W")]
    assert [one.message for one in found.findings] == [
        "expected a declaration: app, llm, prompt or chain, got 'promt'; did you mean 'prompt'?"
    ]
    assert len(found.declarations) == 1


def test_several_declarations_may_share_a_line() -> None:
    assert len(cut('llm a { x: 1 } llm b { x: 1 }. app "X". llm c { x: 1 }').declarations) == 4


def test_a_block_without_an_end_ends_where_the_next_declaration_begins() -> None:
    words = cut("llm a {\n x: 1\nllm b { x: 1 }").declarations
    assert [[word.text for word in one][:2] for one in words] == [["llm", "a"], ["llm", "b"]]


@pytest.mark.parametrize("opening", ["{", "["])
def test_deep_nesting_is_refused(opening: str) -> None:
    assert [f.message for f in cut(f"llm a {opening * 21}").findings] == [
        f"nested deeper than {DEPTH_MAX}"
    ]


SHAPES = {
    "lists": lambda n: "llm a { x: " + "[" * n,
    "tables": lambda n: "llm a " + "{" * n,
    "commas": lambda n: "llm a { " + "," * n + " }",
    "bare words": lambda n: "llm a { input: [" + "a, " * n + "] }",
    "quotation marks": lambda n: '"' * n,
    "junk": lambda n: "promt " * n,
    "braces of a template": lambda n: PROGRAM + 'prompt p { template: "' + "{{" * n + '" }',
    "declarations": lambda n: PROGRAM * n,
    "open blocks": lambda n: "llm a {\n" * n,
    "line ends": lambda n: "\n" * n,
    "escapes": lambda n: r'llm a { x: "' + r"\\" * n + '" }',
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_grows_as_the_program_does(shape: str) -> None:
    small, large = (
        executed_lines(lambda count=count: read_program("app.ai", SHAPES[shape](count)))  # type: ignore[misc]
        for count in (300, 1200)
    )
    assert large <= 6 * small


def test_a_megabyte_of_signs_is_given_up_on() -> None:
    found = cut("llm a { x: [" + "1," * 500_000)
    assert found.findings[0].message == f"more than {WORDS_MAX} words and signs in one program"
    assert sum(map(len, found.declarations)) == WORDS_MAX


def test_a_megabyte_of_text_is_one_word() -> None:
    text = "word " * 200_000
    source = read_program("app.ai", f'{PROGRAM}prompt p {{ model: a template: """{text}""" }}')
    assert source.findings == []
    assert source.declarations[1].fields["template"].value == text
