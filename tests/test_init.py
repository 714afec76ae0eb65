"""What `import headgate` costs: standard library only, no file, no socket, and lazy names."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import headgate
from headgate import circuitbreaker, config, errors, runtime

PACKAGE = Path(headgate.__file__).parent
SCRIPT = """
import sys
seen = []
def watch(event, args):
    if event in ("open", "socket.__new__", "socket.connect", "subprocess.Popen"):
        seen.append([event, str(args[0])])
before = set(sys.modules)
sys.addaudithook(watch)
import headgate
after = sorted(set(sys.modules) - before)
import json
print(json.dumps({"events": seen, "loaded": after}))
"""


def fresh(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, without what site-packages hooks into the start."""
    command = [sys.executable, "-I", *options, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fresh(SCRIPT).stdout)
    return found


def test_importing_headgate_loads_the_standard_library_only(imported: dict[str, Any]) -> None:
    ours = [name for name in imported["loaded"] if name.split(".")[0] == "headgate"]
    assert ours == ["headgate"]
    others = {name.split(".")[0] for name in imported["loaded"]} - {"headgate"}
    assert others <= sys.stdlib_module_names, others


def test_importing_headgate_does_not_load_what_is_slow() -> None:
    """As the interpreter itself reports it; each of these takes more than a millisecond."""
    lines = fresh("import headgate", "-X", "importtime").stderr.splitlines()
    names = {line.split("|")[-1].strip() for line in lines}
    assert "headgate" in names
    assert not names & {"asyncio", "dataclasses", "inspect", "json", "msgspec", "pydantic", "ssl"}


def test_importing_headgate_opens_no_socket_and_no_file_but_code(imported: dict[str, Any]) -> None:
    standard_library = Path(json.__file__).parents[1]
    for event, path in imported["events"]:
        assert event == "open", (event, path)
        place = Path(path)
        assert place.suffix == ".py" or place.parent.name == "__pycache__", path
        assert place.is_relative_to(PACKAGE) or place.is_relative_to(standard_library), path


def test_the_public_names_are_those_of_their_modules() -> None:
    assert headgate.Runtime is runtime.Runtime
    assert headgate.Config is config.Config
    assert headgate.errors is errors
    assert headgate.circuit is circuitbreaker.circuit
    assert headgate.CircuitBreaker is circuitbreaker.CircuitBreaker
    assert headgate.__version__ == importlib.metadata.version("headgate")
    assert set(headgate.__all__) <= set(dir(headgate))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Runtme'"):
        headgate.Runtme  # noqa: B018
    assert not hasattr(headgate, "runtime_")


def test_the_public_names_can_be_imported_in_a_fresh_process() -> None:
    script = "from headgate import *; print(Runtime.__name__, Config.__name__, errors.__name__)"
    assert fresh(script).stdout == "Runtime Config headgate.errors\n"
