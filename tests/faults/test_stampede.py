"""Row 37, its end: when the open time is over, a thousand callers are there at once. The provider
sees one of them, and one of each process; the others hear when to come again.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from stampede import rush

from headgate.testing import FaultServer, Status

CALLERS, PROCESSES = 1_000, 4
LEASE_S = 605.0
SCRIPT = Path(__file__).parents[1] / "stampede.py"


def at_once(server: FaultServer) -> dict[str, Any]:
    return asyncio.run(rush(server.base_url, CALLERS, lambda: None))


def test_of_a_thousand_callers_the_provider_sees_one() -> None:
    with FaultServer() as server:
        told = at_once(server)
        assert (told["statuses"], told["state"]) == ([200], "half_open")
        assert len(server.connections) == len(server.calls) == 1
    assert len(told["waits_s"]) == CALLERS - 1
    assert all(0 < wait_s <= LEASE_S for wait_s in told["waits_s"])


def test_a_probe_that_fails_is_seen_once_too() -> None:
    with FaultServer() as server:
        server.script(Status(500), times=None)
        told = at_once(server)
        assert (told["statuses"], told["state"]) == ([500], "open")
        assert len(server.connections) == len(server.calls) == 1


def test_each_of_four_processes_sends_its_own_probe_and_no_more() -> None:
    with FaultServer() as server:
        command = [sys.executable, str(SCRIPT), server.base_url, str(CALLERS // PROCESSES)]
        pipe = subprocess.PIPE
        started = [
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(PROCESSES)
        ]
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            assert not server.calls
            told = [json.loads(process.communicate("go\n", timeout=60)[0]) for process in started]
        finally:
            for process in started:
                process.kill()
                process.wait()
        assert len(server.connections) == len(server.calls) == PROCESSES
    assert [one["statuses"] for one in told] == [[200]] * PROCESSES
    assert sum(len(one["waits_s"]) for one in told) == CALLERS - PROCESSES
