"""Row 9, with somewhere to go: a stream cut before its first content is answered by another target
and nobody notices; cut after it, it ends with an error in its dialect and nothing is tried again.

The text that a client has seen is a beginning of exactly one target's answer, with one preamble.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from effort import FULL
from events import has_failed, is_finished
from lab import Lab
from rawclient import CHAT, MESSAGES
from several import several

from headgate.layers.settings import BreakerConfig
from headgate.testing import CutAt, ErrorEvent, Garbage, Stall, marks_in

PATHS = (CHAT, MESSAGES, "/v1/responses")
PREAMBLES = {CHAT: b'"role":"assistant"', MESSAGES: b'"type":"message_start"',
             "/v1/responses": b'"type":"response.created"'}  # fmt: skip
LENGTHS = {CHAT: 2_400, MESSAGES: 2_000, "/v1/responses": 5_000}
ALWAYS = {"breaker": BreakerConfig(enabled=False)}
"""Or the broken target is soon left alone."""
SILENT_S = 0.5
BREAKS: dict[str, Callable[[int], Any]] = {
    "reset": lambda at: CutAt(at, by="rst"),
    "fin": lambda at: CutAt(at, by="fin"),
    "clean": lambda at: CutAt(at, by="clean"),
    "garbage": lambda at: Garbage(at, content=b"\0\n\ndata: {nonsense\n\n"),
    "stall": lambda at: Stall(at_byte=at),
}


def places(path: str) -> list[int]:
    """In bytes of the usual stream: every one, or samples."""
    return list(range(0, LENGTHS[path], 1 if FULL else 97))


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("path", PATHS)
def test_wherever_it_breaks_a_client_sees_one_beginning_or_one_whole_answer(
    open_lab: Callable[..., Lab], path: str, how: str
) -> None:
    # Only where silence is what is to be found: on a slow machine everybody is silent at times.
    limits = {"idle_timeout": SILENT_S} if how == "stall" else {}
    lab = open_lab(lambda server: several(server, 2, blocks=ALWAYS, **limits))
    moved = broken = 0
    for number, at in enumerate(places(path)):
        lab.server.script(BREAKS[how](at), model="m1")
        before = len(lab.server.calls)
        reply = lab.ask(path, about=number, stream=True)
        calls = lab.server.calls[before:]
        sources = {mark.serial for mark in marks_in(reply.body)}
        assert len(sources) <= 1, "text of two answers"
        assert reply.body.count(PREAMBLES[path]) <= 1, "two preambles"
        assert len(calls) <= 3
        if has_failed(reply.body):
            assert not is_finished(reply.body)
            broken += 1
        elif reply.headers["headgate-attempts"] == "2":
            assert is_finished(reply.body)
            moved += 1
        again = lab.ask(path, about=number, stream=True)
        assert is_finished(again.body)
        assert not has_failed(again.body)
    assert moved, "some broke before their content"
    assert broken, "some broke after it"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [500, 503, 529, 429])
def test_an_error_event_before_the_content_is_answered_by_another(
    open_lab: Callable[..., Lab], path: str, status: int
) -> None:
    """Row 15, first half."""
    lab = open_lab(lambda server: several(server, 2))
    lab.server.script(ErrorEvent(at_chunk=1, status=status), model="m1")
    reply = lab.ask(path, stream=True)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")
    assert is_finished(reply.body)
    assert not has_failed(reply.body)
    assert reply.body.count(PREAMBLES[path]) == 1


@pytest.mark.parametrize("path", PATHS)
def test_an_error_event_after_the_content_is_handed_on_and_ends_it(
    open_lab: Callable[..., Lab], path: str
) -> None:
    """Row 15, second half."""
    lab = open_lab(lambda server: several(server, 2))
    lab.server.script(ErrorEvent(at_chunk=9), model="m1")
    reply = lab.ask(path, stream=True)
    assert (has_failed(reply.body), is_finished(reply.body)) == (True, False)
    assert (len(lab.server.calls), lab.stored()) == (1, 0)
    attempts = lab.gate.stats()["breakers"]["attempts"]
    assert list(attempts.values()) == [{"mid_stream": 1}]


@pytest.mark.parametrize("path", PATHS)
def test_an_error_event_that_is_the_callers_fault_is_asked_once(
    open_lab: Callable[..., Lab], path: str
) -> None:
    lab = open_lab(lambda server: several(server, 2))
    lab.server.script(ErrorEvent(at_chunk=1, status=400), model="m1")
    reply = lab.ask(path, stream=True)
    assert reply.status == 400
    assert len(lab.server.calls) == 1


@pytest.mark.parametrize("path", PATHS)
def test_when_every_stream_begins_with_an_error_the_client_gets_its_status(
    open_lab: Callable[..., Lab], path: str
) -> None:
    """Not a 200: an SDK would take the error for a break, and a stale answer would not be used."""
    lab = open_lab(lambda server: several(server, 2))
    lab.server.script(ErrorEvent(at_chunk=1, status=500), times=None)
    reply = lab.ask(path, stream=True)
    told = {name: reply.headers[name] for name in ("headgate-attempts", "x-should-retry")}
    assert (reply.status, told) == (500, {"headgate-attempts": "3", "x-should-retry": "false"})
