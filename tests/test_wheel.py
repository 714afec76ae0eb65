"""The wheel that users install: exactly the package's files, and nothing that runs by itself."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABOUT = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
SUFFIXES = {".py", ".typed", ".jsonl", ".toml", ".lark", ".tmpl"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built as `make` installs it: with the pinned hatchling, without a build environment."""
    out = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(out),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(next(out.glob("headgate-*.whl")))


def test_the_wheel_holds_the_package_its_metadata_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/headgate"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    package = {name.removeprefix("src/") for name in listed.split() if (ROOT / name).exists()}
    about = wheel.filename and Path(wheel.filename).name.split("-py3")[0] + ".dist-info"
    assert set(wheel.namelist()) == package | {f"{about}/{name}" for name in ABOUT}
    assert "headgate/py.typed" in package


def test_nothing_in_the_wheel_is_binary_or_runs_at_start(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename is not None
    assert wheel.filename.endswith("-py3-none-any.whl")
    for name in wheel.namelist():
        if name.startswith("headgate/"):
            assert Path(name).suffix in SUFFIXES, name
            wheel.read(name).decode("utf-8")
        assert not name.endswith(".pth")


def test_the_wheel_says_what_it_needs_and_its_licence(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = wheel.read(name).decode("utf-8")
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Requires-Python: >=3.11\n" in metadata
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    assert len([line for line in needed if "extra ==" not in line]) <= 10
