"""Files on disk: written, written again, and left alone where their owner has changed them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.generate.output import MANIFEST, Occupied, changes, diff, digest, write

FILES = {"README.md": "one\n", "app/main.py": "x = 1\n"}
NEWER = {"README.md": "one\ntwo\n", "app/main.py": "x = 2\n"}


def made(folder: Path) -> Path:
    write(folder, changes(folder, FILES))
    return folder


def states(folder: Path, files: dict[str, str]) -> dict[str, str]:
    return {change.path: change.state for change in changes(folder, files)}


def test_files_are_written_and_their_digests_kept(tmp_path: Path) -> None:
    folder = made(tmp_path / "new" / "out")
    assert (folder / "app/main.py").read_text() == "x = 1\n"
    assert json.loads((folder / MANIFEST).read_text()) == {
        "version": 1,
        "files": {name: digest(text) for name, text in FILES.items()},
    }
    assert states(folder, FILES) == {"README.md": "same", "app/main.py": "same"}
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        MANIFEST, "README.md", "main.py",
    ]  # fmt: skip


def test_an_unchanged_file_is_brought_up_to_date(tmp_path: Path) -> None:
    folder = made(tmp_path)
    write(folder, changes(folder, NEWER))
    assert (folder / "README.md").read_text() == "one\ntwo\n"
    assert states(folder, NEWER) == {"README.md": "same", "app/main.py": "same"}


def test_a_changed_file_is_its_owners_until_force(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "README.md").write_text("mine\n")
    for _ in range(2):
        assert states(folder, NEWER)["README.md"] == "kept"
        write(folder, changes(folder, NEWER))
        assert (folder / "README.md").read_text() == "mine\n"
    assert (folder / "app/main.py").read_text() == "x = 2\n"
    write(folder, changes(folder, NEWER), force=True)
    assert (folder / "README.md").read_text() == "one\ntwo\n"
    assert states(folder, FILES)["README.md"] == "update"


@pytest.mark.parametrize("content", [b"theirs", b"\xff\xfe"])
def test_a_file_that_was_there_before_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "README.md").write_bytes(content)
    made(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == content


@pytest.mark.parametrize("manifest", ["", "[]", '{"files": []}', '{"files": {"README.md": 1}}'])
def test_without_a_manifest_every_other_file_is_its_owners(tmp_path: Path, manifest: str) -> None:
    folder = made(tmp_path)
    (folder / MANIFEST).write_text(manifest)
    assert states(folder, NEWER) == {"README.md": "kept", "app/main.py": "kept"}


def test_nothing_is_written_through_a_link_or_over_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("one\n")
    (tmp_path / "README.md").symlink_to(target)
    with pytest.raises(Occupied, match=r"README\.md is no plain file"):
        changes(tmp_path, FILES)
    (tmp_path / "other" / "README.md").mkdir(parents=True)
    with pytest.raises(Occupied):
        changes(tmp_path / "other", FILES)


def test_a_diff_shows_what_would_change(tmp_path: Path) -> None:
    folder = made(tmp_path)
    shown = "".join(diff(changes(folder, {**NEWER, "new": "n"})))
    assert "--- a/README.md\n+++ b/README.md\n@@ -1 +1,2 @@\n one\n+two\n" in shown
    assert "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+n\n" in shown
    assert list(diff(changes(folder, FILES))) == []
