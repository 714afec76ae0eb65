"""The oracle itself: it is content with a healthy gateway, and each of its points can fail."""

from __future__ import annotations

import logging
from typing import Any

import oracle
import pytest
from lab import KEY, OTHER_KEY, PATHS, Lab, fields_for
from oracle import Heard, bounded_memory
from rawclient import CHAT, MESSAGES

from headgate.testing import CutAt, Exchange, Mark, tenant_of
from headgate.types import Entry

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize("path", PATHS)
def test_a_healthy_gateway_passes(lab: Lab, path: str) -> None:
    for key in (KEY, OTHER_KEY):
        for stream in (False, True, False):
            reply = lab.ask(path, key=key, stream=stream)
            assert (reply.status, reply.is_whole) == (200, True)
    assert lab.stored() == 2


def test_the_sdks_are_listened_to(lab: Lab) -> None:
    fields: Any = fields_for(CHAT)
    lab.openai().chat.completions.create(**fields)
    list(lab.openai().chat.completions.create(**fields, stream=True))
    lab.anthropic(OTHER_KEY).messages.create(**fields_for(MESSAGES))
    assert [bool(oracle.marks_in(bytes(heard.reply))) for heard in lab.heard] == [True] * 3


def heard(reply: bytes, key: str = KEY, asked: Any = None) -> Heard:
    one = Heard(tenant_of(key), asked)
    one.reply += reply
    return one


@pytest.mark.parametrize(
    "reply",
    [
        HEAD + b"data: {}\n\n",
        HEAD + b"data: [DONE]\n\ndata: [DONE]\n\n",
        HEAD + b"data: [DONE]\n\n" + HEAD + b"data: [DONE]\n\n",
    ],
)
def test_a_reply_that_just_stops_or_ends_twice_is_found(reply: bytes) -> None:
    with pytest.raises(AssertionError):
        oracle.one_outcome(heard(reply))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"data: [DONE]\n\n",
        HEAD + b'data: {"error": {}}\n\n',
        HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n") + b"5\r\ndata:\r\n",
    ],
)
def test_an_end_of_any_kind_is_an_outcome(reply: bytes) -> None:
    oracle.one_outcome(heard(reply))


def exchange(serial: int, body: Any, **more: Any) -> Exchange:
    return Exchange(
        serial, 1, 0.0, "POST", CHAT, {}, b"", body, operation="chat", model="m", **more
    )


def test_the_answer_to_another_tenant_or_question_is_found() -> None:
    asked, other = {"model": "m"}, {"model": "n"}
    calls = {1: exchange(1, asked)}
    reply = f'{{"id": "{Mark(tenant_of(KEY), 1)}"}}'.encode()
    oracle.no_foreign_bytes(heard(reply, KEY, asked), calls)
    with pytest.raises(AssertionError, match="went to"):
        oracle.no_foreign_bytes(heard(reply, OTHER_KEY, asked), calls)
    with pytest.raises(AssertionError, match="another question"):
        oracle.no_foreign_bytes(heard(reply, KEY, other), calls)


def entry(content: bytes) -> Entry:
    return Entry(b"k" * 32, b"s" * 32, "m", "chat", 0.0, 1e12, content)


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"choices": [{"finish_reason": null}]}'])
def test_an_entry_that_is_no_whole_answer_is_found(lab: Lab, content: bytes) -> None:
    lab.gate.runtime.tiers.put(entry(content))
    with pytest.raises(AssertionError, match="stored although"):
        oracle.only_verified_entries(lab.gate.runtime, {})
    lab.gate.runtime.clear()


def test_an_entry_from_a_call_that_was_cut_is_found(lab: Lab) -> None:
    lab.ask()
    (call,) = lab.server.wait_for_ended(1)
    oracle.only_verified_entries(lab.gate.runtime, {1: call})
    call.ended = "cut"
    with pytest.raises(AssertionError, match="ended as 'cut'"):
        oracle.only_verified_entries(lab.gate.runtime, {1: call})
    call.ended, call.body_bytes = "complete", call.body_bytes - 1
    with pytest.raises(AssertionError, match="stored in part"):
        oracle.only_verified_entries(lab.gate.runtime, {1: call})


def test_too_many_attempts_are_found() -> None:
    asked = {"model": "m"}
    calls = [exchange(serial, asked) for serial in range(oracle.ATTEMPTS_MAX)]
    oracle.attempts_within_budget([heard(b"", KEY, asked)], calls)
    with pytest.raises(AssertionError, match="4 attempts"):
        oracle.attempts_within_budget([heard(b"", KEY, asked)], [*calls, exchange(9, asked)])


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("asyncio", level, "", 0, message, (), None)


def test_a_line_that_should_not_be_logged_is_found() -> None:
    oracle.nothing_was_logged([record(logging.WARNING, "slow")])
    for wrong in (
        record(logging.ERROR, "failed"),
        record(logging.WARNING, "Task exception was never retrieved"),
    ):
        with pytest.raises(AssertionError):
            oracle.nothing_was_logged([wrong])


def test_a_credential_anywhere_is_found() -> None:
    oracle.no_credential(["fine"], [KEY, ""])
    with pytest.raises(AssertionError):
        oracle.no_credential([f"refused: {KEY}"], [KEY])


def test_memory_beyond_its_bound_is_found_even_if_it_was_given_back() -> None:
    with bounded_memory(lambda: 60_000_000):
        assert len(bytearray(20_000_000)) == 20_000_000
    with (
        pytest.raises(AssertionError, match="memory grew by"),
        bounded_memory(lambda: 20_000_000),
    ):
        assert len(b"x" * 80_000_000) == 80_000_000


def test_a_call_that_never_ends_upstream_is_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "SETTLE_S", 0.05)
    lab.server.script(CutAt(0, by="stall"))
    with lab.leaving():
        lab.server.wait_for_calls(1)
        with pytest.raises(AssertionError, match="under way"):
            oracle.answered_upstream(lab.server)
    monkeypatch.undo()


def test_an_open_file_is_counted(tmp_path: Any) -> None:
    before = oracle.open_files()
    with (tmp_path / "x").open("w"):
        assert list(oracle.open_files() - before) == [str(tmp_path / "x")]
    oracle.files_are_closed(before)
