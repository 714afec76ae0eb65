"""Lines of a gateway: one for each event and call, in ASCII, without secrets, never in the way."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from calling import Asker
from gates import PATIENT
from oracle import until
from programs import running

from headgate.config import Config, ProviderConfig, ServerConfig
from headgate.surfaces import logs
from headgate.surfaces.logs import LogLines, logged
from headgate.testing import FakeProvider
from headgate.types import Secret

SECRET = "s3cret-of-the-operator"
LOGGER = logging.getLogger("headgate.gateway")
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "canary-text"}]}


def config(**server: Any) -> Config:
    return Config(
        server=ServerConfig(admin_token=Secret(SECRET), **server),
        providers={"fake": ProviderConfig(kind="fake")},
    )


class Written:
    """A pipe that lines are written to, read to its end."""

    def __init__(self, file: Path, settings: Config) -> None:
        self.file = file
        self.fd = os.open(file, os.O_WRONLY | os.O_CREAT)
        self.settings = settings

    @contextmanager
    def lines(self) -> Iterator[LogLines]:
        with logged(self.settings, self.fd) as lines:
            yield lines
        os.close(self.fd)

    @property
    def text(self) -> str:
        return self.file.read_text("ascii")

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    return Written(tmp_path / "log", config(log_format=request.param))


@pytest.fixture
def as_json(tmp_path: Path) -> Written:
    return Written(tmp_path / "log", config(log_format="json"))


HOSTILE = "\x1b[2J\x1b]0;title\x07 a\nINFO forged: line\r\n\u2028\u202e\x9b31m \ud800"


def test_an_event_is_one_line_whatever_is_in_it(written: Written) -> None:
    with written.lines() as lines:
        for text in (f"before {HOSTILE} after", "x" * 1_000_000):
            # Not through the logger: pytest would keep it, too.
            logs._Events(lines).emit(logging.LogRecord("x", logging.WARNING, "", 1, text, (), None))
    shown = written.text.split("\n")
    assert len(shown) == 3
    assert shown[2] == ""
    assert all(re.fullmatch(r"[\x20-\x7e]+", line) for line in shown[:2])
    assert len(shown[1]) < 10_000
    assert "WARNING" in shown[0]


def told(where: str, text: str) -> None:
    """Logs `text` as a part of a message, as an argument, or in an exception."""
    if where == "message":
        LOGGER.error(f"the key {text} was refused")
    elif where == "argument":
        LOGGER.error("the keys %s and %r were refused", text, {"key": text})
    else:
        try:
            raise ValueError(f"no good: {text}")
        except ValueError:
            LOGGER.exception("failed")


@pytest.mark.parametrize("where", ["message", "argument", "exception"])
def test_secrets_are_masked_in_messages_arguments_and_exceptions(
    written: Written, where: str
) -> None:
    texts = {SECRET, "sk-live-abcdefgh123456", "Bearer abcdef0123456789"}
    with written.lines():
        for text in texts:
            told(where, text)
    assert "***" in written.text
    for text in texts:
        assert text not in written.text


def test_a_trace_in_text_cannot_be_taken_for_lines_of_its_own(tmp_path: Path) -> None:
    written = Written(tmp_path / "log", config())
    with written.lines():
        try:
            raise ValueError("one\nERROR forged: line")
        except ValueError:
            LOGGER.exception("failed")
    first, *rest = written.text.splitlines()
    assert first.endswith("ERROR headgate.gateway: failed")
    assert all(line.startswith("  | ") for line in rest)


def test_a_wrong_argument_of_a_message_costs_nothing_but_its_value(as_json: Written) -> None:
    broken = logging.LogRecord("x", logging.WARNING, "", 1, "%d calls", ("many",), None)
    with as_json.lines() as lines:
        logs._Events(lines).emit(broken)
    assert as_json.documents[0]["message"] == "%d calls"


def test_a_call_is_one_object_without_its_text(as_json: Written) -> None:
    with Asker() as asker, as_json.lines() as lines:
        lines.follow(asker.runtime.calls)
        miss = asker.ask(messages=BODY["messages"], model="m\x1b[2J\n{}")
        hit = asker.ask(messages=BODY["messages"], model="m\x1b[2J\n{}")
        streamed = asker.ask(messages=BODY["messages"], stream=True)
    documents = as_json.documents
    assert [one["call"] for one in documents] == [miss.name, hit.name, streamed.name]
    assert [one["cache"] for one in documents] == ["miss", "hit", "miss"]
    for one in documents:
        assert one["event"] == "call"
        assert {"model", "target", "status", "total_ms", "tokens", "cost_usd", "tenant"} <= set(one)
    assert documents[0]["attempts"] == ["fake/m\x1b[2J\n{} ok"]
    assert "canary" not in as_json.text
    assert "\x1b" not in as_json.text


def test_in_text_calls_are_written_only_where_wanted(tmp_path: Path) -> None:
    for wanted, count in (("auto", 0), ("off", 0), ("on", 2)):
        written = Written(tmp_path / wanted, config(log_calls=wanted))
        with Asker() as asker, written.lines() as lines:
            lines.follow(asker.runtime.calls)
            asker.ask()
            asker.ask()
        found = written.text.splitlines()
        assert len(found) == count
        assert all(" CALL " in line for line in found)
    assert re.search(r"chat m fake/m miss 200 [\d.]+ ms \d+ tokens \$\?$", found[0])


def test_text_of_calls_is_written_only_where_it_was_switched_on(tmp_path: Path) -> None:
    settings = config(log_format="json", log_content=True)
    written = Written(tmp_path / "log", settings)
    with Asker() as asker, written.lines() as lines:
        lines.follow(asker.runtime.calls)
        asker.ask(messages=BODY["messages"], stop=SECRET)
    (one,) = written.documents
    assert "canary-text" in one["request"]
    assert "choices" in one["answer"]
    assert SECRET not in written.text
    assert all(record.content is None for record in asker.runtime.calls.records())


def test_what_a_gateway_says_to_people_is_an_event_in_json(as_json: Written) -> None:
    with as_json.lines() as lines:
        lines.say("headgate serves\nhere")
    (one,) = as_json.documents
    assert (one["event"], one["message"]) == ("log", "headgate serves\nhere")


def test_a_pipe_that_nobody_reads_costs_lines_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "LINES_MAX", 100)
    monkeypatch.setattr(logs, "CLOSE_S", 0.05)
    reading, writing = os.pipe()
    with logged(config(log_format="json"), writing) as lines:
        # More than a pipe holds, and more than may wait: it is here again at once all the same.
        for number in range(5_000):
            lines.event(0.0, "INFO", "test", f"{number} {'x' * 100}")
        assert lines.dropped > 0
        dropped = lines.dropped
    text = b""
    while b"lines were dropped" not in text:
        text += os.read(reading, 65_536)
    assert str(dropped).encode() in text
    os.close(reading)
    until(lambda: lines._writer is None or not lines._waiting, "the rest is written or given up")
    os.close(writing)


def test_a_reader_that_has_gone_stops_nobody(as_json: Written) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with logged(config(log_format="json"), writing) as lines:
        lines.say("one")
        until(lambda: lines.dropped == 1, "the line is given up")
        lines.say("two")
        until(lambda: lines.dropped >= 2, "the next one, too")
    os.close(writing)


def test_at_the_end_everything_is_written_and_nothing_is_left_behind(as_json: Written) -> None:
    handlers, before = list(logging.getLogger().handlers), set(threading.enumerate())
    with as_json.lines() as lines:
        for number in range(2_000):
            lines.say(str(number))
    assert [one["message"] for one in as_json.documents] == [str(n) for n in range(2_000)]
    assert logging.getLogger().handlers == handlers
    begun = {*threading.enumerate()} - before
    assert "headgate-log" not in {thread.name for thread in begun}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_gateway_with_json_logs_prints_nothing_else(tmp_path: Path, workers: str) -> None:
    with FakeProvider() as provider:
        (tmp_path / "headgate.toml").write_text(
            f'{PATIENT}[providers.openai]\nbase_url = "{provider.base_url}"\napi_key = "{SECRET}"\n'
        )
        words = ("serve", "--port", "0", "--log-format", "json", "--config", "headgate.toml")
        with running(*words, "--workers", workers, cwd=tmp_path) as gateway:
            address = gateway.served()
            until(lambda: address.get("/readyz").status == 200, "it is ready")
            assert address.post("/v1/chat/completions", BODY).status == 200
            until(lambda: '"event": "call"' in gateway.output, "the call is written")
            gateway.process.send_signal(signal.SIGHUP)
            until(lambda: "reloaded the configuration" in gateway.output, "it reloads")
            assert gateway.end() == 0
        documents = [json.loads(line) for line in gateway.output.splitlines()]
    assert {one["event"] for one in documents} == {"log", "call"}
    assert len([one for one in documents if one["event"] == "call"]) == 1
    assert SECRET not in gateway.output
    assert "canary-text" not in gateway.output
