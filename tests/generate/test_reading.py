"""A file that declares an app."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from appspelling import DESK

from headgate.errors import ConfigError
from headgate.generate.reading import SOURCE_BYTES_MAX, read_app


def test_the_name_of_the_file_is_that_of_an_app_without_one(tmp_path: Path) -> None:
    file = tmp_path / "desk.ai"
    file.write_text('﻿llm f { provider: "fake" model: "m" }\r\npage "P" { }\r\n')
    app, skipped = read_app(file)
    assert (app.name, [one.name for one in skipped]) == ("desk", ["P"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("app.yaml", b"", "an app is written in a .ai, .py or .toml file"),
        ("app.ai", b"a\n\xff", "not UTF-8"),
        ("app.ai", b" " * (SOURCE_BYTES_MAX + 1), f"larger than {SOURCE_BYTES_MAX} bytes"),
        ("app.ai", None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_app(tmp_path / name)


def test_without_lark_a_program_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "app.ai").write_text(DESK)
    script = (
        "import sys; sys.modules['lark'] = None\n"
        "from headgate.surfaces.cli import main\n"
        "main(['generate', 'app.ai', '--out', 'out'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "app.ai: reading .ai files needs lark: pip install 'headgate[generate]'\n"
    )
