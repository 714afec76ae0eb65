"""Generated backends as their owners run them: written to a folder, served by uvicorn, before a
provider that fails as it is told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gates import Address, Got
from oracle import until
from programs import environment

from headgate.generate.model import App
from headgate.generate.output import changes, write
from headgate.generate.project import project
from headgate.testing import Answer, Exchange, FaultServer

EXAMPLE = Path(__file__).parents[1] / "examples" / "support-desk" / "desk.ai"
_SERVES = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)\s")


class Service(Address):
    """The running service and its provider."""

    def __init__(self, port: int, server: FaultServer) -> None:
        super().__init__(port)
        self.server = server

    def since(self, calls: int) -> list[Exchange]:
        """What arrived upstream after so many calls."""
        return self.server.calls[calls:]

    def twice(self, path: str, body: Any, *answers: str) -> tuple[Got, Got, list[Exchange]]:
        """One question asked twice, and what arrived upstream."""
        before = len(self.server.calls)
        for answer in answers:
            self.server.script(Answer(text=answer))
        first, second = self.post(path, body), self.post(path, body)
        self.server.clear()
        return first, second, self.since(before)


@contextmanager
def served(app: App, folder: Path, settings: str) -> Iterator[Service]:
    """The backend of `app`, with `settings` added to its headgate.toml."""
    write(folder, changes(folder, project(app)))
    with (folder / "headgate.toml").open("a") as file:
        file.write(f"\n{settings}")
    with FaultServer() as server, (folder / "output").open("wb") as output:
        variables = {
            "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-ours",
            "ANTHROPIC_BASE_URL": server.anthropic_base_url, "ANTHROPIC_API_KEY": "sk-ant-ours",
        }  # fmt: skip
        command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env=environment(**variables)
        )
        try:
            yield Service(_port_of(folder / "output", process), server)
        finally:
            process.terminate()
            assert process.wait(60) in (0, -15)


def _port_of(log: Path, process: subprocess.Popen[bytes]) -> int:
    found: list[str] = []

    def serves() -> bool:
        found[:] = _SERVES.findall(log.read_text())
        return bool(found) or process.poll() is not None

    for _ in range(5):  # starting may take long on a busy machine
        try:
            until(serves, "the backend starts")
            break
        except AssertionError:
            continue
    assert found, log.read_text()
    return int(found[0])
