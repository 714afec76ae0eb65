"""`headgate generate` as users call it."""

from __future__ import annotations

from pathlib import Path

import pytest
from appspelling import DESK
from programs import Told, run


@pytest.fixture
def app(tmp_path: Path) -> Path:
    file = tmp_path / "desk.ai"
    file.write_text(DESK + 'page "Home" at "/":\n  show text "x"\n')
    return file


def test_a_backend_is_written_and_what_is_not_is_told(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = app.parent / "out"
    told = Told(capsys, "generate", str(app), "--out", str(out))
    assert told.code == 0
    assert told.out.splitlines()[:2] == [
        f"{out}: 2 llms, 2 prompts, 1 chains; 1 declarations of other kinds not generated",
        "11 files written, 0 as they were",
    ]
    line = (DESK + "page").count("\n") + 1
    assert told.err == f"{app}:{line}: page 'Home' is not generated\n"
    assert (out / "app" / "main.py").is_file()
    again = Told(capsys, "generate", str(app), "--out", str(out))
    assert "0 files written, 11 as they were" in again.out


def test_a_changed_file_is_kept_and_told(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("generate", str(app), "--out", str(app.parent / "out"))
    Told(capsys, *words)
    readme = app.parent / "out" / "README.md"
    readme.write_text("mine\n")
    kept = Told(capsys, *words)
    assert kept.code == 0
    assert f"kept {readme}: it was changed" in kept.err
    assert "0 files written, 10 as they were" in kept.out
    shown = Told(capsys, *words, "--diff")
    assert "--- a/README.md\n+++ b/README.md\n" in shown.out
    assert "-mine\n+# Support Desk\n" in shown.out
    assert readme.read_text() == "mine\n"
    assert "1 files written" in Told(capsys, *words, "--force").out
    assert readme.read_text().startswith("# Support Desk\n")


def test_a_diff_writes_nothing(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, "generate", str(app), "--out", str(app.parent / "out"), "--diff")
    assert told.code == 0
    assert "--- /dev/null\n+++ b/app/main.py\n" in told.out
    assert not (app.parent / "out").exists()


def test_a_faulty_app_ends_with_2_and_nothing_written(app: Path) -> None:
    app.write_text('llm f { provider: "opnai" }')
    ended = run("generate", "desk.ai", "--out", "out", cwd=app.parent)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "desk.ai:1:19: unknown provider 'opnai'; did you mean 'openai'?" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (app.parent / "out").exists()


def test_a_place_that_is_taken_ends_with_1(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app.parent / "out" / "README.md").mkdir(parents=True)
    told = Told(capsys, "generate", str(app), "--out", str(app.parent / "out"))
    assert told.code == 1
    assert "README.md is no plain file" in told.err
    told = Told(capsys, "generate", str(app), "--out", str(app))
    assert told.code == 1


def test_a_file_that_is_not_there_ends_with_2(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told(capsys, "generate", str(app.with_suffix(".toml")), "--out", str(app.parent / "o"))
    assert told.code == 2
    assert "cannot be read: No such file or directory" in told.err
