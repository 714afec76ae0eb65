"""What a backend hands to its web framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from headgate.backend.served import Declined, Events, declined, error_event, refused, unfit, whole
from headgate.errors import BreakerOpen
from headgate.stream import Whole
from headgate.types import Headers, Reply


@pytest.mark.parametrize(
    ("status", "here"),
    [(400, 400), (401, 502), (403, 502), (404, 502), (413, 413), (429, 429), (500, 502),
     (503, 503), (504, 504), (529, 503)],
)  # fmt: skip
def test_a_status_of_the_provider_becomes_one_for_the_caller(status: int, here: int) -> None:
    assert Declined(status, "x").status_hint == here


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"error": {"message": "too long"}}', "too long"),
        (b'{"type": "error", "error": {"message": "busy"}}', "busy"),
        (b'{"error": "plain"}', "plain"),
        (b'{"other": 1}', '{"other": 1}'),
        (b"[]", "[]"),
        (b"\xff", "\ufffd"),
        (b"", "no message"),
        (b"x" * 5000, "x" * 1000),
    ],
)
def test_the_message_of_the_provider_is_handed_on(content: bytes, told: str) -> None:
    wait: Headers = ((b"retry-after", b"7"),)
    error = asyncio.run(declined(Reply(429, wait, Whole(content))))
    assert error.message == f"the provider answered with status 429: {told}"
    served = refused(error)
    assert (served.status, served.headers["retry-after"]) == (429, "7")


def test_a_refusal_says_when_to_come_back() -> None:
    served = refused(BreakerOpen("closed for now", retry_after_s=1.2))
    assert (served.status, served.headers["retry-after"]) == (503, "2")
    assert served.headers["x-should-retry"] == "false"


def test_an_error_in_a_stream_is_an_event_of_its_own() -> None:
    assert error_event(BreakerOpen("x")).startswith(b'event: error\ndata: {"error":{')


def test_what_is_wrong_with_a_request_is_told_without_it() -> None:
    problem = {"loc": ("body", "\ud800"), "msg": "no", "type": "t", "input": float("nan"), "ctx": 1}
    served = unfit([problem])
    assert served.status == 422
    assert served.body == rb'{"detail": [{"loc": ["body", "\ud800"], "msg": "no", "type": "t"}]}'


def test_a_document_is_json_with_its_headers() -> None:
    served = whole({"a": 1}, ((b"age", b"3"),))
    assert (served.body, served.headers) == (
        b'{"a":1}', {"age": "3", "content-type": "application/json"},
    )  # fmt: skip


def test_events_are_let_go_of_once_read_or_unread() -> None:
    closed: list[str] = []

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            yield b"1"
            yield b"2"
        finally:
            closed.append("source")

    async def close() -> None:
        closed.append("provider")

    async def read(count: int) -> list[str]:
        closed.clear()
        events = Events(source(), close)
        for _ in range(count):
            await anext(events)
        await events.aclose()
        await events.aclose()
        return [*closed]

    assert asyncio.run(read(1)) == ["source", "provider"]
    assert asyncio.run(read(0)) == ["provider"]
