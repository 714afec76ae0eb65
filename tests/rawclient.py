"""A client that sends what it is told, byte for byte, and leaves as rudely as it is told."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, Self

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
QUESTION: Any = [{"role": "user", "content": "Capital of France?"}]
PATIENCE_S = 30.0
NO_LINGER = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""An option of sockets: closing with it sends a reset instead of an end of file."""


def question(path: str = CHAT, *lines: str, **fields: Any) -> bytes:
    """A whole request; `lines` are headers, `fields` go into its JSON body."""
    asked: dict[str, Any] = {"model": "m", "messages": QUESTION, "max_tokens": 400, **fields}
    return request(path, *lines, body=json.dumps(asked).encode())


def request(path: str = CHAT, *lines: str, body: bytes = b"") -> bytes:
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class RawClient:
    """One connection to a port of this machine; use it in a `with` block."""

    def __init__(self, port: int, *, receive_buffer_bytes: int = 0) -> None:
        self.heard = bytearray()
        """All that was received."""
        self.socket = socket.socket()
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, content: bytes) -> Self:
        self.socket.sendall(content)
        return self

    def until(self, ending: bytes) -> bytes:
        """What comes, up to and with `ending`. Raises EOFError where the server ends before."""
        said = b""
        while not said.endswith(ending):
            piece = self._receive(1)
            if not piece:
                raise EOFError(said)
            said += piece
        return said

    def rest(self) -> bytes:
        """Everything the server says until it closes. Raises ConnectionResetError on a reset."""
        pieces = []
        while piece := self._receive(65_536):
            pieces.append(piece)
        return b"".join(pieces)

    def ends_with_a_reset(self) -> bool:
        """Whether the server's end is a reset and not an end of file; reads what comes before."""
        try:
            self.rest()
        except ConnectionResetError:
            return True
        return False

    def is_silent(self, for_s: float = 0.05) -> bool:
        """Whether nothing comes, not even an end."""
        self.socket.settimeout(for_s)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)
        return False

    def _receive(self, most_bytes: int) -> bytes:
        piece = self.socket.recv(most_bytes)
        self.heard += piece
        return piece

    def leave(self, by: str = "fin") -> None:
        if by == "rst":
            self.socket.setsockopt(*NO_LINGER)
        self.socket.close()


def ask(port: int, content: bytes) -> bytes:
    """All that a server says to these bytes until it closes the connection."""
    with RawClient(port) as client:
        return client.send(content).rest()


def body_of(reply: bytes) -> bytes:
    """The body of a whole reply, chunks put together. Raises EOFError for one that was cut."""
    head, found, rest = reply.partition(b"\r\n\r\n")
    if not found:
        raise EOFError("no whole head")
    fields = head.lower()
    if b"transfer-encoding: chunked" in fields:
        return _dechunked(rest)
    if b"content-length: " in fields:
        declared = int(fields.partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(rest) < declared:
            raise EOFError(f"{len(rest)} of {declared} bytes")
    return rest


def _dechunked(rest: bytes) -> bytes:
    pieces, place = [], 0
    while True:
        end = rest.find(b"\r\n", place)
        size = int(rest[place:end], 16) if end > place else -1
        if size < 0 or len(rest) < end + size + 4:
            raise EOFError("the last chunk is missing")
        pieces.append(rest[end + 2 : end + 2 + size])
        place = end + size + 4
        if size == 0:
            return b"".join(pieces)
