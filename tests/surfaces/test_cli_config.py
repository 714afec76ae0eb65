"""`headgate init`, `check` and `config`, called as users call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.config import Config
from headgate.config_file_show import commented_file, schema
from headgate.surfaces.cli import main

VARIABLES = (
    "HEADGATE_CONFIG", "HEADGATE_ADMIN_TOKEN", "HEADGATE_SERVER_HOST", "OPENAI_API_KEY",
    "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL",
)  # fmt: skip
PROGRAM = str(Path(sys.executable).with_name("headgate"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and an environment without settings."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Told:
    """How a command line ended and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(words)
        self.code = ended.value.code or 0
        self.out, self.err = capsys.readouterr()


Captured = pytest.CaptureFixture[str]


def test_init_writes_a_file_that_check_accepts(capsys: Captured, folder: Path) -> None:
    assert Told(capsys, "init").code == 0
    file = folder / "headgate.toml"
    assert file.read_text("utf-8") == commented_file()
    assert Config.load(file, environment={}) == Config()
    checked = Told(capsys, "check", "--config", "headgate.toml")
    assert (checked.code, checked.out) == (0, "ok: headgate.toml\n")


def test_init_does_not_overwrite(capsys: Captured, folder: Path) -> None:
    (folder / "mine.toml").write_text("mine")
    told = Told(capsys, "init", "mine.toml")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("mine.toml exists")
    assert (folder / "mine.toml").read_text() == "mine"


def test_init_in_a_folder_that_is_not_there_fails_with_a_line(capsys: Captured) -> None:
    told = Told(capsys, "init", "absent/headgate.toml")
    assert told.code == 1
    assert told.err == "headgate: absent/headgate.toml: No such file or directory\n"


def test_check_without_a_file_says_what_it_took(capsys: Captured) -> None:
    told = Told(capsys, "check")
    assert told.code == 0
    assert told.out == "ok: no file; defaults and environment\n"
    assert "the built-in fake provider answers" in told.err


def test_check_takes_the_file_of_the_environment(
    capsys: Captured, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "x.toml").write_text('[server]\nport = "high"\n')
    monkeypatch.setenv("HEADGATE_CONFIG", "x.toml")
    told = Told(capsys, "check")
    assert told.code == 2
    wrong = "x.toml:2: server.port: expected a whole number"
    assert told.err == f'{wrong}, at least 0 and at most 65535, got "high"\n'


def test_check_prints_one_line_for_each_problem_and_ends_with_2(folder: Path) -> None:
    (folder / "x.toml").write_text('[cache]\nttl = "5q"\nmaxsiz = 1\n\n[server]\nport = -1\n')
    done = subprocess.run(
        [PROGRAM, "check", "--config", "x.toml"], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["x.toml:2", "cache.ttl"], ["x.toml:3", "cache.maxsiz"], ["x.toml:6", "server.port"],
    ]  # fmt: skip


def test_check_refuses_an_open_gateway_without_a_token(capsys: Captured, folder: Path) -> None:
    (folder / "x.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    told = Told(capsys, "check", "--config", "x.toml")
    assert told.code == 2
    assert told.err.startswith("x.toml: server.admin_token: ")


def test_check_says_what_has_no_effect(capsys: Captured, folder: Path) -> None:
    (folder / "x.toml").write_text(
        '[cache]\npersist = true\npersist_path = "absent/cache.db"\n[batch]\ndelay_max = "1s"\n'
    )
    told = Told(capsys, "check", "--config", "x.toml")
    assert (told.code, told.out) == (0, "ok: x.toml\n")
    assert "note: batch.delay_max: nobody waits longer than 50 ms for company\n" in told.err
    assert f"note: cache.persist_path: no folder {folder / 'absent'}" in told.err


def test_check_names_the_models_that_have_no_price(capsys: Captured, folder: Path) -> None:
    (folder / "x.toml").write_text(
        "[providers.openai]\n[models.m]\n"
        'targets = ["openai/gpt-4o", "openai/mine", "openai/paid"]\n'
        '[prices."openai/paid"]\ninput = "0.15"\noutput = 0.6\n'
    )
    told = Told(capsys, "check", "--config", "x.toml")
    assert (told.code, told.out) == (0, "ok: x.toml\n")
    assert told.err.count("no price is known") == 1
    assert 'note: prices."openai/mine": no price is known: calls are counted as' in told.err


def test_check_refuses_a_bad_price_with_its_key_value_and_range(
    capsys: Captured, folder: Path
) -> None:
    (folder / "x.toml").write_text('[prices."a/b"]\ninput = -1\noutput = "free"\n[prices.c]\n')
    told = Told(capsys, "check", "--config", "x.toml")
    assert told.code == 2
    assert told.err.splitlines() == [
        'x.toml:2: prices."a/b".input: must be at least 0 and at most 1000000, got -1',
        'x.toml:3: prices."a/b".output: expected dollars per million tokens such as 0.15, '
        'got "free"',
        "x.toml:4: prices.c: input is not set: nothing is free by omission",
        "x.toml:4: prices.c: output is not set: nothing is free by omission",
    ]


def test_check_opens_no_port(capsys: Captured, folder: Path) -> None:
    sockets: list[str] = []
    watching = True

    def watch(event: str, _: object) -> None:
        if watching and event in ("socket.bind", "socket.connect"):
            sockets.append(event)

    sys.addaudithook(watch)
    Told(capsys, "check")
    watching = False
    assert sockets == []
    assert list(folder.iterdir()) == []


def test_the_schema_is_printed_as_one_document(capsys: Captured) -> None:
    told = Told(capsys, "config", "schema")
    assert (told.code, told.err) == (0, "")
    assert json.loads(told.out) == schema()


def test_explain_shows_every_value_and_its_origin(
    capsys: Captured, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "x.toml").write_text('[cache]\nttl = "5m"\n')
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    told = Told(capsys, "config", "explain", "--config", "x.toml")
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in told.out.splitlines()}
    assert rows["cache.ttl"] == ['"5m"', "x.toml:2"]
    assert rows["server.port"] == ["4000", "default"]
    assert rows["providers.openai.api_key"] == ['"***"', "environment OPENAI_API_KEY"]
    assert "s3cret" not in told.out + told.err


def test_explain_as_json_is_one_document(capsys: Captured, folder: Path) -> None:
    (folder / "x.toml").write_text("[cache.models.m]\nenabled = false\n")
    told = Told(capsys, "config", "explain", "--json", "--config", "x.toml")
    document = json.loads(told.out)
    assert document["file"] == "x.toml"
    settings = document["settings"]
    assert settings["cache.models.m.enabled"] == {"value": False, "origin": "x.toml:2"}
    assert settings["cache.models.m.ttl"] == {"value": None, "origin": "default"}
    assert settings["server.port"] == {"value": 4000, "origin": "default"}


def test_explain_works_in_a_program_without_a_terminal(folder: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "config", "explain", "--json"], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["file"] is None


def test_check_names_what_is_known_of_batch_apis_for_too_long(
    capsys: Captured, folder: Path
) -> None:
    key = '[providers.openai]\napi_key = "sk-one"\n[batch_api.openai]\nas_of = "2020-01-01"\n'
    (folder / "headgate.toml").write_text(key)
    told = Told(capsys, "check", "--config", "headgate.toml")
    assert told.code == 0
    assert (
        'batch_api."openai": what its batch API takes was last looked up on 2020-01-01' in told.err
    )
