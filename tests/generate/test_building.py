"""What is wrong with an app: all of it at once, each with its place and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from appspelling import app_of, refused, told

from headgate.generate.model import FINDINGS_SHOWN_MAX

LLM = 'llm f { provider: "fake" model: "m" }\n'


def test_everything_is_reported_at_once_with_a_caret(tmp_path: Path) -> None:
    file = tmp_path / "app.ai"
    file.write_text(
        'llm "fast" {\n  provider: "opnai"\n  model: "m"\n}\n'
        'prompt "p" {\n  model: "fst"\n  args: { a: "strin" }\n'
        '  template: """\n  Hi {{b}}\n  """\n}\n'
    )
    assert refused(file).replace(str(file), "app.ai") == (
        "app.ai:2:13: unknown provider 'opnai'; did you mean 'openai'?; known: openai, anthropic, "
        "fake; any other that speaks OpenAI's dialect needs a base_url\n"
        '      provider: "opnai"\n'
        "                ^\n"
        "app.ai:6:10: prompt 'p': no llm is called 'fst'; did you mean 'fast'?\n"
        '      model: "fst"\n'
        "             ^\n"
        "app.ai:7:11: the template does not use 'a'\n"
        '      args: { a: "strin" }\n'
        "              ^\n"
        "app.ai:7:14: a: unknown type 'strin'; did you mean 'string'?\n"
        '      args: { a: "strin" }\n'
        "                 ^\n"
        "app.ai:9:6: the template uses 'b', which is not among the arguments; did you mean 'a'?\n"
        "      Hi {{b}}\n"
        "         ^"
    ).replace("; did you mean 'a'?", "")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ('llm a { model: "m" }', "1:1: llm 'a' has no provider"),
        ('llm a { provider: "fake" }', "1:1: llm 'a' has no model"),
        ('llm a { provider: "groq" model: "m" }', "1:19: unknown provider 'groq'"),
        ('llm a { provider: "g/q" base_url: "http://x/v1" model: "m" }', "1:19: a provider's name"),
        ('llm a { provider: "g" base_url: "x" model: "m" }', "1:33: expected an address such as"),
        ('llm a { provider: fake model: "m" temperature: 3 }', "1:48: temperature: expected a num"),
        ('llm a { provider: fake model: "m" max_tokens: 1.5 }', "1:47: max_tokens: expected a who"),
        ('llm a { provider: fake model: "m" max_tokens: true }', "1:47: max_tokens: expected a wh"),
        ('llm a { provider: fake model: "m" stop: [1] }', "1:41: stop: expected strings"),
        ('llm a { provider: fake model: "m" cache: { tll: 1 } }', "1:49: cache.tll: unknown key; "),
        ('llm a { provider: fake model: "m" cache: 1 }', "1:42: cache: expected a table"),
        ('llm a { provider: fake model: "m" modl: 1 }', "1:35: unknown key 'modl' in llm 'a'; did"),
        ('llm a { provider: anthropic model: "m" seed: 1 }', "1:46: anthropic has no seed"),
        ('llm a { provider: fake model: "m" top_k: 1 }', "1:42: openai has no top_k"),
        ('llm "a/b" { provider: fake model: "m" }', "1:1: llm 'a/b': a name is letters, digits"),
        ('app "x" { runtime: { llm_cache: { maxsze: 1 } } }', "1:43: llm_cache.maxsze: unknown ke"),
        ('app "x" { models: { m: { ttl: "x" } } }', "1:31: models.m.ttl: expected a duration"),
        ('app "x".\napp "y".', "2:1: a second app: the first one is in line 1"),
        ('app "x".', "1:0: nothing to generate: no llm and no prompt is declared"),
    ],
)
def test_a_mistake_in_a_block_is_told(block: str, said: str) -> None:
    assert any(message.startswith(said) for message in told(block)), told(block)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("", "2:1: prompt 'p' has no template"),
        ('template: ""', "expected a string"),
        ('template: "{{a.b}}"', "'{{a.b}}': only the name of an argument may stand in {{...}}"),
        ('template: "{{ }}"', "'{{ }}': only the name of an argument"),
        ('template: "x" args: { a: "int" }', "the template does not use 'a'"),
        ('template: "{{a}}" args: { a: 1 }', "a: expected a type such as string, int or list"),
        ('template: "{{a}}" args: { a: "int = x" }', "a: the default x is no int"),
        ('template: "{{a}}" args: { a: "int = true" }', "a: the default true is no int"),
        ('template: "x" args: 1', "args: expected a table of names and types, or a list of names"),
        ('template: "{{a}}" input: [a, a]', "the argument 'a' stands twice"),
        ('template: "x" args: { "a b": "int" }', "the name of an argument is letters, digits and"),
        ('template: "x" args: {} input: []', "args and input are two names of one thing"),
        ('template: "x" output_schema: "string"', "output_schema: expected a table of names and"),
        ('template: "x" output_schema: { a: { b: "strng" } }', "b: unknown type 'strng'; did you"),
        (
            'template: "x" output_schema: { a: [1, 2] }',
            "a: expected a type such as string, a ta",
        ),
        ('template: "x" output_schema: { "a b": int }', "the name of a field is letters, digits"),
        (
            'template: "x" repair_attempts: 9',
            "repair_attempts: expected a whole number from",
        ),
    ],
)
def test_a_mistake_in_a_prompt_is_told(fields: str, said: str) -> None:
    found = told(f"{LLM}prompt p {{ model: f {fields} }}")
    assert any(said in message for message in found), found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("", "2:1: chain 'c' has no steps"),
        ("steps: []", "chain 'c' has no steps"),
        ("steps: [1]", 'expected a step such as "prompt:summarise"'),
        ('steps: ["tool:x"]', "unknown kind of step 'tool'; known: prompt, llm, chain"),
        ('step x { kind: "llm" }', "a step has no target"),
        (
            'step x { target: "f" kind: "llm" } steps: ["llm:f"]',
            "steps are either a list or blocks, ",
        ),
        ('steps: ["llm:f"] input_key: "a b"', "an input_key is letters, digits and _"),
    ],
)
def test_a_mistake_in_a_chain_is_told(fields: str, said: str) -> None:
    found = told(f"{LLM}chain c {{ {fields} }}")
    assert any(said in message for message in found), found


def test_two_declarations_of_one_name_are_one_too_many() -> None:
    assert told(LLM * 2) == ["2:1: llm 'f' is declared twice: first in line 1"]


def test_a_provider_with_an_address_of_its_own_may_be_any() -> None:
    llm = app_of('llm a { provider: "groq" base_url: "https://x.test/v1" model: "m" }').llms[0]
    assert (llm.provider, llm.base_url) == ("groq", "https://x.test/v1")


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "app.ai"
    file.write_text("\n".join(f"llm a{number} {{ }}" for number in range(40)))
    lines = refused(file).splitlines()
    assert sum(": llm 'a" in line for line in lines) == FINDINGS_SHOWN_MAX
    assert lines[-1] == f"{file}: and 30 more problems"
