"""`headgate version`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version

from typer.testing import CliRunner

from headgate.surfaces.cli import application


def test_the_version_is_that_of_the_installed_package() -> None:
    told = CliRunner().invoke(application(["version"]), ["version"])
    assert told.exit_code == 0
    assert told.output == f"headgate {version('headgate')} (Python {platform.python_version()})\n"


def test_as_json_it_is_one_document() -> None:
    told = CliRunner().invoke(application(["version"]), ["version", "--json"])
    assert json.loads(told.stdout) == {
        "headgate": version("headgate"), "python": platform.python_version(),
    }  # fmt: skip
