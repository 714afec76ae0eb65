"""The example of the README: an app becomes a backend that passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from headgate.generate.output import changes, write
from headgate.generate.project import project
from headgate.generate.reading import read_app
from headgate.generate.taking import PREVIOUS, Taking

ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "support-desk" / "desk.ai"


def test_the_support_desk_passes_its_own_tests(tmp_path: Path) -> None:
    app, skipped = read_app(APP)
    assert skipped == []
    write(tmp_path, changes(tmp_path, project(app)))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_reply_is_to_the_message_and_on_its_topic() -> None:
    app, _ = read_app(APP)
    takes = Taking(app).of(app.chains[0])
    assert takes.steps == (
        {"message": PREVIOUS},
        {"message": "message", "topic": "topic", "tone": "tone"},
    )
