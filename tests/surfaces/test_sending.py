"""Answers that are there, as the messages that a server below writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.errors import BadRequest, WrongMethod
from headgate.surfaces.operations import Answer
from headgate.surfaces.sending import send_answer, send_error, send_whole


def sent(sending: Any, *arguments: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    asyncio.run(sending(*arguments, send))
    start, body = messages
    assert not body.get("more_body")
    return start["status"], dict(start["headers"]), body["body"]


def test_a_whole_answer_says_how_long_it_is() -> None:
    status, headers, body = sent(send_whole, 201, ((b"a", b"b"),), b"content")
    assert (status, body) == (201, b"content")
    assert headers == {b"a": b"b", b"content-length": b"7"}


def test_an_operation_answers_with_its_own_headers() -> None:
    status, headers, body = sent(send_answer, Answer(404, b"{}"))
    assert (status, body) == (404, b"{}")
    assert headers == {b"content-type": b"application/json", b"content-length": b"2"}


@pytest.mark.parametrize(("operation", "mark"), [("messages", b'"type":"error"'), ("", b'"param"')])
def test_a_refusal_is_in_the_dialect_of_its_route(operation: str, mark: bytes) -> None:
    status, _, body = sent(send_error, operation, BadRequest("no", status=413, code="large"))
    assert status == 413
    assert mark in body
    assert b"large" in body


def test_a_wrong_method_names_the_right_ones() -> None:
    status, headers, _ = sent(send_error, "", WrongMethod("no", allow="GET"))
    assert (status, headers[b"allow"]) == (405, b"GET")
