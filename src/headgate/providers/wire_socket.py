"""The sockets of upstream connections: a file descriptor is closed by whoever owns it, once.

uvloop (0.23) closes the descriptor of a connection that is reset in its first instant and leaves
the socket object believing that it owns it; when that object goes, it closes whatever has the
number by then: another tenant's connection, or the cache's file. aiohttp #10506, uvloop #646.
"""

from __future__ import annotations

import os
import socket
from typing import Any

_CLOSED = -1

Address = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, Any]


class OwnSocket(socket.socket):
    """A socket that closes its descriptor only while that is still its own: the operating system
    numbers sockets once, descriptors again and again."""

    __slots__ = ("_inode",)

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        super().__init__(family, kind, protocol)
        self._inode = os.fstat(self.fileno()).st_ino

    def close(self) -> None:
        """Leaves a descriptor alone that somebody else has closed."""
        self._let_go_of_foreign()
        super().close()

    def __del__(self) -> None:
        self.close()

    def _let_go_of_foreign(self) -> None:
        descriptor = self.fileno()
        if descriptor == _CLOSED:
            return
        try:
            is_own = os.fstat(descriptor).st_ino == self._inode
        except OSError:
            is_own = False
        if not is_own:
            self.detach()


def own_socket(address: Address) -> OwnSocket:
    """A socket for an address as `getaddrinfo` gives it."""
    family, kind, protocol, _, _ = address
    return OwnSocket(family, kind, protocol)
