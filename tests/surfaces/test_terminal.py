"""What commands print, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from headgate.surfaces import terminal

Captured = pytest.CaptureFixture[str]


def test_answers_go_to_stdout_and_remarks_to_stderr(capsys: Captured) -> None:
    terminal.say("answer")
    terminal.say()
    terminal.warn("remark")
    assert capsys.readouterr() == ("answer\n\n", "remark\n")


@pytest.mark.parametrize("code", [1, 2])
def test_fail_ends_the_program_with_its_code(capsys: Captured, code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        terminal.fail("why", code)
    assert ended.value.code == code
    assert capsys.readouterr() == ("", "why\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("back\x08\rspace\x7f", "back\\x08\\rspace\\x7f"),
        ("c1\x9b31m", "c1\\x9b31m"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("tab\tline\nü日本", "tab\tline\nü日本"),
    ],
)
def test_text_from_outside_cannot_steer_the_terminal(
    capsys: Captured, text: str, shown: str
) -> None:
    terminal.say(text)
    terminal.warn(text)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")


def test_a_document_is_one_json_value(capsys: Captured) -> None:
    document = {"a": [1, None, "ü\x1b\x7f"], "b": 1.5}
    terminal.emit_json(document)
    text, remarks = capsys.readouterr()
    assert json.loads(text) == document
    assert "\x1b" not in text
    assert "\x7f" not in text
    assert remarks == ""


def stream_of(encoding: str) -> tuple[io.TextIOWrapper, io.BytesIO]:
    raw = io.BytesIO()
    return io.TextIOWrapper(raw, encoding=encoding), raw


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_without_a_character_gets_it_spelled_out(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    stream, raw = stream_of(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.say("日\ud800")
    terminal.emit_json({"a": "日"})
    line, document = raw.getvalue().decode(encoding).split("\n", 1)
    assert line == ("日" if encoding == "utf-8" else "\\u65e5") + "\\ud800"
    assert json.loads(document) == {"a": "日"}


def test_a_table_is_plain_columns_where_there_is_no_terminal(capsys: Captured) -> None:
    terminal.table("numbers", ("name", "count"), [("a", 5), ("longer", 1200), ("x\ny\x1b", 0)])
    assert capsys.readouterr().out.splitlines() == [
        "numbers",
        "name      count",
        "a             5",
        "longer     1200",
        "x\\ny\\x1b      0",
    ]


@pytest.mark.parametrize(
    ("column", "on_the_right"),
    [
        ([5, 1200], True),
        ([0.5, -3], True),
        (["1,200", "78.1%", "5.6", "-"], True),
        (["+1", "-1.25", "1e-07"], True),
        (["1", ""], False),
        (["-", "-"], False),
        (["1", "2x"], False),
        (["1h", "90s"], False),
        (["1.", ".5"], False),
        ([True, False], False),
        (["12", "gpt-4"], False),
    ],
    ids=str,
)
def test_columns_of_numbers_stand_on_the_right(
    capsys: Captured, column: list[object], on_the_right: bool
) -> None:
    terminal.table("", ("a wide header", "end"), [(cell, "|") for cell in column])
    _, *lines = capsys.readouterr().out.splitlines()
    for line, cell in zip(lines, column, strict=True):
        text = str(cell)
        assert line == f"{text.rjust(13) if on_the_right else text.ljust(13)}  |"


def test_a_table_without_rows_shows_its_columns(capsys: Captured) -> None:
    terminal.table("", ("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


@pytest.mark.parametrize(
    ("total", "steps", "lines"),
    [
        (400, [1] * 400, [f"asking: {n}/400" for n in range(40, 401, 40)]),
        (3, [1, 1, 1], ["asking: 1/3", "asking: 2/3", "asking: 3/3"]),
        (25, [1] * 25, [f"asking: {n}/25" for n in (3, 6, 9, 12, 15, 18, 21, 24, 25)]),
        (10, [4, 6], ["asking: 4/10", "asking: 10/10"]),
        (0, [], []),
    ],
)
def test_progress_is_at_most_ten_plain_lines_where_there_is_no_terminal(
    capsys: Captured, total: int, steps: list[int], lines: list[str]
) -> None:
    with terminal.progress(total, "asking") as bar:
        for step in steps:
            bar.advance(step)
    out, remarks = capsys.readouterr()
    assert out == ""
    assert remarks.splitlines() == lines
    assert len(lines) <= 10


def test_a_meter_says_something_beside_each_tenth(capsys: Captured) -> None:
    with terminal.meter(100, "asking") as update:
        for done in (0, 0, 5, 12, 13, 40, 99, 100, 100):
            update(done, f"{done} cents\x07")
    out, remarks = capsys.readouterr()
    assert out == ""
    assert remarks.splitlines() == [
        f"asking: {done}/100, {done} cents\\x07" for done in (0, 12, 40, 99, 100)
    ]


def on_a_terminal(script: str, **environment: str) -> str:
    """What a program draws on a terminal of its own, 80 columns wide."""
    leader, follower = pty.openpty()
    told: dict[str, str] = {"TERM": "xterm-256color", "COLUMNS": "80", **environment}
    kept = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
    program = f"from headgate.surfaces import terminal\n{script}"
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=follower, stderr=follower, env={**kept, **told}
    )
    os.close(follower)
    drawn = b"".join(iter(lambda: read(leader), b""))
    os.close(leader)
    assert running.wait(60) == 0
    return drawn.decode()


def read(leader: int) -> bytes:
    """A piece of what was drawn; Linux says EIO when the other side has closed."""
    try:
        return os.read(leader, 65536)
    except OSError:
        return b""


def test_a_terminal_gets_a_drawn_table() -> None:
    drawn = on_a_terminal("terminal.table('numbers', ('name', 'n'), [('[b]x\\x1b[31m', 5)])")
    assert "numbers" in drawn
    assert "│ [b]x\\x1b[31m │ 5 │" in drawn


def test_a_terminal_gets_a_bar() -> None:
    script = "with terminal.progress(3, 'asking') as bar:\n    bar.advance(); bar.advance(2)"
    drawn = on_a_terminal(script)
    assert "asking" in drawn
    assert "3/3" in drawn
    assert "\x1b[38;5" in drawn


def test_a_meter_on_a_terminal_fits_into_80_columns() -> None:
    script = (
        "with terminal.meter(10_000, 'asking') as update:\n"
        "    update(2_000, '3 failed, 1,234,567 tokens, $1.23')"
    )
    drawn = on_a_terminal(script)
    assert "2000/10000" in drawn
    assert "3 failed, 1,234,567 tokens, $1.23" in drawn
    for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)):
        assert len(line) <= 80, line


def colours(drawn: str) -> list[str]:
    return [part for part in drawn.split("\x1b[")[1:] if part.startswith(("3", "38;", "9"))]


@pytest.mark.parametrize(
    "script",
    [
        "terminal.table('t', ('a',), [('b',)])",
        "with terminal.progress(1, 'a') as bar:\n    bar.advance()",
        "with terminal.meter(1, 'a') as update:\n    update(1, 'b')",
    ],
    ids=["table", "progress", "meter"],
)
def test_no_color_is_obeyed(script: str) -> None:
    assert colours(on_a_terminal(script, NO_COLOR="1")) == []
