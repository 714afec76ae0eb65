"""The files of a backend: the same each time, tidy, and safe from what an app says."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from appspelling import DESK, app_of, apps
from executed import executed_lines
from hypothesis import given, settings

from headgate.backend import opened
from headgate.config import Config
from headgate.errors import ConfigError
from headgate.generate.model import App, Step
from headgate.generate.output import changes, write
from headgate.generate.project import project

LLM = 'llm fast { provider: openai model: "gpt-4o-mini" }\n'
PROMPT = 'prompt hello { model: fast args: { name: string } template: "Greet {{name}}" }'
MINIMAL = LLM + PROMPT
HOSTILE = '"""\'\'\'\\"); import os; os.abort() #{{x}}@{routes}${HOME}\n\r\u2028\u202e\x00'
KEYS = {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a"}


@settings(max_examples=30)
@given(apps())
def test_an_app_always_becomes_the_same_bytes(app: App) -> None:
    files = project(app)
    assert project(app) == files
    for name, text in files.items():
        if name.endswith(".py"):
            ast.parse(text)
    tomllib.loads(files["headgate.toml"])


def test_the_work_grows_as_the_app_does() -> None:
    """So that 200 prompts, which take less than half a second of CPU, are not 100 times 20."""

    def made(prompts: int) -> int:
        named = (PROMPT.replace("hello", f"p{at}") for at in range(prompts))
        text = LLM + "\n".join(named)
        return executed_lines(lambda: project(app_of(text)))

    small, large = made(20), made(80)
    assert large <= 6 * small


def test_the_files_are_those_that_are_promised() -> None:
    assert list(project(app_of(DESK))) == [
        "README.md", "headgate.toml", "requirements.txt", "Dockerfile", "app/__init__.py",
        "app/main.py", "app/prompts.py", "app/settings.py", "tests/__init__.py",
        "tests/conftest.py", "tests/test_app.py",
    ]  # fmt: skip


def test_a_minimal_app_is_at_most_150_lines_of_python() -> None:
    files = project(app_of(MINIMAL))
    written = "".join(text for name, text in files.items() if name.startswith("app/"))
    assert len(list(filter(str.strip, written.splitlines()))) <= 150


@pytest.mark.parametrize("text", [DESK, MINIMAL], ids=["desk", "minimal"])
def test_what_is_generated_is_tidy(tmp_path: Path, text: str) -> None:
    write(tmp_path, changes(tmp_path, project(app_of(text))))
    for words in (["check", "--isolated"], ["format", "--isolated", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", "."]
        ended = subprocess.run(ruff, capture_output=True, text=True, cwd=tmp_path)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_what_an_app_says_cannot_become_code() -> None:
    app = app_of(DESK)
    llm, prompt, chain = app.llms[0], app.prompts[1], app.chains[0]
    hostile = App(
        HOSTILE,
        HOSTILE,
        {},
        {HOSTILE: {"ttl": 1}},
        (type(llm)("fast", "openai", HOSTILE, HOSTILE, {"stop": [HOSTILE]}),),
        (type(prompt)("title", "fast", HOSTILE, description=HOSTILE),),
        (type(chain)("flow", (Step("s", "llm", "fast"),), "input", HOSTILE),),
    )
    for name, text in project(hostile).items():
        assert "\u202e" not in text.replace("\\u202e", "") or name == "headgate.toml"
        if name.endswith(".py"):
            calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
            assert "abort" not in {node.attr for node in calls}


def test_the_configuration_leads_every_model_to_its_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    text = (
        DESK
        + """
    llm groq { provider: "groq" base_url: "https://groq.test/v1" model: "gpt-4o-mini" }
    llm offline { provider: fake model: m }
    llm strange { provider: fake model: "a=3" }
    llm stranger { provider: fake model: "${HOME}" }"""
    )
    monkeypatch.setenv("GROQ_API_KEY", "sk-g")
    write(tmp_path, changes(tmp_path, project(app_of(text))))
    config = Config.load(tmp_path / "headgate.toml")
    providers = {name: (one.kind, one.base_url) for name, one in config.providers.items()}
    assert providers == {
        "openai": ("openai", "https://api.openai.com/v1"),
        "anthropic": ("anthropic", "https://api.anthropic.com"),
        "groq": ("openai", "https://groq.test/v1"),
        "fake": ("fake", ""),
    }
    runtime = opened(tmp_path / "headgate.toml", {}).runtime
    resolved = {
        name: runtime.admission.resolve(name, operation)[1][0].target.name
        for name, operation in (
            ("openai/gpt-4o-mini", "chat"), ("groq/gpt-4o-mini", "chat"),
            ("claude-sonnet-4", "messages"), ("m", "chat"), ("fake/a=3", "chat"),
            ("${HOME}", "chat"),
        )
    }  # fmt: skip
    assert resolved == {
        "openai/gpt-4o-mini": "openai/gpt-4o-mini",
        "groq/gpt-4o-mini": "groq/gpt-4o-mini",
        "claude-sonnet-4": "anthropic/claude-sonnet-4",
        "m": "fake/m",
        "fake/a=3": "fake/a=3",
        "${HOME}": "fake/${HOME}",
    }
    assert 'model="groq/gpt-4o-mini"' in project(app_of(text))["app/settings.py"]
    runtime.close()


def test_a_missing_key_is_told_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write(tmp_path, changes(tmp_path, project(app_of(MINIMAL))))
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        Config.load(tmp_path / "headgate.toml")


def test_the_cache_of_a_model_is_in_the_settings() -> None:
    text = project(app_of(DESK))["app/settings.py"]
    assert '"gpt-4o-mini": {\n        "ttl": 7200,\n    },' in text
