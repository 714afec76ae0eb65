"""`.ai` programs: every form of the syntax, and mistakes with their place."""

from __future__ import annotations

import pytest
from appspelling import DESK, app_of, apps, as_program, told
from hypothesis import given, settings

from headgate.generate.kinds import Kind
from headgate.generate.model import App, Step

LLM = 'llm f { provider: "fake" model: "m" }\n'


def test_a_program_of_every_form_is_read() -> None:
    app = app_of(DESK)
    assert (app.name, app.description) == ("Support Desk", "Answers from the FAQ")
    assert app.runtime == {"llm_cache": {"enabled": True, "ttl": 600, "maxsize": 5000}}
    fast, careful = app.llms
    assert fast.params == {"temperature": 0.2, "max_tokens": 64}
    assert (fast.system_prompt, fast.cache) == ("Be brief.", {"ttl": 7200})
    assert (careful.provider, careful.params) == ("anthropic", {"stop": ["END"]})
    summarise = app.prompts[0]
    assert summarise.template == "Summarise {{text}} in {{points}} points."
    assert summarise.output == Kind("object", fields=(("summary", Kind("string")),))
    assert [step.target for step in app.chains[0].steps] == ["summarise", "title"]


@settings(max_examples=60)
@given(apps())
def test_an_app_that_is_spelt_out_is_read_again(app: App) -> None:
    assert app_of(as_program(app)) == app


@pytest.mark.parametrize("app", ['app "X".', 'app "X"', 'app "X" connects to postgres "MAIN".'])
def test_an_app_needs_no_block(app: str) -> None:
    assert app_of(f"{app}\n{LLM}").name == "X"


def test_steps_may_be_blocks_in_their_order() -> None:
    text = """llm f { provider: "fake" model: "m" }
    prompt p { model: f args: {a: string} template: "{{a}}" }
    chain c { step "one" { kind: "prompt" target: "p" } step "two" { kind: llm target: f, }, }"""
    assert app_of(text).chains[0].steps == (Step("one", "prompt", "p"), Step("two", "llm", "f"))


def test_a_list_of_bare_words_is_a_list() -> None:
    app = app_of(LLM + 'prompt p { model: f input: [a, b] template: "{{a}} {{b}}" }')
    assert [(one.name, one.kind) for one in app.prompts[0].args] == [
        ("a", Kind("string")), ("b", Kind("string")),
    ]  # fmt: skip


def test_strings_have_the_escapes_of_json() -> None:
    text = r'llm f { provider: fake model: m system_prompt: "a\"b\\\n\u00e9\ud83d\ude00#{{" } # x'
    assert app_of(text).llms[0].system_prompt == 'a"b\\\né\U0001f600#{{'


def test_a_text_of_several_lines_loses_only_its_layout() -> None:
    text = LLM + 'prompt p { model: f template: """\n    one\n      two\n\n    three\n    """ }'
    assert app_of(text).prompts[0].template == "one\n  two\n\nthree"
    assert app_of(LLM + 'prompt p { model: f template: """a "b" \\n""" }').prompts[0].template == (
        'a "b" \\n'
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("llm f {\n  provider fake\n}", "3:1: expected '.' or '{' or a name or a string, got '}'"),
        ('llm f { provider: }', "1:19: expected '{' or '[' or a name or a number or a string"),
        ('llm f { provider: "x" ', "1:21: the declaration that begins in line 1 has no end"),
        ('llm f { provider: "x\n }', "1:19: the string that begins here has no end in its line"),
        ('prompt p { template: """x', '1:22: the text that begins here has no end: expected """'),
        ("promt p { }", "1:1: expected a declaration: app, llm, prompt or chain, got 'promt'; did"),
        ("}", "1:1: expected a declaration: app, llm, prompt or chain, got '}'"),
        (r'llm f { provider: "\q" }', "1:20: unknown escape \\q; write \\\\ for a \\"),
        (r'llm f { provider: "\ud800" }', "1:19: half of a \\u pair in this string"),
        ("llm f { seed: 1e999 }", "1:15: a number that is too large"),
        ("llm f { seed: 1 seed: 2 }", "1:17: 'seed' stands twice in this block: first in line 1"),
        ("llm f { x % 3 }", "1:11: expected ':' or '{' or a name or a string, got '%'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_was_expected(text: str, said: str) -> None:
    assert any(message.startswith(said) for message in told(text)), told(text)


def test_a_mistake_in_one_declaration_does_not_hide_the_next() -> None:
    text = (
        'prompt a {\n  x: ,\n}\nllm b { provider: "fake" model: "m"\nchain c { steps: ["x:y"] q }'
    )
    assert [message.partition(" ")[0] for message in told(text)] == ["2:6:", "4:35:", "5:28:"]


def test_what_cannot_be_read_is_not_said_to_be_missing() -> None:
    text = LLM + 'prompt p { model: f template: , }\nchain c { steps: ["prompt:p"] }'
    assert len(told(text)) == 1
