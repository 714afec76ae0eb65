"""Row 24, as far as the cache goes: a disk that may not be written, or that fails (EROFS, EIO,
ENOTDIR). Calls are answered as if nothing had happened; what could be read before is still read.
Errors are put into the system calls of a real process by strace.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.conftest import Process
from faults.disks import mounted, on_disk
from lab import PATHS, Lab, fields_for
from rawclient import CHAT

from headgate.testing import FaultServer

QUESTIONS = 30


@pytest.mark.parametrize("place", ["read-only", "no folder", "a folder"])
def test_a_place_that_cannot_be_written_costs_nobody_an_answer(
    open_lab: Callable[..., Lab], tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "cache.db").mkdir(parents=True)
    path = {
        "read-only": tmp_path / "disk" / "cache.db",
        "no folder": tmp_path / "file" / "cache.db",
        "a folder": tmp_path / "taken" / "cache.db",
    }[place]
    with mounted(tmp_path / "disk", "size=2m,ro"):
        lab = open_lab(lambda server: on_disk(server, path), beside=True)
        with lab.healthy_meanwhile():
            for number in range(QUESTIONS):
                reply = lab.ask(PATHS[number % 4], about=number, stream=number % 3 == 0)
                assert (reply.status, reply.is_whole) == (200, True)
        assert len(lab.server.calls) == QUESTIONS
        assert lab.ask(PATHS[1], about=QUESTIONS - 1).status == 200
        lab.is_healthy()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def process(server: FaultServer, tmp_path: Path) -> Iterator[Process]:
    """`headgate serve` with a cache in a file, and memory for one entry."""
    config = tmp_path / "headgate.toml"
    config.write_text(
        f'[cache]\npersist = true\npersist_path = "{tmp_path}/cache.db"\nmaxsize = 1\n'
        f'[providers.openai]\nbase_url = "{server.base_url}"\n'
    )
    running = Process(config, tmp_path / "log", {})
    yield running
    running.close()


@pytest.mark.parametrize("calls", ["fsync,fdatasync", "pwrite64", "fsync,fdatasync,pwrite64"])
def test_a_disk_that_fails_costs_nobody_an_answer(
    process: Process, server: FaultServer, tmp_path: Path, calls: str
) -> None:
    assert shutil.which("strace"), "this test puts errors into system calls: install strace"
    assert process.post(CHAT, fields_for(CHAT, "before")).status == 200
    command = ["strace", "-f", "-o", str(tmp_path / "trace"), "-e", f"trace={calls}",
               "-e", f"inject={calls}:error=EIO", "-p", str(process.running.pid)]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            for number in range(QUESTIONS):
                assert process.post(CHAT, fields_for(CHAT, number)).status == 200
        finally:
            tracer.terminate()
    for number in range(QUESTIONS):
        assert process.post(CHAT, fields_for(CHAT, number)).status == 200
    assert process.running.poll() is None
    assert "Traceback" not in process.output()
    assert QUESTIONS < len(server.calls) <= 2 * QUESTIONS + 1
