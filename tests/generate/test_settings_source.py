"""The same app as Python dictionaries and as TOML."""

from __future__ import annotations

from pathlib import Path

import pytest
from appspelling import app_of, apps, as_python, as_toml, told
from hypothesis import assume, given, settings

from headgate.generate.model import App, Llm

LLMS = 'LLMS = {"f": {"provider": "fake", "model": "m"}}\n'


@settings(max_examples=40)
@given(apps())
def test_an_app_in_python_is_read_again(app: App) -> None:
    assert app_of(as_python(app), ".py") == app


@settings(max_examples=40)
@given(apps())
def test_an_app_in_toml_is_read_again(app: App) -> None:
    assume(not any("seed_of_mine" in llm.params for llm in app.llms))
    assert app_of(as_toml(app), ".toml") == app


def test_a_settings_module_is_read_and_not_run(tmp_path: Path) -> None:
    text = f"""
import os
open({str(tmp_path / "ran")!r}, "w")
OTHER = os.environ["HOME"]
RUNTIME_SETTINGS: dict = {{"llm_cache": {{"maxsize": 7}}}}
{LLMS}"""
    app = app_of(text, ".py")
    assert (app.runtime, app.llms) == (
        {"llm_cache": {"maxsize": 7}}, (Llm("f", "fake", "m"),),
    )  # fmt: skip
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LLMS = {\n", "1:8: not Python: '{' was never closed"),
        ("LLMS = get()", "1:8: not a literal: strings, numbers, lists and dictionaries only"),
        ('LLMS = {"a": {"model": f"{x}"}}', "1:24: not a literal"),
        ('LLMS = {1: {}, **x}', "1:9: a key must be a string, written out"),
        ('LLMS = {"a": {}, "a": {}}', "1:18: 'a' stands twice in this dictionary"),
        (LLMS + LLMS, "2:8: LLMS is assigned twice"),
        ("LLMS = [1]", "1:8: expected a dictionary here"),
        ("LLMS = '\0'", "1:0: not Python"),
        ("LLMS = " + "[" * 5000, "1:"),
    ],
)  # fmt: skip
def test_a_mistake_in_python_has_its_place(text: str, said: str) -> None:
    assert told(text, ".py")[0].startswith(said), told(text, ".py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[llms.f\n", "1:0: not TOML: Expected ']' at the end of a table declaration"),
        ("[llm.f]\nx = 1", "1:0: unknown table 'llm'; did you mean 'llms'?"),
        ("[llms.f]\nprovider = 1979-05-27", "2:0: provider: dates and times have no use here"),
    ],
)
def test_a_mistake_in_toml_has_its_line(text: str, said: str) -> None:
    assert told(text, ".toml")[0].startswith(said), told(text, ".toml")
