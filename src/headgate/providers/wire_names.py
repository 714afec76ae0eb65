"""Names of providers into addresses: never for longer than some seconds, never in more than some
threads, and by the last good answer where the name service has none.

`getaddrinfo` cannot be stopped, and waits for half a minute for a name service that is silent. In
the loop's own pool of threads, six on a small machine, such look-ups would hold up everything else
that uses it: the disk tier, the numbers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LOOKUP_S = 5.0
THREADS = 4
"""Look-ups at a time, of one provider; names come from the configuration, so these are few."""

Lookup = Callable[..., list[Any]]


class LookupTooSlow(socket.gaierror):
    """The name service has not answered in time."""


class Names:
    """What the client library takes for a resolver. `lookup` is called as `socket.getaddrinfo`."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo, limit_s: float = LOOKUP_S) -> None:
        self._lookup = lookup
        self._limit_s = limit_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="headgate-names")
        self._good: dict[tuple[str, int, int], list[dict[str, Any]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[dict[str, Any]]:
        """The addresses of `host`. Raises socket.gaierror, LookupTooSlow among them."""
        asked = (host, port, int(family))
        try:
            found = await self._look_up(host, port, family)
        except socket.gaierror:
            if asked not in self._good:
                raise
            return self._good[asked]
        self._good[asked] = found
        return found

    async def close(self) -> None:
        """Forgets what waits; a look-up under way cannot be stopped, and nobody waits for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[dict[str, Any]]:
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, self._lookup, host, port, family, socket.SOCK_STREAM
        )
        try:
            async with asyncio.timeout(self._limit_s):
                answers = await work
        except TimeoutError:
            message = f"not resolved within {self._limit_s:g} s"
            raise LookupTooSlow(socket.EAI_AGAIN, message) from None
        return [_described(host, answer) for answer in answers]


def _described(host: str, answer: Any) -> dict[str, Any]:
    """One answer of `getaddrinfo`, as the client library wants it."""
    family, _, protocol, _, address = answer
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return {"hostname": host, "host": address[0], "port": address[1], "family": family,
            "proto": protocol, "flags": numeric}  # fmt: skip
