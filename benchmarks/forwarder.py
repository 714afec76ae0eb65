"""A uvicorn application that forwards every request to `UPSTREAM` with the wire of module `ADAPTER`.

All of them behind the same interface with the same limits, so that what they cost is what the
gateway would pay. Without an adapter it answers at once: what uvicorn takes by itself.
"""

from __future__ import annotations

import argparse
import importlib
import os
from typing import Any

import uvicorn
from bare import ANSWER, HEADERS, Receive, Send, body_of, reply

from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import Wire, WireLimits

LIMITS = WireLimits()
SENT = ((b"content-type", b"application/json"), (b"authorization", b"Bearer k"))


def wire_of(adapter: str) -> Wire | None:
    """The wire that a module's `open_wire` opens, None without a module."""
    if not adapter:
        return None
    wire: Wire = importlib.import_module(adapter).open_wire(ProviderConfig())
    return wire


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    app = Forwarder(wire_of(os.environ["ADAPTER"]), os.environ.get("UPSTREAM", ""))
    port = parser.parse_args().port
    uvicorn.run(
        app,
        port=port,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        http="httptools",
        loop="uvloop",
    )
