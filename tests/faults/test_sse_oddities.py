"""Row 12: every way to write a stream that the format allows, in slices of any size. The gateway
hands on the very bytes, so a client makes of them what it would have made without it. What is no
stream of its dialect is told as an error, never passed off as an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from events import has_failed, is_finished, words_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import KEY, PATHS, Lab, Reply, fields_for
from rawclient import CHAT, MESSAGES

from headgate.providers.fake import fake_reply, operation_of
from headgate.testing import Chunk, FaultServer, Head, Slicer

WORDS = "n\u00e9e Lut\u00e8ce \U0001f5fc, " * 6
# Neither answered from the cache nor joined: each spelling is asked for by itself.
ALONE = "cache-control: no-store"
UNKNOWN: dict[str, bytes] = {
    CHAT: b'event: strange\ndata: {"object": "strange", "choices": []}\n\n',
    "/v1/completions": b'event: strange\ndata: {"object": "strange", "choices": []}\n\n',
    MESSAGES: b'event: strange\ndata: {"type": "strange"}\n\n',
    "/v1/responses": b'event: strange\ndata: {"type": "strange"}\n\n',
}
Spelling = Callable[[list[bytes]], list[bytes]]


def usual(path: str) -> list[bytes]:
    """The events of a stream with letters of two and four bytes."""
    asked = json.dumps(fields_for(path, stream=True)).encode()
    return list(fake_reply(operation_of(path.removeprefix("/v1")), asked, text=WORDS).pieces)


def in_lines(event: bytes) -> bytes:
    """Its data in several lines, which a reader joins again by newlines."""
    return event.replace(b'data: {"', b'data: {\ndata: "').replace(b',"', b',\ndata:"')


ODD: dict[str, Spelling] = {
    "as usual": lambda events: events,
    "CRLF": lambda events: [event.replace(b"\n", b"\r\n") for event in events],
    "CR": lambda events: [event.replace(b"\n", b"\r") for event in events],
    "mixed ends": lambda events: [event[:-1] + b"\r\n" for event in events],
    "byte order mark": lambda events: [b"\xef\xbb\xbf" + events[0], *events[1:]],
    "comments": lambda events: [b": a comment\n\n:\n" + event for event in events],
    "several lines": lambda events: [in_lines(event) for event in events],
    "no space": lambda events: [event.replace(b"data: ", b"data:") for event in events],
    "ids and retries": lambda events: [b"id: 7\nretry: 10\n" + event for event in events],
    "empty events": lambda events: [b"\n\n\n" + event + b"\n" for event in events],
    "a huge comment": lambda events: [b":" + b"x" * 300_000 + b"\n\n", *events],
    "after the end": lambda events: [*events, b"data: {}\n\n: more\n\n"],
}
BROKEN: dict[str, Spelling] = {
    "nothing at all": lambda events: [],
    "only comments": lambda events: [b": ping\n\n"] * 3,
    "a line that is no field": lambda events: [*events[:3], b"garbage" + events[3], *events[4:]],
    "no UTF-8": lambda events: [*events[:3], events[3].replace(b'"', b"\xff", 1), *events[4:]],
    "half a letter": lambda events: [*events[:3], b'data: {"x": "\xc3"}\n\n', *events[4:]],
    "no JSON": lambda events: [*events[:3], b"data: {\n\n", *events[4:]],
    "another type": lambda events: [b"<html>\n\n</html>\n\n"],
}


def sent_as(lab: Lab, path: str, pieces: list[bytes], *toxics: Any) -> Reply:
    """What a client gets of a stream that the provider sends in these pieces."""
    lab.server.script(*toxics, Head(), *map(Chunk, pieces))
    return lab.ask(path, ALONE, stream=True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ODD)
def test_the_very_bytes_arrive(lab: Lab, path: str, name: str) -> None:
    pieces = ODD[name](usual(path))
    for toxics in ((), (Slicer(97, variation_bytes=90),)):
        reply = sent_as(lab, path, pieces, *toxics)
        # An empty line behind the end is no event.
        assert (reply.status, reply.body.rstrip()) == (200, b"".join(pieces).rstrip())
        assert words_of(reply.body) == WORDS


@pytest.mark.parametrize("path", PATHS)
def test_slices_of_one_byte_change_nothing(lab: Lab, path: str) -> None:
    pieces = usual(path)
    assert sent_as(lab, path, pieces, Slicer()).body == b"".join(pieces)


@pytest.mark.parametrize("path", PATHS)
def test_events_that_nobody_knows_pass(lab: Lab, path: str) -> None:
    first, *others = usual(path)
    pieces = [first, UNKNOWN[path], *others]
    assert sent_as(lab, path, pieces).body == b"".join(pieces)


@pytest.mark.parametrize("path", PATHS)
def test_the_last_event_needs_no_blank_line(lab: Lab, path: str) -> None:
    *pieces, last = usual(path)
    body = sent_as(lab, path, [*pieces, last.rstrip(b"\n")]).body
    assert is_finished(body)
    assert body.rstrip(b"\n") == b"".join([*pieces, last]).rstrip(b"\n")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_stream_of_its_dialect_is_an_error(lab: Lab, path: str, name: str) -> None:
    reply = sent_as(lab, path, BROKEN[name](usual(path)))
    assert not is_finished(reply.body)
    assert reply.status == 502 or has_failed(reply.body)
    assert WORDS.startswith(words_of(reply.body))
    assert lab.stored() == 0


class Sdks:
    """Both official clients, at any address."""

    def __init__(self, openai_url: str, anthropic_url: str) -> None:
        settings: Any = {"api_key": KEY, "max_retries": 0}
        settings["default_headers"] = {"cache-control": "no-store"}
        self._openai = openai.OpenAI(base_url=openai_url, **settings)
        self._anthropic = anthropic.Anthropic(base_url=anthropic_url, **settings)

    def read(self, path: str) -> list[Any]:
        """Every event as the SDK understood it, and the name of the error that ended them."""
        create = {
            CHAT: self._openai.chat.completions.create,
            MESSAGES: self._anthropic.messages.create,
            "/v1/responses": self._openai.responses.create,
            "/v1/completions": self._openai.completions.create,
        }[path]
        events: list[Any] = []
        fields: dict[str, Any] = fields_for(path, stream=True)
        try:
            events.extend(event.to_dict() for event in create(**fields))
        except (openai.APIError, anthropic.APIError, ValueError) as error:
            events.append(type(error).__name__)
        return events

    def close(self) -> None:
        self._openai.close()
        self._anthropic.close()


@pytest.mark.parametrize("path", PATHS)
def test_the_sdks_understand_the_same_as_without_the_gateway(lab: Lab, path: str) -> None:
    through = Sdks(lab.gate.openai_url, lab.gate.url)
    # A provider of its own: what nobody asked through the gateway is on nobody's bill.
    with FaultServer() as other:
        direct = Sdks(other.base_url, other.anthropic_base_url)
        for name in ODD:
            for server in (other, lab.server):
                server.script(Head(), *map(Chunk, ODD[name](usual(path))))
            understood = direct.read(path)
            assert through.read(path) == understood, name
        assert len(understood) > 3
        direct.close()
    through.close()


PARTS = [b"data: x", b"data:", b"\n", b"\n\n", b"\r", b"\r\n", b":", b"event: e", b"\xef\xbb\xbf",
         b"\xc3", b"\xa9", b"\x00", b'data: {"choices": []}', b"data: [DONE]"]  # fmt: skip


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.sampled_from(PARTS) | st.binary(max_size=9), max_size=30), st.integers(1, 40))
def test_of_any_bytes_a_beginning_arrives_and_then_the_truth_about_its_end(
    lab: Lab, pieces: list[bytes], slice_bytes: int
) -> None:
    sent = b"".join(pieces)
    reply = sent_as(lab, CHAT, [piece for piece in pieces if piece], Slicer(slice_bytes))
    if reply.status == 502:
        assert reply.code in ("upstream_garbled", "stream_broken")
        return
    told, error, _ = reply.body.partition(b'data: {"error":')
    assert sent.startswith(told if not error else told.removesuffix(b"\n\n")) or is_finished(told)
    assert error or is_finished(told)
