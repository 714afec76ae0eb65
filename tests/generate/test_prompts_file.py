"""`app/prompts.py`: types, prompts and chains of any app."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import pytest
from appspelling import DESK, app_of, apps
from hypothesis import given, settings
from pydantic import TypeAdapter, ValidationError

from headgate.backend import PREVIOUS, Chain, Prompt
from headgate.generate.kinds import example_of, schema_of
from headgate.generate.model import App
from headgate.generate.project import project


def loaded(app: App) -> dict[str, Any]:
    """The names of the generated modules, run."""
    files = project(app)
    package = types.ModuleType("app")
    own: dict[str, Any] = {"__file__": "/x/app/settings.py", "__name__": "app.settings"}
    exec(compile(files["app/settings.py"], "settings.py", "exec"), own)
    package.settings = types.SimpleNamespace(**own)  # type: ignore[attr-defined]
    sys.modules["app"] = package
    module = types.ModuleType("app_prompts")
    sys.modules["app_prompts"] = module  # where pydantic looks annotations up
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(files["app/prompts.py"], "prompts.py", "exec"), module.__dict__)
    finally:
        del sys.modules["app"], sys.modules["app_prompts"]
    return {**own, **module.__dict__}


@settings(max_examples=40)
@given(apps())
def test_the_modules_of_any_app_say_what_it_declares(app: App) -> None:
    names = loaded(app)
    prompts = {one.name: one for one in names.values() if isinstance(one, Prompt)}
    assert list(prompts) == [prompt.name for prompt in app.prompts]
    for declared in app.prompts:
        made = prompts[declared.name]
        values = {one.name: example_of(one.kind) for one in declared.args}
        assert set(made.template.names) == set(values)
        if declared.output is not None:
            assert made.schema == schema_of(declared.output)
            example = example_of(declared.output)
            assert made.output.model_validate(example).model_dump(by_alias=True) == example
    assert len([one for one in names.values() if isinstance(one, Chain)]) == len(app.chains)


def test_arguments_have_types_defaults_and_no_others() -> None:
    arguments = loaded(app_of(DESK))["SummariseArgs"]
    assert arguments(text="x").model_dump(by_alias=True) == {"text": "x", "points": 3}
    for wrong in ({}, {"text": "x", "points": "many"}, {"text": "x", "more": 1}):
        with pytest.raises(ValidationError):
            arguments.model_validate(wrong)


def test_an_argument_may_be_called_as_anything() -> None:
    text = """llm f { provider: fake model: m }
    prompt p { model: f input: [class, json, copy, str, model_config, _x, copy_]
      output_schema: { schema: "string?", "list": "list[int]" }
      template: "{{class}}{{json}}{{copy}}{{str}}{{model_config}}{{_x}}{{copy_}}" }"""
    names = loaded(app_of(text))
    given = dict.fromkeys(["class", "json", "copy", "str", "model_config", "_x", "copy_"], "v")
    assert names["PArgs"].model_validate(given).model_dump(by_alias=True) == given
    output = {"schema": None, "list": [1]}
    assert names["POutput"].model_validate(output).model_dump(by_alias=True) == output


def test_the_input_of_a_chain_has_two_names() -> None:
    names = loaded(app_of(DESK))
    adapter = TypeAdapter(names["FlowInput"])
    for key in ("text", "input"):
        assert adapter.validate_python({key: "x"}).model_dump(by_alias=True) == {
            "text": "x", "points": 3,
        }  # fmt: skip
    steps = names["CHAIN_FLOW"].steps
    assert [dict(step.takes) for step in steps] == [
        {"text": PREVIOUS, "points": "points"}, {"text": PREVIOUS},
    ]  # fmt: skip


def test_a_chain_stands_behind_those_inside_it() -> None:
    text = 'llm f { provider: fake model: m }\nchain a { steps: ["chain:b"] }\n'
    names = loaded(app_of(text + 'chain b { steps: ["llm:f"] }'))
    assert names["CHAIN_A"].steps[0].target is names["CHAIN_B"]
