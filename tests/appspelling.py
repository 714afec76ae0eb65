"""Apps for the tests of `headgate generate`: any app at all, and the same one spelt in each of the
three forms.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from headgate.generate.building import build
from headgate.generate.kinds import Kind
from headgate.generate.model import App, Argument, Chain, Faulty, Llm, Prompt, Step
from headgate.generate.reading import read_app, read_source

DESK = """
app "Support Desk" {
  description: "Answers from the FAQ"
  runtime: { llm_cache: { enabled: true, ttl: 600, maxsize: 5000 } }
}
llm "fast" {
  provider: "openai"
  model: "gpt-4o-mini"
  temperature: 0.2
  max_tokens: 64
  system_prompt: "Be brief."
  cache: { ttl: 7200 }
}
llm careful { provider: anthropic, model: "claude-sonnet-4", stop: ["END"], }
prompt "summarise" {
  model: "fast"
  args: { text: "string", points: "int = 3" }
  output_schema: { summary: "string" }
  template: \"\"\"
  Summarise {{text}} in {{points}} points.
  \"\"\"
}
prompt "title" { model: "careful" args: { text: "string" } template: "Title: {{text}}" }
chain "flow" { input_key: "text" steps: ["prompt:summarise", "prompt:title"] }
"""


def app_of(text: str, suffix: str = ".ai") -> App:
    """The app in a text that is right."""
    source = read_source(Path(f"app{suffix}"), textwrap.dedent(text))
    app, findings = build(source, "app")
    assert [*source.findings, *findings] == []
    return app


def told(text: str, suffix: str = ".ai") -> list[str]:
    """`line:column: message` of everything that is wrong with a text."""
    source = read_source(Path(f"app{suffix}"), text)
    _, findings = build(source, "app")
    return [f"{at.line}:{at.column}: {message}" for at, message in [*source.findings, *findings]]


def refused(path: Path) -> str:
    """What is printed of a file that no app can be made of."""
    try:
        read_app(path)
    except Faulty as error:
        return error.message
    raise AssertionError("it was accepted")


# Any app.

_IDENTIFIERS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
_BASES = ("string", "integer", "number", "boolean", "object")
_SCALARS = st.builds(Kind, st.sampled_from(_BASES), optional=st.booleans())
_KINDS = _SCALARS | st.builds(Kind, st.just("array"), _SCALARS, optional=st.booleans())


def _objects(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    fields = st.dictionaries(_IDENTIFIERS, inner, min_size=1, max_size=3)
    return st.builds(lambda known: Kind("object", fields=tuple(known.items())), fields)


def _lists(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.builds(Kind, st.just("array"), inner, optional=st.booleans())


KINDS = st.recursive(_KINDS, lambda inner: _objects(inner) | _lists(inner), max_leaves=12)
"""Any type that an output may have."""

_DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text("abc xyz", min_size=1, max_size=8).map(str.strip).filter(
        lambda text: text not in ("", "null")
    ),
    "integer": st.integers(-99, 99),
    "number": st.floats(-9, 9, width=16),
    "boolean": st.booleans(),
}  # fmt: skip


@st.composite
def arguments(draw: st.DrawFn) -> tuple[Argument, ...]:
    found = []
    for name in draw(st.lists(_IDENTIFIERS, max_size=3, unique=True)):
        kind = draw(_KINDS)
        if kind.base in _DEFAULTS and draw(st.booleans()):
            found.append(Argument(name, kind, True, draw(_DEFAULTS[kind.base])))
        else:
            found.append(Argument(name, kind, kind.optional))
    return tuple(found)


@st.composite
def prompts(draw: st.DrawFn, name: str, llms: list[str]) -> Prompt:
    args = draw(arguments())
    begin = "A" + draw(_TEXTS).replace("{", "(")
    parts = ["{{" + one.name + "}}" + draw(_TEXTS).replace("{", "(") for one in args]
    return Prompt(
        name,
        draw(st.sampled_from(llms)),
        begin + "".join(parts),
        args,
        draw(st.none() | _objects(_KINDS | _objects(_KINDS))),
        draw(st.integers(0, 5)),
        draw(_TEXTS),
    )


@st.composite
def apps(draw: st.DrawFn) -> App:
    names = draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True))
    llms = []
    for number, name in enumerate(names):
        params = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "temperature": st.floats(0, 2, width=16),
                    "max_tokens": st.integers(1, 99),
                    "stop": st.lists(_TEXTS, max_size=2),
                    "seed_of_mine": st.just({"a": [1, {"b": None}]}),
                },
            )
        )
        provider = draw(st.sampled_from(("openai", "anthropic", "fake")))
        cache = draw(st.just({}) | st.just({"ttl": 60, "enabled": False}))
        llms.append(Llm(name, provider, f"m/{number}.x", draw(_TEXTS), params, cache))
    named = draw(st.lists(_NAMES, max_size=3, unique=True))
    made = tuple(draw(prompts(name, names)) for name in named)
    chains: list[Chain] = []
    for name in draw(st.lists(_NAMES, max_size=2, unique=True)):
        known = [("llm", one) for one in names] + [("prompt", one) for one in named]
        known += [("chain", chain.name) for chain in chains]
        steps = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
        made_steps = tuple(Step(target, kind, target) for kind, target in steps)
        chains.append(Chain(name, made_steps, draw(_IDENTIFIERS), draw(_TEXTS)))
    runtime = draw(st.just({}) | st.just({"llm_cache": {"maxsize": 5, "enabled": True}}))
    title = "A" + draw(_TEXTS)
    return App(title, draw(_TEXTS), runtime, {"x": {"ttl": 5}}, tuple(llms), made, tuple(chains))


# Spelling.


def tables_of(app: App) -> dict[str, Any]:
    """An app as the dictionaries that a settings module holds."""
    return {
        "APP": {"name": app.name, "description": app.description},
        "RUNTIME_SETTINGS": app.runtime,
        "MODEL_CACHE_CONFIG": app.models,
        "LLMS": {llm.name: _llm(llm) for llm in app.llms},
        "PROMPTS": {prompt.name: _prompt(prompt) for prompt in app.prompts},
        "CHAINS": {chain.name: _chain(chain) for chain in app.chains},
    }


def _llm(llm: Llm) -> dict[str, Any]:
    known = {name: value for name, value in llm.params.items() if name != "seed_of_mine"}
    more = {name: value for name, value in llm.params.items() if name == "seed_of_mine"}
    fields = {"provider": llm.provider, "model": llm.model, "system_prompt": llm.system_prompt}
    return {**fields, **known, "params": more, "cache": llm.cache}


def _prompt(prompt: Prompt) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": prompt.llm,
        "description": prompt.description,
        "repair_attempts": prompt.repairs,
        "args": {one.name: _argument(one) for one in prompt.args},
        "template": prompt.template,
    }
    return fields if prompt.output is None else {**fields, "output_schema": kind_of(prompt.output)}


def _argument(argument: Argument) -> str:
    spelt = str(kind_of(argument.kind))
    if not argument.has_default or argument.default is None:
        return spelt
    return f"{spelt} = {json.dumps(argument.default)}"


def kind_of(kind: Kind) -> Any:
    """A kind as a source spells it."""
    if kind.fields:
        return {name: kind_of(inner) for name, inner in kind.fields}
    spelt = f"list[{kind_of(kind.item)}]" if kind.item else kind.base
    return f"{spelt}?" if kind.optional else spelt


def _chain(chain: Chain) -> dict[str, Any]:
    steps = [f"{step.kind}:{step.target}" for step in chain.steps]
    return {"input_key": chain.input_key, "description": chain.description, "steps": steps}


def as_python(app: App) -> str:
    return "".join(f"{name} = {value!r}\n" for name, value in tables_of(app).items())


def as_program(app: App) -> str:
    tables = tables_of(app)
    fields = {
        "description": app.description,
        "runtime": tables["RUNTIME_SETTINGS"],
        "models": tables["MODEL_CACHE_CONFIG"],
    }
    parts = [f"app {json.dumps(app.name)} {_block(fields)}"]
    for group, kind in (("LLMS", "llm"), ("PROMPTS", "prompt"), ("CHAINS", "chain")):
        for name, block in tables[group].items():
            parts.append(f"{kind} {json.dumps(name)} {_block(block)}")
    return "\n".join(parts)


def _block(value: Any) -> str:
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {_block(item)}" for key, item in value.items()]
        return "{\n" + "\n".join(lines) + "\n}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_block, value)) + "]"
    return json.dumps(value)


def as_toml(app: App) -> str:
    """TOML has no null: apps whose parameters have one are not spelt in it."""
    return "".join(f"{name.lower()} = {_inline(value)}\n" for name, value in tables_of(app).items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        pairs = [f"{_inline(key)} = {_inline(item)}" for key, item in value.items()]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
