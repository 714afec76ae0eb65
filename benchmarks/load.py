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


def peak_bytes(pid: int) -> int:
    """The most memory of a process that was resident at any time."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def request(path: str, body: bytes) -> bytes:
    """One HTTP request as the load sends it."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer k\r\naccept: application/json\r\n"
        f"user-agent: OpenAI/Python\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _is_complete(head: bytes, body: bytes) -> bool:
    """Whether a reply with this head (in lower case) has all of its body."""
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"\r\n0\r\n\r\n")
    return len(body) >= int(head.split(b"content-length:")[1].split(b"\r\n")[0])


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
        if not (gap and _is_complete(head.lower(), rest)):
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


def first_byte_us(port: int, content: bytes) -> float:
    """Elapsed microseconds from the request to the first byte of the reply's body, on a connection
    of its own that is warm; the rest of the reply is read and thrown away."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started_ns = time.perf_counter_ns()
        connection.sendall(content)
        seen = b""
        while b"data: " not in seen:
            seen += connection.recv(65_536)
        elapsed_ns = time.perf_counter_ns() - started_ns
        while not seen.endswith(b"\r\n0\r\n\r\n"):
            seen = seen[-8:] + connection.recv(65_536)
    return elapsed_ns / 1000
