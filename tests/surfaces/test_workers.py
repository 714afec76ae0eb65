"""The parent of several workers; what they serve together: tests/e2e/test_workers.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gates import PATIENT, Address
from programs import Running, children, is_gone, running, until

from headgate.surfaces.workers import RESTART_PAUSE_S

PROVIDER = '[providers.fake]\nkind = "fake"\n'
BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers_of(gateway: Running) -> list[int]:
    return [pid for pid in children(gateway.process.pid) if is_worker(pid)]


@contextmanager
def two_workers(folder: Path, toml: str = "") -> Iterator[tuple[Running, Address]]:
    write(folder, toml)
    words = ("serve", "--config", "gate.toml", "--port", "0", "--workers", "2")
    with running(*words, cwd=folder) as gateway:
        address = gateway.served()
        until(lambda: len(workers_of(gateway)) == 2)
        assert address.get("/readyz").status == 200
        yield gateway, address


def write(folder: Path, toml: str) -> None:
    (folder / "gate.toml").write_text(toml + PATIENT + PROVIDER)


def test_a_worker_that_dies_after_a_bad_file_starts_with_the_last_good_one(tmp_path: Path) -> None:
    with two_workers(tmp_path) as (gateway, address):
        write(tmp_path, "[sever]\n")
        first = workers_of(gateway)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        until(lambda: all(map(is_gone, first)) and len(workers_of(gateway)) == 2)
        assert address.post("/v1/chat/completions", BODY).status == 200
        assert "starting another" in gateway.output
        assert gateway.end() == 0


def test_sighup_reaches_every_worker(tmp_path: Path) -> None:
    with two_workers(tmp_path) as (gateway, address):
        until(lambda: address.get("/readyz").status == 200)
        pids = workers_of(gateway)
        write(tmp_path, "[cache]\nmaxsize = 7\n")
        # A worker that has only just been started is told, too.
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.output.count("reloaded the configuration\n") == 2)
        assert workers_of(gateway) == pids, "nobody is started anew"
        assert address.get("/api/metrics/llm").json["cache"]["maxsize"] == 7
        write(tmp_path, "[sever]\n")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.output.count("not reloaded") == 2)
        assert address.get("/api/metrics/llm").json["cache"]["maxsize"] == 7
        assert gateway.end() == 0
        assert "Traceback" not in gateway.output


def test_a_worker_that_cannot_live_does_not_keep_a_core_busy() -> None:
    assert RESTART_PAUSE_S >= 0.1
