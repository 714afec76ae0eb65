"""`headgate demo`: the whole of it, with the built-in provider and with one that a key opens."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import PROGRAM, Running, children, environment, is_gone, run, running, until

from headgate.surfaces import cli_demo
from headgate.testing import FakeProvider, Hang, Status

_ROW = re.compile(r"^(from .*?|all)  +([0-9,]+) +([0-9.]+%) +(\S+) +(\S+) +([0-9,]+) +(\S+)$", re.M)
KEY = "sk-sesame"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as serving:
        yield serving


def paid(provider: FakeProvider) -> dict[str, str]:
    """The variables of somebody who has a key."""
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.base_url}


def number(text: str) -> float:
    return float(text.replace(",", "").rstrip("%"))


def table(told: str) -> dict[str, list[float]]:
    """Calls, share, tokens and dollars of each row."""
    found = {row[0]: [number(row[at]) for at in (1, 2, 5, 6)] for row in _ROW.findall(told)}
    assert list(found) == ["from the provider", "from a joined call", "from the cache", "all"]
    return found


def test_with_the_built_in_provider_it_ends_with_0_and_its_numbers_agree(tmp_path: Path) -> None:
    done = run("demo", "--calls", "60", cwd=tmp_path, PATH=os.defpath)
    assert done.returncode == 0, done.stderr
    assert "questions  60 asked, 45 different, Banking77 (PolyAI, CC BY 4.0);" in done.stdout
    assert "provider   built in, offline: invented answers after 400ms" in done.stdout
    *parts, everything = table(done.stdout).values()
    calls, share, tokens, dollars = (sum(column) for column in zip(*parts, strict=True))
    assert (calls, tokens) == (60, everything[2]) == (everything[0], tokens)
    assert share == pytest.approx(100, abs=0.2)
    assert dollars == pytest.approx(everything[3], abs=0.0002)
    upstream = parts[0]
    assert upstream[0] == 45, "each different question is asked once"
    hit_rate = re.search(r"^hit rate +([0-9.]+)%$", done.stdout, re.M)
    assert hit_rate
    assert number(hit_rate[1]) == parts[2][1]
    avoided = f"{upstream[2]:,.0f} billed, {tokens - upstream[2]:,.0f} avoided"
    assert f"tokens     {avoided}\n" in done.stdout
    assert (
        "books      the gateway's own count of calls, hits and billed tokens agrees" in done.stdout
    )
    assert done.stdout.splitlines()[-2] == f"  {PROGRAM} serve"
    assert [*tmp_path.iterdir()] == [], "it leaves no file behind"


@pytest.mark.parametrize("is_on_path", [True, False])
def test_it_ends_with_a_line_that_works_in_this_shell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_on_path: bool
) -> None:
    program = tmp_path / "headgate"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path) if is_on_path else str(tmp_path / "elsewhere"))
    monkeypatch.setattr(sys, "argv", ["./headgate", "demo"])
    assert cli_demo._program() == ("headgate" if is_on_path else "./headgate")
    monkeypatch.setattr(sys, "argv", ["/somewhere/headgate/__main__.py", "demo"])
    assert cli_demo._program() == "headgate"


def test_where_there_is_no_terminal_progress_is_ten_plain_lines_on_stderr(
    tmp_path: Path, provider: FakeProvider
) -> None:
    done = run("demo", "--calls", "20", cwd=tmp_path, **paid(provider))
    assert done.stderr.splitlines() == [f"asking: {n}/20" for n in range(2, 21, 2)]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_with_a_key_it_asks_the_provider_that_the_variables_name_and_says_so(
    tmp_path: Path, provider: FakeProvider
) -> None:
    done = run("demo", "--calls", "60", cwd=tmp_path, **paid(provider))
    assert done.returncode == 0, done.stderr
    host = provider.base_url.split("/")[2]
    assert f"provider   {host}, for real, with the key in OPENAI_API_KEY:" in done.stdout
    assert "45 answers of at most 60 tokens are paid for" in done.stdout
    assert len(provider.calls) == 45 == table(done.stdout)["from the provider"][0]
    assert {call.headers["authorization"] for call in provider.calls} == {f"Bearer {KEY}"}
    assert {call.body["max_tokens"] for call in provider.calls} == {60}
    assert "sesame" not in done.stdout + done.stderr


def test_with_a_key_fewer_questions_are_asked_by_default(
    tmp_path: Path, provider: FakeProvider
) -> None:
    done = run("demo", cwd=tmp_path, **paid(provider))
    assert done.returncode == 0, done.stderr
    assert "questions  200 asked, " in done.stdout
    assert table(done.stdout)["all"][0] == 200


def test_a_password_in_the_url_of_the_provider_is_not_printed(tmp_path: Path) -> None:
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://me:sesame@127.0.0.1:9/v1"}
    done = run("demo", "--calls", "1", cwd=tmp_path, **variables)
    assert done.returncode == 1
    assert "provider   127.0.0.1:9, for real" in done.stdout
    assert "contains credentials" in done.stderr
    assert "sesame" not in done.stdout + done.stderr


@pytest.mark.parametrize("count", ["0", "100001", "x"])
def test_a_wrong_number_of_calls_ends_with_2(tmp_path: Path, count: str) -> None:
    done = run("demo", "--calls", count, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--calls" in done.stderr


def test_a_provider_that_fails_ends_it_with_1_and_a_line(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.script(*[Status(401, {"error": {"message": "Incorrect API key provided"}})] * 60)
    with running("demo", "--calls", "60", cwd=tmp_path, **paid(provider)) as demo:
        gateway = gateway_of(demo)
        assert demo.process.wait(60) == 1
        assert "headgate: a call failed: Error code: 401" in demo.output
        assert "Incorrect API key provided" in demo.output
        assert "Traceback" not in demo.output
        assert is_gone(gateway)


def gateway_of(demo: Running) -> int:
    """The process that the demo serves from."""
    until(lambda: children(demo.process.pid) or demo.process.poll() is not None)
    found = children(demo.process.pid)
    assert found, demo.output
    return found[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_no_process_behind(
    tmp_path: Path, provider: FakeProvider, number: signal.Signals
) -> None:
    provider.script(*[Hang()] * 8)
    with running("demo", "--calls", "60", cwd=tmp_path, **paid(provider)) as demo:
        gateway = gateway_of(demo)
        provider.wait_for_calls(8)
        assert demo.end(number) == 130
        assert is_gone(gateway)
        assert "Traceback" not in demo.output
    provider.wait_for_abandoned(8)
    assert len(provider.calls) == 8


def test_without_the_openai_sdk_it_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['openai'] = None\n"
        "from headgate.surfaces.cli import main\nmain(['demo'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path,
        env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("headgate: the demo needs the OpenAI SDK (")
    assert done.stderr.endswith("): pip install openai\n")


def drawn(*words: str, cwd: Path, **variables: str) -> str:
    """What a command draws on a terminal of its own, 80 columns wide; it must end with 0."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    told = environment(TERM="xterm-256color", **variables)
    process = subprocess.Popen(
        [PROGRAM, *words], stdin=follower, stdout=follower, stderr=follower, env=told, cwd=cwd
    )
    os.close(follower)
    text = b"".join(iter(lambda: piece(leader), b"")).decode()
    os.close(leader)
    assert process.wait(60) == 0, text
    return text.replace("\r\n", "\n")


def piece(leader: int) -> bytes:
    """Linux says EIO when the other side has closed."""
    try:
        return os.read(leader, 65536)
    except OSError:
        return b""


COLOUR = re.compile(r"\x1b\[(?:[0-9;]*m)")


def test_a_terminal_of_80_columns_gets_a_bar_and_a_table_that_fit(
    tmp_path: Path, provider: FakeProvider
) -> None:
    text = drawn("demo", "--calls", "60", cwd=tmp_path, **paid(provider))
    assert "60/60" in text
    assert "│ all                │    60 │ 100.0% │" in COLOUR.sub("", text)
    for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)):
        assert len(line) <= 80, line


def test_no_color_is_obeyed(tmp_path: Path, provider: FakeProvider) -> None:
    text = drawn("demo", "--calls", "20", cwd=tmp_path, NO_COLOR="1", **paid(provider))
    assert "20/20" in text
    coloured = [found for found in COLOUR.findall(text) if re.search(r"\[(3|38;|9)", found)]
    assert coloured == []
