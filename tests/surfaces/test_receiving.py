"""Bodies of requests, piece by piece."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.errors import BadRequest
from headgate.surfaces.receiving import read_body


def heard(*messages: dict[str, Any], announced: int = 0, most: int = 10) -> bytes:
    """What is read of `messages`, which must be all that is asked for."""
    left = [{"type": "http.request", **message} for message in messages]

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return asyncio.run(read_body(announced, receive, most))


def test_pieces_are_put_together() -> None:
    assert heard({"body": b"one"}) == b"one"
    assert heard({"body": b"one", "more_body": True}, {"body": b"two"}) == b"onetwo"
    assert heard({}) == b""


def test_what_announces_too_much_is_not_asked_for() -> None:
    with pytest.raises(BadRequest, match=r"larger than 10 bytes \(server.body_max_bytes\)") as told:
        heard(announced=11)
    assert (told.value.status_hint, told.value.code) == (413, "body_too_large")


def test_what_turns_out_too_large_is_not_read_to_its_end() -> None:
    pieces = [{"body": b"12345", "more_body": True}] * 3
    with pytest.raises(BadRequest, match="larger than 10 bytes"):
        heard(*pieces)
    with pytest.raises(BadRequest, match="larger than 10 bytes"):
        heard({"body": b"12345678901"})


def test_a_body_that_breaks_off_is_none() -> None:
    gone = {"type": "http.disconnect"}
    for messages in ([gone], [{"body": b"half", "more_body": True}, gone]):
        with pytest.raises(BadRequest, match="ended before its body did"):
            heard(*messages)
