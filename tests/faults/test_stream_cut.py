"""Row 9, the part of a stream that passes through: whatever cuts it, and at whatever byte, the
client has a true beginning of one answer and is told that it is no more than that. Nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from events import has_failed, is_finished, openings_in, words_of
from lab import PATHS, Lab, Reply, fields_for
from rawclient import CHAT, MESSAGES

from headgate.testing import (
    Answer,
    Close,
    CutAt,
    ErrorEvent,
    Garbage,
    ResetPeer,
    Stall,
    Status,
    Timeout,
    Usual,
)

# A short answer has few bytes and every kind of event; two bytes make one of its letters.
WORDS = "Paris, the capital, is n\u00e9e Lutetia"


class Cuts:
    """Answers of one kind, cut again and again."""

    def __init__(self, lab: Lab, path: str) -> None:
        self.server = lab.server
        self._lab = lab
        self._path = path
        self._places: list[int] = []
        self.whole = self.ask().body
        self.size = len(self.whole)
        assert is_finished(self.whole)
        assert words_of(self.whole) == WORDS

    def ask(self, *steps: Any) -> Reply:
        self._lab.server.script(*steps, Answer(text=WORDS))
        return self._lab.ask(self._path, stream=True)

    def of(self, *steps: Any, after_bytes: int) -> None:
        """Asks, and holds the reply against the row."""
        reply = self.ask(*steps)
        self._places.append(after_bytes)
        if reply.status == 502:
            assert reply.code in ("upstream_garbled", "stream_broken")
            return
        assert reply.status == 200
        assert WORDS.startswith(words_of(reply.body)), "words that nobody said"
        assert openings_in(reply.body) <= 1, "an answer begins once"
        if not is_finished(reply.body[:after_bytes]):
            assert has_failed(reply.body) or not reply.is_whole, "a stump passed off as an answer"
            assert not is_finished(reply.body)

    def none_was_repeated_or_kept(self) -> None:
        sent = [call.body_bytes for call in self._lab.server.calls]
        assert sent == [self.size, *self._places]
        assert self._lab.stored() == 0


@pytest.fixture
def cuts(lab: Lab) -> Callable[[str], Cuts]:
    return lambda path: Cuts(lab, path)


@pytest.mark.parametrize("by", ["fin", "rst"])
@pytest.mark.parametrize("path", PATHS)
def test_a_stream_cut_at_any_byte_is_never_taken_for_a_whole_answer(
    cuts: Callable[[str], Cuts], path: str, by: Any
) -> None:
    asked = cuts(path)
    every = 1 if (path, by) == (CHAT, "fin") else 1 + asked.size // 60
    places = range(0, asked.size, every)
    for place in places:
        asked.of(CutAt(place, by=by), after_bytes=place)
    asked.none_was_repeated_or_kept()


@pytest.mark.parametrize("path", PATHS)
def test_garbage_between_the_chunks_is_never_taken_for_a_whole_answer(
    cuts: Callable[[str], Cuts], path: str
) -> None:
    asked = cuts(path)
    places = range(0, asked.size, 50)
    for place in places:
        garbage = Garbage(place, b"\xff\x00garbage\r\n", is_framed=False)
        asked.of(garbage, CutAt(place, by="stall"), after_bytes=place)
    asked.none_was_repeated_or_kept()


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_falls_silent_at_any_event_ends_with_an_error(
    open_lab: Callable[..., Lab], path: str
) -> None:
    asked = Cuts(open_lab(idle_timeout=0.05), path)
    chunks = range(asked.whole.count(b"\n\n"))
    for number in chunks:
        asked.of(Stall(at_chunk=number), after_bytes=0)
    assert [call.chunks for call in asked.server.calls[1:]] == [*chunks]


@pytest.mark.parametrize("toxic", [Timeout(0.001), ResetPeer(), Close(), Close(by="rst")])
def test_every_way_to_go_away_after_some_words_is_told(lab: Lab, toxic: Any) -> None:
    for path in PATHS:
        lab.server.script(Usual(0, 5), toxic)
        reply = lab.ask(path, stream=True)
        assert has_failed(reply.body)
        assert not is_finished(reply.body)


@pytest.mark.parametrize("path", PATHS)
def test_an_error_inside_a_stream_reaches_the_client_once(lab: Lab, path: str) -> None:
    for chunks in range(6):
        lab.server.script(ErrorEvent(chunks, status=529))
        reply = lab.ask(path, stream=True)
        assert reply.body.count(b"a scripted 529") == 1
        assert not is_finished(reply.body)
    assert lab.stored() == 0


def test_what_was_said_before_the_cut_is_what_is_billed(lab: Lab) -> None:
    lab.server.script(Usual(0, 3), Close(by="rst"))
    words = words_of(lab.ask(stream=True).body)
    (call,) = lab.server.wait_for_ended(1)
    assert call.tokens_out == len(words) // 4 == 8


def test_a_cut_before_the_head_is_502_and_the_next_stream_is_whole(lab: Lab) -> None:
    for by in ("fin", "rst"):
        lab.server.script(CutAt(None, by=by))
        assert lab.ask(stream=True).status == 502
    assert is_finished(lab.ask(stream=True).body)


def test_the_sdk_raises_where_a_stream_was_cut(lab: Lab) -> None:
    lab.server.script(Usual(0, 4), Close(by="rst"))
    stream = lab.openai().chat.completions.create(**fields_for(CHAT, stream=True))
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert json.loads(json.dumps(caught.value.body))["code"] == "stream_broken"


def test_an_error_instead_of_a_stream_is_handed_on(lab: Lab) -> None:
    lab.server.script(Status(529, headers={"retry-after": "7"}))
    reply = lab.ask(MESSAGES, stream=True)
    assert (reply.status, reply.headers["retry-after"]) == (529, "7")
