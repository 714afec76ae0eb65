"""Server-sent events: the decoders of the official SDKs and of httpx2 say what is right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import anthropic._streaming
import httpx2
import openai._streaming
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.core.sse import EVENT_MAX_BYTES, Splitter, is_sound, parse_event, spell, split
from headgate.errors import UpstreamGarbled

Event = tuple[bytes, bytes]

BOM = b"\xef\xbb\xbf"
LINE_ENDS = (b"\n", b"\r", b"\r\n")
TOKENS = (
    *LINE_ENDS, *LINE_ENDS, b"data", b"data:", b"data: ", b"data:  ", b"event: ping", b"event:",
    b"event", b"id: 7", b"retry: 5", b":", b": comment", b"other: x", b" ", b"{}", b"[DONE]", b"x",
    "\u00e9\u2028\u0085".encode(),
)  # fmt: skip
"""Without the byte order mark: the standard skips one at the start, the SDKs do not."""
STREAMS = st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join)


def fed(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = Splitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events, splitter.rest()


def sliced(content: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    return [content[a:b] for a, b in pairwise(edges)]


def read(content: bytes) -> list[Event]:
    """The events that have data: the others are never dispatched."""
    return [event for event in map(parse_event, split(content)) if event[1]]


def by_openai(content: bytes) -> list[Event]:
    events = openai._streaming.SSEDecoder().iter_bytes(iter([content]))
    return [((e.event or "").encode(), e.data.encode()) for e in events if e.data]


def by_anthropic(content: bytes) -> list[Event]:
    events = anthropic._streaming.SSEDecoder().iter_bytes(iter([content]))
    return [((e.event or "").encode(), e.data.encode()) for e in events if e.data]


def by_httpx2(content: bytes) -> list[Event]:
    head = {"content-type": "text/event-stream; charset=utf-8"}
    request = httpx2.Request("GET", "http://provider.invalid/")
    response = httpx2.Response(200, headers=head, content=content, request=request)
    events = httpx2.EventSource(response)
    names = {"message": ""}
    return [(names.get(e.event, e.event).encode(), e.data.encode()) for e in events if e.data]


ORACLES = [by_openai, by_anthropic, by_httpx2]


@pytest.mark.parametrize("oracle", ORACLES)
def test_events_are_read_as_the_public_decoders_read_them(
    oracle: Callable[[bytes], list[Event]],
) -> None:
    @settings(max_examples=400)
    @given(STREAMS)
    @example(b"data: a\r\r\ndata: b\r\n\rdata: c\n\r\ndata: d")
    @example(b"event: message_stop\ndata: {}\n\n: ping\n\ndata:[DONE]")
    def agrees(content: bytes) -> None:
        whole = content + b"\n\n"
        assert read(whole) == oracle(whole)

    agrees()


@settings(max_examples=500)
@given(STREAMS, st.lists(st.integers(min_value=0, max_value=200), max_size=30))
def test_any_slicing_gives_the_same_events(content: bytes, cuts: list[int]) -> None:
    whole = fed([content])
    assert fed(sliced(content, cuts)) == whole
    assert fed([content[at : at + 1] for at in range(len(content))]) == whole


@settings(max_examples=300)
@given(STREAMS, st.lists(st.integers(min_value=0, max_value=200), max_size=30))
def test_no_byte_is_lost_or_invented(content: bytes, cuts: list[int]) -> None:
    events, rest = fed(sliced(content, cuts))
    assert b"".join(events) + rest == content
    assert b"".join(split(content)) == content


@pytest.mark.parametrize(
    ("content", "events"),
    [
        (b"", []),
        (b"data: a\n\n", [b"data: a\n\n"]),
        (b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"]),
        (b": ping\n\ndata: a\n\n", [b": ping\n\n", b"data: a\n\n"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"data: a\r\n\r\n", b"data: b\r\n\r\n"]),
        (b"data: a\r\rdata: b\r\r", [b"data: a\r\r", b"data: b\r\r"]),
        (b"data: a\ndata: b\n\n", [b"data: a\ndata: b\n\n"]),
        (b"\n\ndata: a\n\n", [b"\n\n", b"data: a\n\n"]),
        (b"data: a\n\n\ndata: b\n\n", [b"data: a\n\n", b"\ndata: b\n\n"]),
        (b"data: a\r\n\rdata: b\n\n", [b"data: a\r\n\r", b"data: b\n\n"]),
        (b"data: a\n\ndata: b", [b"data: a\n\n", b"data: b"]),
    ],
)
def test_an_event_ends_with_its_blank_line(content: bytes, events: list[bytes]) -> None:
    assert split(content) == events


def test_a_cr_that_may_be_half_of_a_crlf_is_waited_for() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\r\n\r") == []
    assert splitter.feed(b"\n") == [b"data: a\r\n\r\n"]
    assert splitter.rest() == b""


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"])
def test_an_event_is_there_as_soon_as_its_last_byte_is(end: bytes) -> None:
    splitter = Splitter()
    event = b"data: [DONE]" + end
    assert splitter.feed(event[:-1]) == []
    assert splitter.rest() == event[:-1]
    assert splitter.feed(event[-1:]) == [event]


def filled(size_bytes: int) -> bytes:
    return b"data: " + b"x" * (size_bytes - 8) + b"\n\n"


def test_an_event_may_have_a_million_bytes() -> None:
    event = filled(EVENT_MAX_BYTES)
    assert fed([event]) == ([event], b"")
    assert fed([event[:500], event[500:]]) == ([event], b"")
    assert fed([event + event]) == ([event, event], b"")


@pytest.mark.parametrize("size", [EVENT_MAX_BYTES + 1, EVENT_MAX_BYTES * 3])
@pytest.mark.parametrize("step", [None, 65_536, 7_919])
def test_a_longer_event_is_refused_complete_or_not(size: int, step: int | None) -> None:
    for event in (filled(size), filled(size + 2)[:-2], filled(size) + b"data: a\n\n"):
        step_bytes = step or len(event)
        with pytest.raises(UpstreamGarbled):
            fed([event[at : at + step_bytes] for at in range(0, len(event), step_bytes)])


def test_many_events_in_one_piece_may_be_longer_than_one_may_be() -> None:
    event = filled(1_000)
    assert len(split(event * 1_500)) == 1_500


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (b"data: a\n\n", (b"", b"a")),
        (b"data:a\n\n", (b"", b"a")),
        (b"data:  a \n\n", (b"", b" a ")),
        (b"data: a\ndata: b\n\n", (b"", b"a\nb")),
        (b"data: a\r\ndata\r\n\r\n", (b"", b"a\n")),
        (b"data: a\rb\n\n", (b"", b"a")),
        (b"event: ping\ndata: {}\n\n", (b"ping", b"{}")),
        (b"data: {}\nevent: ping\n\n", (b"ping", b"{}")),
        (b"event: a\nevent: b\ndata: {}\n\n", (b"b", b"{}")),
        (b"event: a\nevent\ndata: {}\n\n", (b"", b"{}")),
        (b"event: ping\n\n", (b"ping", b"")),
        (b": OPENROUTER PROCESSING\n\n", (b"", b"")),
        (b"id: 1\nretry: 10\nfoo: bar\ndatax: y\ndata: a\n\n", (b"", b"a")),
        (b" data: a\n\n", (b"", b"")),
        (BOM + b"data: a\n\n", (b"", b"a")),
        (b"data: " + BOM + b"a\n\n", (b"", BOM + b"a")),
        (b"\n\ndata: a\n\n", (b"", b"a")),
        (b"\n\n", (b"", b"")),
        (b"", (b"", b"")),
    ],
)
def test_name_and_data_are_read_by_the_rules(raw: bytes, event: Event) -> None:
    assert parse_event(raw) == event


@pytest.mark.parametrize(
    "raw",
    [b"data: a\n\n", b"event: ping\r\ndata: {}\r\n\r\n", b"id: 1\rretry:10\rdata\r\r", b"\n\n",
     b": comment \xc3\xa9\n:\ndata: \xc3\xa9\n\n", BOM + b"data: a\n\n", b"event\ndata: a: b\n\n"],
)  # fmt: skip
def test_fields_and_comments_are_sound(raw: bytes) -> None:
    assert is_sound(raw)


@pytest.mark.parametrize(
    "raw",
    [b"da\0ta: a\n\n", b"data: a\nb\n\n", b" data: a\n\n", b"data: a\xff\n\n", b"datax: y\n\n",
     b"event: ping\n{}\n\n", b"data: a\rb\n\n", b"\xc3\xa9: a\n\n", b"data: a" + BOM[:2] + b"\n\n"],
)  # fmt: skip
def test_a_line_that_readers_pass_over_and_what_is_not_utf8_is_not_sound(raw: bytes) -> None:
    assert not is_sound(raw)


@settings(max_examples=300)
@given(st.text(max_size=60), st.sampled_from([b"", b"ping", b"response.output_text.delta"]))
def test_what_was_spelt_is_read_back(text: str, name: bytes) -> None:
    data = text.encode()
    raw = spell(data, name)
    assert split(raw) == [raw]
    assert is_sound(raw)
    assert parse_event(raw) == (name, data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))


def test_an_event_is_spelt_as_the_providers_spell_it() -> None:
    assert spell(b"[DONE]") == b"data: [DONE]\n\n"
    assert spell(b"{}", b"ping") == b"event: ping\ndata: {}\n\n"


@pytest.mark.parametrize("end", LINE_ENDS)
def test_data_of_several_lines_is_spelt_line_by_line(end: bytes) -> None:
    assert spell(b"a" + end + b"b") == b"data: a\ndata: b\n\n"
