"""Thousands of callers at once, each on a connection of its own, with one thread: a selector."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SPARE = 500


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Room for so many sockets here, and in the processes that are started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"`ulimit -Hn` must be {wanted}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Callers who all send the same request, which must ask for its connection to be closed."""

    def __init__(self, port: int, request: bytes, count: int) -> None:
        self._sockets: list[socket.socket] = []
        try:
            for _ in range(count):
                # Blocking: so the queue of the listening socket never overflows.
                connection = socket.create_connection(("127.0.0.1", port), timeout=60)
                self._sockets.append(connection)
                connection.sendall(request)
                connection.setblocking(False)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()

    def replies(self, within_s: float) -> list[bytes]:
        """All that each of them is told until its connection is closed."""
        until_s = time.monotonic() + within_s
        said = {connection: bytearray() for connection in self._sockets}
        with selectors.DefaultSelector() as selector:
            for connection in said:
                selector.register(connection, selectors.EVENT_READ)
            while selector.get_map() and time.monotonic() < until_s:
                for key, _ in selector.select(1.0):
                    _read(selector, key.fileobj, said)
            assert not selector.get_map(), f"{len(selector.get_map())} callers were not answered"
        return [bytes(content) for content in said.values()]


def _read(
    selector: selectors.BaseSelector, connection: object, said: dict[socket.socket, bytearray]
) -> None:
    assert isinstance(connection, socket.socket)
    piece = connection.recv(65_536)
    said[connection] += piece
    if not piece:
        selector.unregister(connection)


def memory_peak_mb(pid: int) -> float:
    """The most that a process has had in memory at a time (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000
