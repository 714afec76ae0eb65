"""The middleware that refuses large bodies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.backend import BodyLimit


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads everything and says how much it was, whatever it was told."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


def ask(*pieces: bytes, method: str = "POST", announced: bytes | None = None) -> tuple[int, bytes]:
    waiting = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, 1)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [] if announced is None else [(b"content-length", announced)]
    scope = {"type": "http", "method": method, "headers": headers}
    asyncio.run(BodyLimit(echo, 10)(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(
    ("pieces", "announced", "status"),
    [
        ((b"x" * 10,), b"10", 200),
        ((b"x" * 5, b"x" * 5), None, 200),
        ((b"x" * 5, b"x" * 6), None, 413),
        ((b"x" * 11,), None, 413),
        ((b"",), b"11", 413),
        ((b"x",), b"9" * 5000, 413),
        ((b"x",), b"-1", 200),
    ],
)
def test_a_body_has_so_many_bytes_at_most(
    pieces: tuple[bytes, ...], announced: bytes | None, status: int
) -> None:
    answered, body = ask(*pieces, announced=announced)
    assert answered == status
    assert (b"body_too_large" in body) == (status == 413)


def test_what_has_no_body_passes() -> None:
    assert ask(b"", method="GET")[0] == 200


def test_a_lifespan_passes() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(BodyLimit(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
