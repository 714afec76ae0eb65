"""Servers in processes of their own, a load of keep-alive connections, and the CPU time they took.

CPU time is that of every thread of the server's process, from the kernel's own nanosecond counts:
elapsed time and requests per second swing with the neighbours.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

HERE = Path(__file__).parent
START_TIMEOUT_S = 20.0


@contextmanager
def server(
    arguments: list[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """Runs `python ARGUMENTS --port PORT`; yields port and process id once it accepts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, *arguments, "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=HERE, env={**os.environ, **(environment or {})}, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_it_accepts(port, process)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_TIMEOUT_S)


def _wait_until_it_accepts(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"{process.args} did not start")


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process so far."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def request(path: str, body: bytes) -> bytes:
    """One HTTP request as the load sends it."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer k\r\naccept: application/json\r\n"
        f"user-agent: OpenAI/Python\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Asker(asyncio.Protocol):
    """One connection that asks again as soon as it has the answer."""

    def __init__(self, next_request: Callable[[], bytes | None]) -> None:
        self._next_request = next_request
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, piece: bytes) -> None:
        self._buffer += piece
        head, gap, rest = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._buffer.decode("utf-8", "replace")))
            return
        self._buffer = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or RuntimeError("the server closed the connection"))

    def _ask(self) -> None:
        content = self._next_request()
        if content is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(content)


async def _ask_all(port: int, requests: Iterator[bytes], connections: int) -> None:
    loop = asyncio.get_running_loop()
    connect = partial(Asker, lambda: next(requests, None))
    askers = [
        (await loop.create_connection(connect, "127.0.0.1", port))[1] for _ in range(connections)
    ]
    await asyncio.gather(*(asker.done for asker in askers))


def cpu_us_per_request(port: int, pid: int, requests: list[bytes], connections: int = 32) -> float:
    """CPU microseconds of the server for one of `requests`, asked over `connections`."""
    before_ns = cpu_ns(pid)
    uvloop.run(_ask_all(port, iter(requests), connections))
    return (cpu_ns(pid) - before_ns) / 1000 / len(requests)
