"""Callers whose every step a test decides: they ask, read one event after another, and leave."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from dialects import PATHS
from gates import JSON, Address, Gate, Got
from oracle import until
from rawclient import NO_LINGER

LONG_S = 60.0


class Listener:
    """One call on a connection of its own; use it in a `with` block, or close it."""

    def __init__(
        self, gate: Address, operation: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> None:
        self.said = b""
        """What was read of the body so far."""
        self._connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=LONG_S)
        self._connection.request(
            "POST", PATHS[operation], json.dumps(body), {**JSON, **(headers or {})}
        )
        self._reply: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    @property
    def reply(self) -> http.client.HTTPResponse:
        """Status and headers, once they are there."""
        if self._reply is None:
            self._reply = self._connection.getresponse()
        return self._reply

    @property
    def cache_status(self) -> str:
        return self.reply.headers["cache-status"]

    def events(self, count: int) -> bytes:
        """What was said so far, after `count` more events."""
        for _ in range(count):
            line = b"-"
            while line.strip():
                line = self.reply.readline()
                self.said += line
        return self.said

    def rest(self) -> bytes:
        """All that is said to the end. Raises IncompleteRead where that is no valid one."""
        self.said += self.reply.read()
        return self.said

    def leave(self) -> None:
        """Resets the connection."""
        socket = self._connection.sock or self._socket_of_reply()
        socket.setsockopt(*NO_LINGER)
        self.close()

    def close(self) -> None:
        if self._reply is not None:
            self._reply.close()
        self._connection.close()

    def _socket_of_reply(self) -> Any:
        """A reply that closes its connection has taken the socket with it."""
        return self.reply.fp.raw._sock


class Posting(threading.Thread):
    """A caller who waits for a whole reply in a thread of its own."""

    def __init__(self, gate: Address, operation: str, body: Any, **headers: str) -> None:
        super().__init__(daemon=True)
        self._ask = (gate, operation, body, headers)
        self._got: Got | None = None
        self.start()

    def run(self) -> None:
        gate, operation, body, headers = self._ask
        self._got = gate.post(PATHS[operation], body, headers)

    @property
    def got(self) -> Got:
        """The reply."""
        self.join(LONG_S)
        assert self._got is not None, "no reply"
        return self._got


def settle(gate: Address, calls: int = 0) -> None:
    """Returns when the gateway has read whatever was sent to it before: a server takes connections
    and bytes in turn. Callers in threads of their own may not have sent anything yet: it is waited
    for so many `calls` under way."""
    if calls:
        assert isinstance(gate, Gate)
        until(lambda: gate.door.inside == calls, f"{calls} calls under way")
    for _ in range(3):
        assert gate.get("/healthz").status == 200
