"""The wheel that users install: exactly the package's files, and nothing that runs by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from appspelling import DESK
from packaging.requirements import Requirement

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


def test_a_generated_backend_passes_its_own_tests_beside_the_wheel(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """In an environment of its own, with the packages of this one and headgate from the wheel."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    wheel.extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "desk.ai").write_text(DESK)
    ours = ("PYTHONPATH", "PYTEST_ADDOPTS")
    variables = {name: text for name, text in os.environ.items() if name not in ours}

    def run(*words: str, folder: Path) -> str:
        ended = subprocess.run(
            [python, *words], cwd=folder, env=variables, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    out = tmp_path / "out"
    where = run("-c", "import headgate; print(headgate.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    run("-m", "headgate", "generate", "desk.ai", "--out", "out", folder=tmp_path)
    for line in (out / "requirements.txt").read_text().splitlines():
        wanted = None if line.startswith("#") else Requirement(line)
        assert wanted is None or wanted.specifier.contains(metadata.version(wanted.name))
    told = run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", folder=out)
    assert "11 passed" in told
