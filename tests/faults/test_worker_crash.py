"""Row 29: a worker process dies with calls in flight. It is replaced; the others go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from faults.serving import Client, gateway
from programs import Running, children, is_gone, until
from rawclient import RawClient

from headgate.testing import FaultServer, Pause, Usual


def workers_of(started: Running) -> list[int]:
    """The processes that serve: not Python's own that tracks semaphores."""
    return [pid for pid in children(started.process.pid) if _is_worker(pid)]


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_one_dies_the_others_serve_and_it_is_replaced(
    tmp_path: Path, number: signal.Signals
) -> None:
    with FaultServer() as server:
        hold = Pause()
        server.script(Usual(0, 3), hold, Usual(3), model="held", times=None)
        with gateway(tmp_path, server, "", "--workers", "2") as (started, address):
            until(lambda: len(workers_of(started)) == 2)
            held = [Client(address.port, at, "held", stream=True) for at in range(16)]
            hold.wait_reached(16)
            first = workers_of(started)
            os.kill(first[0], number)
            until(lambda: is_gone(first[0]))
            after = [Client(address.port, at) for at in range(20)]
            for client in after:
                client.join()
            assert {client.outcome for client in after} == {"complete"}
            hold.release()
            for client in held:
                client.join()
            # What the dead one had begun is visibly cut, what the other had begun is whole.
            assert {client.outcome for client in held} <= {"complete", "cut", "nothing"}
            until(lambda: len(workers_of(started)) == 2)
            assert f"ended (-{number})" in started.output
            assert started.end() == 0
            assert "Traceback" not in started.output


def test_all_die_and_the_port_is_served_again(tmp_path: Path) -> None:
    with FaultServer() as server, gateway(tmp_path, server, "", "--workers", "2") as (started, at):
        until(lambda: len(workers_of(started)) == 2)
        for pid in workers_of(started):
            os.kill(pid, signal.SIGKILL)
        # Connections wait in the backlog of the port, which the parent holds open.
        late = [Client(at.port, number) for number in range(8)]
        for client in late:
            client.join()
        assert {client.outcome for client in late} <= {"complete", "nothing"}
        until(lambda: at.get("/readyz").status == 200)
        assert started.end() == 0


def test_the_parent_dies_and_its_workers_finish_what_they_do_and_end(tmp_path: Path) -> None:
    with FaultServer() as server:
        hold = Pause()
        server.script(Usual(0, 3), hold, Usual(3), model="held", times=None)
        with gateway(tmp_path, server, "", "--workers", "2") as (started, address):
            until(lambda: len(workers_of(started)) == 2)
            held = [Client(address.port, at, "held", stream=True) for at in range(8)]
            hold.wait_reached(8)
            workers = workers_of(started)
            started.process.kill()
            until(lambda: not _accepts(address.port))
            hold.release()
            for client in held:
                client.join()
            assert {client.outcome for client in held} == {"complete"}
            until(lambda: all(map(is_gone, workers)))


def _accepts(port: int) -> bool:
    try:
        RawClient(port).leave()
    except OSError:
        return False
    return True
