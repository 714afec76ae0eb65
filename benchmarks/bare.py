"""Bare uvicorn applications: the limits that the gateway is measured against, and its upstream.

`answer` reads the body and answers constant bytes; `forward` reads the body, sends it upstream with
the gateway's own client (`UPSTREAM` names the URL) and answers what comes back.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import WireLimits
from headgate.providers.wire_client import open_wire

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
ANSWER = (Path(__file__).parent / "answer.json").read_bytes()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-status", b"headgate; hit; ttl=3599"),
    (b"age", b"0"),
    (b"headgate-key", b"0" * 64),
    (b"headgate-target", b"openai/gpt-4o"),
    (b"headgate-attempts", b"0"),
]
"""Those of a hit: the limit is to answer the same bytes, and uvicorn checks each header."""


async def body_of(receive: Receive) -> bytes:
    """The whole request body."""
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def reply(send: Send, content: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Sends a whole answer."""
    length = (b"content-length", b"%d" % len(content))
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})


async def answer(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await body_of(receive)
    await reply(send, ANSWER, HEADERS)


class Forward:
    """Forwards every request to one URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._wire = open_wire(ProviderConfig(base_url=url))

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await body_of(receive)
        headers = tuple(
            (name, value)
            for name, value in scope["headers"]
            if name in (b"content-type", b"accept", b"authorization")
        )
        url = self._url + scope["path"]
        got = await self._wire.send("POST", url, headers, body, WireLimits())
        content = await got.read()
        await got.aclose()
        kept = [(name, value) for name, value in got.headers if name == b"content-type"]
        await reply(send, content, kept)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("application", choices=["answer", "forward"])
    arguments.add_argument("--port", type=int)
    chosen = arguments.parse_args()
    app: Any = answer if chosen.application == "answer" else Forward(os.environ["UPSTREAM"])
    uvicorn.run(
        app, port=chosen.port, http="httptools", loop="uvloop", ws="none", lifespan="off",
        log_level="error", access_log=False, server_header=False, proxy_headers=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
