"""The files of a backend on disk. A file that its owner has changed, or that was there before, is
left alone: a manifest keeps the digest of what was written.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from headgate.errors import HeadgateError

MANIFEST = ".headgate-generated.json"
_VERSION = 1
_MODE = 0o644


class Change(NamedTuple):
    """One file: what is there (None: nothing), what is to be there, and what happens to it."""

    path: str
    before: str | None
    after: str
    state: str
    """`new`, `same`, `update`, or `kept`: it is its owner's now."""


class Occupied(HeadgateError):
    """The place for a file is taken by something else."""

    code = "occupied"


def changes(folder: Path, files: Mapping[str, str]) -> list[Change]:
    """What writing `files` would do in `folder`. Raises Occupied, and OSError."""
    written = _manifest(folder)
    return [_change(folder, path, text, written.get(path, "")) for path, text in files.items()]


def _change(folder: Path, path: str, text: str, written: str) -> Change:
    place = folder / path
    if place.is_symlink() or (place.exists() and not place.is_file()):
        raise Occupied(f"{place} is no plain file")
    try:
        before = place.read_bytes().decode()
    except FileNotFoundError:
        return Change(path, None, text, "new")
    except UnicodeDecodeError:
        return Change(path, "", text, "kept")
    if before == text:
        return Change(path, before, text, "same")
    return Change(path, before, text, "update" if digest(before) == written else "kept")


def write(folder: Path, found: list[Change], *, force: bool = False) -> None:
    """Writes what is new or unchanged by its owner, with `force` everything. Each file is there as
    a whole or not at all. Raises OSError."""
    written = _manifest(folder)
    for change in found:
        if change.state == "kept" and not force:
            continue
        if change.state != "same":
            _put(folder / change.path, change.after)
        written[change.path] = digest(change.after)
    document = {"version": _VERSION, "files": dict(sorted(written.items()))}
    _put(folder / MANIFEST, json.dumps(document, indent=2) + "\n")


def diff(found: list[Change]) -> Iterator[str]:
    """The lines of a unified diff of everything that would change."""
    for change in found:
        before = (change.before or "").splitlines(keepends=True)
        after = change.after.splitlines(keepends=True)
        name = "/dev/null" if change.before is None else f"a/{change.path}"
        for line in difflib.unified_diff(before, after, name, f"b/{change.path}"):
            yield line if line.endswith("\n") else f"{line}\n"


def digest(text: str) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _manifest(folder: Path) -> dict[str, str]:
    """Path to digest; nothing where there is no manifest that we can read: then every file that is
    there counts as its owner's."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}
    known = isinstance(files, dict) and all(isinstance(text, str) for text in files.values())
    return {**files} if known else {}


def _put(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=".headgate-")
    with os.fdopen(handle, "wb") as opened, contextlib.ExitStack() as undo:
        undo.callback(os.unlink, name)
        opened.write(text.encode())
        opened.flush()
        os.chmod(name, _MODE)
        os.replace(name, place)
        undo.pop_all()
