"""The command line: which commands there are, how they end, what they load."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headgate.errors import ConfigError, HeadgateError, Problem
from headgate.surfaces import cli
from headgate.surfaces.cli import COMMANDS, application, main

PROGRAM = str(Path(sys.executable).with_name("headgate"))
# Words of the contract that are commands of a later version.
LATER = ("batch", "simulate", "semantic", "generate", "keys")


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if "API_KEY" not in name}
    return subprocess.run(
        [PROGRAM, *words], capture_output=True, text=True, cwd=cwd, env=environment, timeout=30
    )


def test_the_help_names_every_command_in_the_table() -> None:
    told = CliRunner().invoke(application(), ["--help"])
    assert told.exit_code == 0
    listed = re.findall(r"^  (\w+)  ", told.output.split("Commands:")[1], re.M)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_can_be_called_with_its_own_module_alone(name: str) -> None:
    told = CliRunner().invoke(application([name]), [name, "--help"])
    assert told.exit_code == 0, told.output
    assert told.output.splitlines()[0].split()[2] == name


@pytest.mark.parametrize("name", LATER)
def test_what_is_not_in_this_version_is_no_command(name: str) -> None:
    assert CliRunner().invoke(application([name]), [name]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["srve"], "Did you mean 'serve'?"),
        (["serve", "--prot", "1"], "--prot"),
        (["serve", "--port", "x"], "--port"),
        (["serve", "--port", "70000"], "--port"),
        (["version", "extra"], "extra"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what(words: list[str], told: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_without_words_the_help_is_shown() -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands:" in done.stderr + done.stdout


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    """The exit status of a program whose command fails in this way."""

    def application(words: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "application", application)
    with pytest.raises(SystemExit) as ended:
        main(["x"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_wrong_configuration_ends_with_2_and_a_line_for_each_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [Problem("cache.ttl", "too short", 3), Problem("server", "no table")]
    assert failing(monkeypatch, ConfigError(problems, "x.toml")) == 2
    assert capsys.readouterr().err == "x.toml:3: cache.ttl: too short\nx.toml: server: no table\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (HeadgateError("it broke"), "headgate: it broke\n"),
        (FileNotFoundError(2, "No such file", "a/b"), "headgate: a/b: No such file\n"),
        (OSError("no luck"), "headgate: no luck\n"),
    ],
)
def test_an_expected_failure_ends_with_1_and_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    line: str,
) -> None:
    assert failing(monkeypatch, error) == 1
    assert capsys.readouterr() == ("", line)


def test_an_unexpected_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(monkeypatch, ZeroDivisionError())


def test_a_reader_that_goes_away_causes_no_traceback() -> None:
    done = subprocess.run(
        ["sh", "-c", f"'{PROGRAM}' config schema | head -c 1"], capture_output=True, text=True
    )
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["version", "version --json", "config explain"])
def test_a_program_started_without_its_streams_says_nothing_and_ends_well(words: str) -> None:
    started = f'"{sys.executable}" -m headgate {words}'
    silent = subprocess.run(["sh", "-c", f"exec {started} >&- 2>&-"], timeout=60)
    assert silent.returncode == 0
    told = subprocess.run(["sh", "-c", f"exec {started} >&-"], timeout=60, capture_output=True)
    assert (told.returncode, b"Traceback" in told.stderr) == (0, False)


def test_the_package_runs_as_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headgate", "version", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "headgate" in json.loads(done.stdout)


def test_a_command_loads_its_own_module_and_not_the_engine() -> None:
    script = (
        "import sys\nfrom headgate.surfaces.cli import application\napplication(['version'])\n"
        "print(*(name for name in sys.modules if name.startswith(('headgate.', 'pydantic'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert set(done.stdout.split()) == {
        "headgate.errors", "headgate.surfaces", "headgate.surfaces.cli",
        "headgate.surfaces.cli_version", "headgate.surfaces.terminal",
    }  # fmt: skip
