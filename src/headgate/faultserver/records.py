"""What happened: every connection and every request, how far it got, how it ended, and what a
provider would bill for it. Written in the server's thread, read and waited for in any.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from msgspec import Struct

ENDINGS = ("complete", "clean", "cut", "reset", "client_left", "refused", "dropped")
"""How a request can have ended: answered to its end; ended as HTTP wants and the dialect does not;
connection closed or reset by the script; left by its client; read in vain, because it was not HTTP;
broken off by `drop` or because the server was closed. "" while it is under way."""


class Exchange(Struct):
    """One request and its answer. Credentials are replaced by their aliases."""

    serial: int
    """From 1, in the order of arrival."""
    connection: int
    """`Link.number` of its connection."""
    arrived_s: float
    """Monotonic seconds, as all times here."""
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any
    """The parsed JSON, or None."""
    operation: str = ""
    model: str = ""
    credential: str = ""
    """Alias of the asking credential, "" without one."""
    tenant: str = ""
    is_streamed: bool = False
    toxics: tuple[str, ...] = ()
    """Names of those that acted."""
    status: int = 0
    """0 until the head was sent."""
    body_bytes: int = 0
    """Of the body, as sent, without framing."""
    wire_bytes: int = 0
    """All that was sent."""
    chunks: int = 0
    """Pieces of the body that were sent to their end."""
    tokens_in: int = 0
    """What the prompt would be billed; 0 for a request that was refused."""
    tokens_out: int = 0
    """What was said of the answer so far would be billed, read by the client or not."""
    ended: str = ""
    """One of ENDINGS."""
    ended_s: float = 0.0


class Link(Struct):
    """One connection."""

    number: int
    opened_s: float
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    toxics: tuple[str, ...] = ()
    ended: str = ""
    """As for a request; `complete`: closed between two."""
    ended_s: float = 0.0


class Bill(Struct, frozen=True):
    """What a provider would charge for: requests that it took on, and their tokens."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


Item = TypeVar("Item", Exchange, Link)


class Records:
    """All of it, oldest first. Whoever reads gets copies."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._exchanges: list[Exchange] = []
        self._links: list[Link] = []

    def open(self, now_s: float) -> Link:
        """A connection was accepted."""
        with self._changed:
            self._links.append(Link(len(self._links) + 1, now_s))
            self._changed.notify_all()
            return self._links[-1]

    def next_serial(self) -> int:
        """The serial of the next exchange to be added; one thread adds."""
        return len(self._exchanges) + 1

    def add(self, exchange: Exchange) -> None:
        """A request has arrived."""
        with self._changed:
            self._exchanges.append(exchange)
            self._changed.notify_all()

    def note(self, item: Exchange | Link, **changes: Any) -> None:
        """Something changed; who waits looks again."""
        with self._changed:
            for name, value in changes.items():
                setattr(item, name, value)
            self._changed.notify_all()

    def exchanges(self) -> list[Exchange]:
        """As they are now."""
        with self._changed:
            return [copy.copy(exchange) for exchange in self._exchanges]

    def links(self) -> list[Link]:
        """As they are now."""
        with self._changed:
            return [copy.copy(link) for link in self._links]

    def wait_for(
        self, count: int, counts: Callable[[Exchange], bool], timeout_s: float, what: str
    ) -> list[Exchange]:
        """Blocks until `counts` holds for `count` requests. Raises TimeoutError saying how many."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count(counts) >= count, timeout_s):
                message = f"{self._count(counts)} of {count} {what} in {timeout_s:g} s"
                raise TimeoutError(f"{message}; so far: {summary(self._exchanges)}")
            return [copy.copy(exchange) for exchange in self._exchanges if counts(exchange)]

    def wait_for_links(self, count: int, timeout_s: float) -> list[Link]:
        """Blocks until there were `count` connections. Raises TimeoutError saying how many."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._links) >= count, timeout_s):
                raise TimeoutError(f"{len(self._links)} of {count} connections in {timeout_s:g} s")
            return [copy.copy(link) for link in self._links]

    def wait_idle(self, timeout_s: float) -> None:
        """Blocks until no request is under way and no connection open. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._under_way(), timeout_s):
                raise TimeoutError(f"still open after {timeout_s:g} s: {self._under_way()}")

    def _count(self, counts: Callable[[Exchange], bool]) -> int:
        return sum(map(counts, self._exchanges))

    def _under_way(self) -> list[Exchange | Link]:
        items: list[Exchange | Link] = [*self._exchanges, *self._links]
        return [item for item in items if not item.ended]


def bill_of(exchanges: Iterable[Exchange]) -> Bill:
    """The sum over those requests that were taken on."""
    taken = [exchange for exchange in exchanges if exchange.tokens_in]
    return Bill(
        len(taken), sum(one.tokens_in for one in taken), sum(one.tokens_out for one in taken)
    )


def summary(exchanges: Iterable[Exchange]) -> str:
    """One line: `1 chat m complete, 2 chat m under way`."""
    told = (f"{e.serial} {e.operation} {e.model} {e.ended or 'under way'}" for e in exchanges)
    return ", ".join(told) or "no request"
