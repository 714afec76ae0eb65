"""Bare uvicorn applications: the limits that the gateway is measured against, and its upstream.

`answer` reads the body and answers constant bytes; `stream` answers a constant stream, each event a
write of its own; `forward` reads the body, sends it upstream with the gateway's own client
(`UPSTREAM` names the URL) and answers what comes back, a stream piece by piece.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import WireLimits, WireReply
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


DELTA = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
FINISH = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
EVENTS = [DELTA] * 198 + [FINISH, b"data: [DONE]\n\n"]
"""200 events, as a chat model sends them."""
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), *HEADERS[1:]]


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


async def stream(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    for event in EVENTS:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


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
        kept = [(name, value) for name, value in got.headers if name == b"content-type"]
        if kept and kept[0][1].startswith(b"text/event-stream"):
            await self._pass_on(got, kept, send)
            return
        content = await got.read()
        await got.aclose()
        await reply(send, content, kept)

    async def _pass_on(
        self, got: WireReply, headers: list[tuple[bytes, bytes]], send: Send
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in got.chunks():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await got.aclose()
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("application", choices=["answer", "stream", "forward"])
    arguments.add_argument("--port", type=int)
    chosen = arguments.parse_args()
    app: Any = {"answer": answer, "stream": stream}.get(chosen.application)
    if app is None:
        app = Forward(os.environ["UPSTREAM"])
    uvicorn.run(
        app, port=chosen.port, http="httptools", loop="uvloop", ws="none", lifespan="off",
        log_level="error", access_log=False, server_header=False, proxy_headers=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
