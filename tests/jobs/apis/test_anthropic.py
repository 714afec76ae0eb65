"""Anthropic's Message Batches as headgate speaks them."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from jobs.apis.places import HANDED, answers, api_at, bodies, ended, handed_in

from headgate.jobs.apis.anthropic import answer_in
from headgate.jobs.apis.base import Remote, Vanished
from headgate.testing import Answer, BatchCourse, FaultServer


def test_a_batch_is_one_body_with_all_items(server: FaultServer) -> None:
    async def run() -> bytes:
        file = io.BytesIO()
        async with api_at(server, "anthropic") as api:
            api.pack(file, HANDED["anthropic"], bodies(2))
        return file.getvalue()

    requests = json.loads(asyncio.run(run()))["requests"]
    assert [request["custom_id"] for request in requests] == ["hg-token-0", "hg-token-1"]
    assert requests[1]["params"]["messages"][0]["content"] == "1?"


def test_batches_are_listed_with_how_many_items_they_have(server: FaultServer) -> None:
    async def run() -> tuple[list[Remote], list[Remote]]:
        async with api_at(server, "anthropic") as api:
            for _ in range(101):
                await handed_in(api, "anthropic", bodies(2))
            found = [remote async for remote in api.recent(0.0)]
            return found, [remote async for remote in api.recent(4e9)]

    found, later = asyncio.run(run())
    assert (len(found), {remote.count for remote in found}, later) == (101, {2}, [])


def test_results_are_asked_of_the_provider_itself_wherever_its_url_leads(
    server: FaultServer,
) -> None:
    async def run() -> list[str]:
        async with api_at(server, "anthropic") as api:
            remote = await ended(api, await handed_in(api, "anthropic", bodies(1)))
            body = {
                "id": remote.id,
                "processing_status": "ended",
                "created_at": "never",
                "results_url": "http://169.254.169.254/steal",
            }
            server.script(Answer(body=body), operation="message_batches.retrieve")
            found = await answers(api, await api.retrieve(remote.id))
            return [answer.name for answer in found]

    assert asyncio.run(run()) == ["hg-token-0"]


def test_a_batch_that_is_gone_says_so(server: FaultServer) -> None:
    async def run() -> None:
        async with api_at(server, "anthropic") as api:
            for call in (api.retrieve, api.cancel):
                with pytest.raises(Vanished):
                    await call("msgbatch_1")

    asyncio.run(run())


def test_a_batch_without_files_has_no_results(server: FaultServer) -> None:
    server.batch(BatchCourse(has_files=False))

    async def run() -> tuple[str, list[Any]]:
        async with api_at(server, "anthropic") as api:
            remote = await ended(api, await handed_in(api, "anthropic", bodies(1)))
            return remote.state, await answers(api, remote)

    assert asyncio.run(run()) == ("ended", [])


def said(result: Any) -> tuple[str, int, bool]:
    answer = answer_in(json.dumps({"custom_id": "c", "result": result}).encode())
    assert answer is not None
    return answer.kind, answer.status, answer.may_be_billed


def failed(kind: str) -> dict[str, Any]:
    error = {"type": kind, "message": "m"}
    return {"type": "errored", "error": {"type": "error", "error": error}}


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"type": "succeeded", "message": {"id": "m"}}, ("good", 200, False)),
        ({"type": "succeeded"}, ("again", 0, True)),
        (failed("invalid_request_error"), ("bad", 400, False)),
        (failed("request_too_large"), ("bad", 413, False)),
        (failed("overloaded_error"), ("again", 0, False)),
        (failed("api_error"), ("again", 0, False)),
        ({"type": "errored", "error": 3}, ("again", 0, False)),
        ({"type": "canceled"}, ("again", 0, False)),
        ({"type": "expired"}, ("again", 0, False)),
        ({"type": "something_new"}, ("again", 0, True)),
    ],
)
def test_a_line_is_good_bad_or_to_be_asked_again(result: Any, found: tuple[str, int, bool]) -> None:
    assert said(result) == found


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"custom_id":"c"}', b'{"custom_id":"c","result":{}}', b"\xff"]
)
def test_what_is_no_line_is_left_out(line: bytes) -> None:
    assert answer_in(line) is None
