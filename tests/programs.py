"""`headgate` as users call it: as a process, and its `main` in this process for the details."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from gates import Address

from headgate.surfaces.cli import main

PROGRAM = str(Path(sys.executable).with_name("headgate"))
START_S = 60.0
_SETTINGS = re.compile(r"HEADGATE_|OPENAI_|ANTHROPIC_|NO_COLOR|COLUMNS")
SERVES = re.compile(r"headgate serves http://\S+:(\d+)\s")


def environment(**more: str) -> dict[str, str]:
    """That of the tests without anything that changes what headgate does, and `more`."""
    kept = {name: text for name, text in os.environ.items() if not _SETTINGS.match(name)}
    return {**kept, **more}


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `environment`, for this process."""
    for name in filter(_SETTINGS.match, [*os.environ]):
        monkeypatch.delenv(name)


def run(*words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """One command to its end; `more` are variables of its environment."""
    return subprocess.run(
        [PROGRAM, *words], capture_output=True, text=True, cwd=cwd, env=environment(**more),
        timeout=START_S,
    )  # fmt: skip


class Told:
    """How a command line ended and what it printed, called in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(words)
        self.code = ended.value.code or 0
        self.out, self.err = capsys.readouterr()


class Running:
    """A command that goes on; its output is in a file, so that no pipe can fill up."""

    def __init__(self, words: tuple[str, ...], cwd: Path, variables: dict[str, str]) -> None:
        self._log = cwd / "output"
        # A suite that a shell has put into the background ignores Ctrl-C, and so would this.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [PROGRAM, *words], stdout=output, stderr=output, cwd=cwd,
                env=environment(**variables), start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def served(self) -> Address:
        """Where it listens, once it says so."""
        until(lambda: SERVES.search(self.output) or self.process.poll() is not None)
        found = SERVES.search(self.output)
        assert found, self.output
        return Address(int(found[1]))

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(START_S)


@contextmanager
def running(*words: str, cwd: Path, **more: str) -> Iterator[Running]:
    """Starts a command and kills what is left of it in the end."""
    started = Running(words, cwd, more)
    try:
        yield started
    finally:
        # All of its session, also what it should have ended and did not.
        with suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait(START_S)


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`; for their own children ask again."""
    return [child for child, parent in _parents() if parent == pid]


def is_gone(pid: int) -> bool:
    """Whether no such process runs, or only its exit status is left."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def until(holds: Callable[[], object], within_s: float = START_S) -> None:
    """Returns as soon as `holds()`; fails after `within_s`."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.02)


def _parents() -> Iterator[tuple[int, int]]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(file.parent.name), int(fields[1])
