"""OpenAI's batch API as headgate speaks it."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from batchlab import KEY
from jobs.apis.places import HANDED, answers, api_at, bodies, ended, handed_in

from headgate.core.multipart import Form
from headgate.errors import UpstreamGarbled
from headgate.jobs.apis.base import Asked, Remote, Vanished
from headgate.jobs.apis.openai import answer_in, window
from headgate.testing import Answer, BatchCourse, FaultServer


def test_an_upload_is_a_form_with_a_line_for_each_item(server: FaultServer) -> None:
    async def run() -> bytes:
        file = io.BytesIO()
        async with api_at(server) as api:
            api.pack(file, HANDED["openai"], [*bodies(1), Asked("x", '{"a":"ä\\n"}'.encode())])
        return file.getvalue()

    content = asyncio.run(run())
    form = Form(b"headgate-hg-token", len(content))
    first, second = map(json.loads, form.feed(content).splitlines())
    form.end()
    assert (form.fields, form.file_name) == ({"purpose": "batch"}, "hg-token.jsonl")
    assert (first["custom_id"], first["method"], first["url"]) == (
        "hg-token-0", "POST", "/v1/chat/completions",
    )  # fmt: skip
    assert first["body"]["messages"][0]["content"] == "0?"
    assert second["body"] == {"a": "ä\n"}


def test_a_batch_bears_its_token_and_is_found_by_it(server: FaultServer) -> None:
    async def run() -> list[Remote]:
        async with api_at(server) as api:
            for _ in range(120):
                await handed_in(api, "openai", bodies(1))
            return [remote async for remote in api.recent(0.0)]

    found = asyncio.run(run())
    assert len(found) == 120, "two pages"
    assert {remote.token for remote in found} == {"hg-token"}
    assert server.calls[1].body["completion_window"] == "24h"


def test_both_files_are_read_and_a_refusal_is_told(server: FaultServer) -> None:
    server.batch(BatchCourse(failed=(0,)))
    server.batch(BatchCourse(invalid="bad_model"))

    async def run() -> tuple[Any, Remote]:
        async with api_at(server) as api:
            good = await ended(api, await handed_in(api, "openai", bodies(2)))
            bad = await ended(api, await handed_in(api, "openai", bodies(2)))
            return await answers(api, good), bad

    (one, two), bad = asyncio.run(run())
    assert (one.name, one.kind, two.name, two.kind) == ("hg-token-1", "good", "hg-token-0", "bad")
    assert (bad.state, bad.problems) == ("invalid", (("bad_model", "bad_model"),))


def test_a_result_that_quotes_our_key_does_not_bring_it(server: FaultServer) -> None:
    said = {"status_code": 401, "body": {"error": {"message": f"no such key: {KEY}"}}}
    line = json.dumps({"custom_id": "c", "response": said, "error": None})
    server.script(Answer(body=line), operation="files.content")

    async def run() -> Any:
        async with api_at(server) as api:
            remote = await ended(api, await handed_in(api, "openai", bodies(1)))
            return await answers(api, remote)

    (answer,) = asyncio.run(run())
    assert (answer.message, KEY.encode() in answer.body) == ("no such key: ***", False)


def test_a_batch_that_is_gone_says_so(server: FaultServer) -> None:
    async def run() -> None:
        async with api_at(server) as api:
            with pytest.raises(Vanished):
                await api.retrieve("batch_../../x")
            with pytest.raises(Vanished):
                await api.cancel("batch_1")

    asyncio.run(run())
    assert server.calls[0].path == "/v1/batches/batch_..%2F..%2Fx"


def test_an_answer_that_is_something_else_is_garbled(server: FaultServer) -> None:
    server.script(Answer(body={"object": "what"}), times=None)

    async def run() -> None:
        async with api_at(server) as api:
            with pytest.raises(UpstreamGarbled):
                await api.retrieve("batch_1")

    asyncio.run(run())


def said(response: Any = None, error: Any = None) -> tuple[str, bool, str]:
    line = {"id": "x", "custom_id": "c", "response": response, "error": error}
    answer = answer_in(json.dumps(line).encode())
    assert answer is not None
    return answer.kind, answer.may_be_billed, answer.code


@pytest.mark.parametrize(
    ("response", "error", "found"),
    [
        ({"status_code": 200, "body": {"a": 1}}, None, ("good", False, "")),
        ({"status_code": 200, "body": None}, None, ("again", True, "status_200")),
        ({"status_code": 0, "body": None}, None, ("again", True, "status_0")),
        ({"status_code": None, "body": {}}, None, ("again", True, "status_0")),
        ({"status_code": 400, "body": {"error": {"code": "x"}}}, None, ("bad", False, "x")),
        ({"status_code": 400, "body": {"error": "text"}}, None, ("bad", False, "")),
        ({"status_code": 429, "body": {}}, None, ("again", False, "status_429")),
        ({"status_code": 500, "body": {}}, None, ("again", False, "status_500")),
        (None, {"code": "batch_expired"}, ("again", False, "batch_expired")),
        (None, {"code": "batch_cancelled"}, ("again", False, "batch_cancelled")),
        (None, {"code": "server_error"}, ("again", True, "server_error")),
        (None, {"code": None}, ("again", True, "status_0")),
        (None, None, ("again", True, "status_0")),
    ],
)
def test_a_line_is_good_bad_or_to_be_asked_again(
    response: Any, error: Any, found: tuple[str, bool, str]
) -> None:
    assert said(response, error) == found


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{", b"{}", b'{"custom_id":1}', b'{"custom_id":"c","response":3}',
             b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_line_is_left_out(line: bytes) -> None:
    assert answer_in(line) is None


def test_windows_are_hours_where_they_can_be() -> None:
    assert [window(86_400.0), window(7 * 86_400.0), window(90.0)] == ["24h", "168h", "90s"]
