"""Every fenced example in README.md and docs/ is tried: Python runs, configuration loads, commands
exist. A block that cannot run says so and why: ```python no-run REASON.

The Python blocks of one file are one program, at the lines where they stand in the file, in a
process and a folder of their own; each TOML block above them is its `headgate.toml`. The address of
the README, 127.0.0.1:4000, is a gateway in front of the fake provider.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn
from gates import patient

from headgate.config import Config, ProviderConfig
from headgate.runtime import Runtime
from headgate.surfaces.gateway import Gateway

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
ADDRESS = re.compile(r"(?:127\.0\.0\.1|localhost):4000")
SHELLS = ("console", "bash", "sh", "shell")
# Programs that an example may use besides ours.
PROGRAMS = {"git", "cd", "curl", "export", "pip", "python", "python3", "docker", "kill"}
CREDENTIALS = {"OPENAI_API_KEY": "sk-example", "ANTHROPIC_API_KEY": "sk-ant-example"}
PROGRAM_S = 120


class Example(NamedTuple):
    """One fenced block; `line` is that of its fence."""

    file: str
    line: int
    language: str
    note: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language == "python" and not self.note

    @property
    def loads(self) -> bool:
        return self.language == "toml" and not self.note


def blocks_of(file: str, text: str) -> list[Example]:
    return [
        Example(file, text.count("\n", 0, b.start()) + 1, b[1], b[2].strip(), b[3])
        for b in FENCE.finditer(text)
    ]


FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [
    example
    for file in FILES
    for example in blocks_of(file.relative_to(ROOT).as_posix(), file.read_text("utf-8"))
]
RUNNING = [example for example in EXAMPLES if example.runs]
CONFIGURATIONS = [example for example in EXAMPLES if example.loads]
PROGRAM_FILES = sorted({example.file for example in RUNNING})


def program(blocks: list[Example], address: str) -> str:
    """The Python of one file, every line where it stands there."""
    lines = [""] * max(block.line + block.text.count("\n") for block in blocks)
    for block in blocks:
        if block.runs:
            text = ADDRESS.sub(address, block.text)
            lines[block.line : block.line + text.count("\n")] = text.splitlines()
        elif block.loads:
            lines[block.line - 1] = f"open('headgate.toml', 'w').write({block.text!r})"
    return "\n".join(lines) + "\n"


def commands(example: Example) -> Iterator[list[str]]:
    """The commands of a shell block as words, without what a console prints."""
    text = example.text.replace("\\\n", " ")
    for line in text.splitlines():
        if example.language == "console" and not line.startswith("$ "):
            continue
        for part in re.split(r"&&|\|\||[|;&]", line.removeprefix("$ ").partition(" #")[0]):
            words = [word for word in shlex.split(part, comments=True) if not is_assignment(word)]
            if words:
                yield words


def is_assignment(word: str) -> bool:
    return re.match(r"[A-Z_]+=", word) is not None


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a gateway answers that stands in front of the fake provider."""
    config = Config(providers={"fake": ProviderConfig(kind="fake")})
    gateway = Gateway(Runtime(patient(config)))
    settings = uvicorn.Config(gateway, lifespan="on", log_config=None)
    server = uvicorn.Server(settings)
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        yield f"127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("file", PROGRAM_FILES)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    file: str, address: str, tmp_path: Path
) -> None:
    script = tmp_path / file.replace("/", "-").replace(".md", ".py")
    blocks = [example for example in EXAMPLES if example.file == file]
    script.write_text(program(blocks, address), "utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env={**os.environ, **CREDENTIALS},
        capture_output=True, text=True, timeout=PROGRAM_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{file}, lines as there:\n{done.stderr}"


@pytest.mark.parametrize("example", CONFIGURATIONS, ids=lambda example: example.place)
def test_a_configuration_loads(example: Example, tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(example.text, "utf-8")
    variables = re.findall(r"\$\{(\w+)", example.text)
    Config.load(file, environment=dict.fromkeys(variables, "value"))


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.language in SHELLS], ids=lambda example: example.place
)
def test_a_command_exists(example: Example) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for words in commands(example):
        name = Path(words[0]).name
        if name == "make":
            assert set(words[1:]) <= set(targets), words
        elif name == "headgate":
            assert_headgate_has(words[1:])
        else:
            assert name in PROGRAMS, words


def assert_headgate_has(words: list[str]) -> None:
    """The sub-command exists, and its help names every option used."""
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    told = subprocess.run(
        [str(Path(sys.executable).with_name("headgate")), *words[:first], "--help"],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, f"headgate {' '.join(words)}: {told.stderr}"
    assert [option for option in options if option not in told.stdout] == [], words


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.language == "python"], ids=lambda example: example.place
)
def test_python_that_does_not_run_is_python_all_the_same(example: Example) -> None:
    compile(example.text, example.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_a_block_that_does_not_run_says_why() -> None:
    notes = [(e.place, e.note) for e in EXAMPLES if e.language in ("python", "toml") and e.note]
    print(f"{len(RUNNING)} Python blocks run, {len(notes)} blocks do not: {notes}")
    assert [place for place, note in notes if not re.match(r"no-(run|load):? \w.{10,}", note)] == []


def test_the_readme_shows_commands_and_python_that_run() -> None:
    shown = {example.language for example in EXAMPLES if example.file == "README.md"}
    assert shown & set(SHELLS)
    assert "README.md" in PROGRAM_FILES


def test_a_page_becomes_a_program_with_the_same_line_numbers() -> None:
    page = "# Title\n```toml\na = 1\n```\n```python no-run: needs a key of your own\nx\n```\n"
    page += "```python\nurl = 'http://localhost:4000/v1'\nassert url\n```\n"
    lines = program(blocks_of("page.md", page), "127.0.0.1:9").splitlines()
    assert lines[1] == "open('headgate.toml', 'w').write('a = 1\\n')"
    assert lines[8:] == ["url = 'http://127.0.0.1:9/v1'", "assert url"]
    assert lines[2:8] == [""] * 6


def test_the_commands_of_a_console_are_told_from_what_it_prints() -> None:
    page = "```console\n$ A=1 make demo  # first\nmake nothing\n$ headgate serve | cat\n```\n"
    assert list(commands(blocks_of("page.md", page)[0])) == [
        ["make", "demo"], ["headgate", "serve"], ["cat"],
    ]  # fmt: skip
