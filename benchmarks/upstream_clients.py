"""The candidates for the upstream client: CPU time of a forwarded call, and the fault matrix.

Not part of `make bench`: all but one of the candidates are no dependencies and have to be installed
by hand, in the versions that docs/decisions/0002-upstream-client.md names. The matrix is
tests/providers/test_wire_client.py, run once for each candidate with its wire in place of ours.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from adapters import CLIENTS, adapter
from load import cpu_us_per_request, request, server
from measure import ROOT, report, rounds

MATRIX = ROOT / "tests" / "providers" / "test_wire_client.py"
MATRIX_S = 900.0
ROUNDS = 9
REQUESTS = 3000
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "q" * 340}]}).encode()


class Substitute:
    """A pytest plugin that gives the matrix another wire and notes what failed."""

    def __init__(self, client: str) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self._client = client

    def pytest_runtest_setup(self, item: Any) -> None:
        # Only now: pytest wants to see a library with a plugin of its own before anyone imports it.
        item.module.open_wire = adapter(self._client).open_wire

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call":
            return
        if report.passed:
            self.passed += 1
        else:
            self.failed.append(report.nodeid.partition("::")[2])


def matrix_here(client: str) -> dict[str, Any]:
    """The matrix with one client, in this process."""
    substitute = Substitute(client)
    quiet = ["-p", "no:cacheprovider", "--rootdir", str(ROOT), str(MATRIX)]
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(quiet, plugins=[substitute])
    return {"passed": substitute.passed, "failed": substitute.failed}


def matrix(client: str) -> dict[str, Any]:
    """As `matrix_here` in a process of its own: a client may hang beyond every limit."""
    command = [sys.executable, __file__, client]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MATRIX_S, check=True)
    except subprocess.TimeoutExpired:
        return {"hangs": MATRIX_S}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class Forwarding:
    """A running forwarder, its CPU time and how long its load took."""

    def __init__(self, port: int, pid: int) -> None:
        self._address = port, pid
        self.per_s: list[float] = []

    def cpu_us(self) -> float:
        started_s = time.monotonic()
        figure = cpu_us_per_request(*self._address, [request("/v1/x", BODY)] * REQUESTS)
        self.per_s.append(REQUESTS / (time.monotonic() - started_s))
        return figure


@contextlib.contextmanager
def forwarders() -> Iterator[dict[str, Forwarding]]:
    with contextlib.ExitStack() as stack:
        upstream, _ = stack.enter_context(server(["bare.py", "answer"]))
        environment = {"UPSTREAM": f"http://127.0.0.1:{upstream}"}
        commands = {client: ["forwarder.py", "--client", client] for client in CLIENTS}
        yield {
            name: Forwarding(*stack.enter_context(server(command, environment)))
            for name, command in {"none": ["forwarder.py"], **commands}.items()
        }


def costs() -> dict[str, Any]:
    with forwarders() as running:
        rounds({name: one.cpu_us for name, one in running.items()}, 1)
        for one in running.values():
            one.per_s.clear()
        figures = rounds({name: one.cpu_us for name, one in running.items()}, ROUNDS)
    return {
        name: {
            "cpu_us": round(middle(figures[name])),
            "cpu_us_lowest_highest": [round(min(figures[name])), round(max(figures[name]))],
            "ratio_to_aiohttp": round(
                middle([a / b for a, b in zip(figures[name], figures["aiohttp"], strict=True)]), 2
            ),
            "requests_per_s": round(middle(running[name].per_s)),
        }
        for name in figures
    }


def middle(values: list[float]) -> float:
    """The median of an odd number of values."""
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        json.dump(matrix_here(sys.argv[1]), sys.stdout)
    else:
        cost = costs()
        report(
            "upstream clients", {"cost": cost, "matrix": {name: matrix(name) for name in CLIENTS}}
        )
