"""A uvicorn application that forwards every request to `UPSTREAM` with one of the candidates.

All of them behind the same interface with the same limits, so that what they cost is what the
gateway would pay. Without a client it answers at once: what uvicorn takes by itself.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import uvicorn
from adapters import CLIENTS, adapter
from bare import ANSWER, HEADERS, Receive, Send, body_of, reply

from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import Wire, WireLimits

LIMITS = WireLimits()
SENT = ((b"content-type", b"application/json"), (b"authorization", b"Bearer k"))


class Forwarder:
    """The application."""

    def __init__(self, wire: Wire | None, upstream: str) -> None:
        self._wire = wire
        self._upstream = upstream

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await body_of(receive)
        if self._wire is None:
            await reply(send, ANSWER, HEADERS)
            return
        url = self._upstream + scope["path"]
        answer = await self._wire.send("POST", url, SENT, body, LIMITS)
        try:
            content = await answer.read()
        finally:
            await answer.aclose()
        await reply(send, content, HEADERS)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--client", choices=CLIENTS)
    chosen = arguments.parse_args()
    wire = adapter(chosen.client).open_wire(ProviderConfig()) if chosen.client else None
    uvicorn.run(
        Forwarder(wire, os.environ["UPSTREAM"]), port=chosen.port, http="httptools", loop="uvloop",
        ws="none", lifespan="off", log_level="error", access_log=False, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
