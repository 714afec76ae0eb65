"""Row 9: recorded streams of every dialect that break off at any byte, in every way a wire allows:
the client gets a prefix of one answer and then an error that its SDK raises, the cache stays empty,
and the next call goes upstream. `make test` takes samples, `make test-full` every byte.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dialects import DIALECTS, RECORDINGS, REFUSALS, Recording, clients_at
from effort import FULL
from faults.cutting import (
    FAULTS,
    Case,
    Reader,
    bench,
    borders,
    complete_at,
    outcome,
)

from headgate.core.commit import commits
from headgate.core.sse import parse_event
from headgate.faultserver.answers import error_event
from headgate.testing import Answer, ErrorEvent, FakeProvider

SAMPLED_EVERY = 240
"""Each of the six faults takes other bytes: together one of forty."""
AT_BORDERS = ("clean end", "garbage")
"""Faults that strike at every border between two events, too."""
PART = 400
"""Places in one test of a full run."""


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with FakeProvider() as provider, clients_at(provider.anthropic_base_url) as clients:
        yield Reader(provider, clients)


def sampled(fault: str, recording: Recording) -> list[int]:
    """The borders of events and some bytes between them."""
    number = list(FAULTS).index(fault)
    first = number * SAMPLED_EVERY // len(FAULTS)
    between = range(first, complete_at(recording), SAMPLED_EVERY)
    return sorted({*between, *(borders(recording) if fault in AT_BORDERS else [])})


def has_content(recording: Recording, event: bytes) -> bool:
    """Whether nothing may be tried again after this event."""
    return commits(recording.operation, parse_event(event)[1])


def parts() -> Iterator[tuple[str, list[Case]]]:
    """Fault and places of each test."""
    for fault in FAULTS:
        for operation in DIALECTS:
            recordings = [each for each in RECORDINGS if each.operation == operation]
            if FULL:
                cases = [Case(each, at) for each in recordings for at in range(complete_at(each))]
            else:
                cases = [Case(each, at) for each in recordings for at in sampled(fault, each)]
            size = PART if FULL else len(cases)
            for begin in range(0, len(cases), size):
                yield fault, cases[begin : begin + size]


def named(value: object) -> str:
    if not isinstance(value, list):
        return str(value)
    return str(value[0])


@pytest.mark.parametrize(("fault", "cases"), list(parts()), ids=named)
def test_a_stream_that_breaks_anywhere_is_a_prefix_and_an_error(
    reader: Reader, fault: str, cases: list[Case]
) -> None:
    with bench(fault) as it:
        found = {str(case): outcome(reader, case.recording, got)
                 for case, got in it.replies(fault, cases)}  # fmt: skip
        assert {case: what for case, what in found.items() if what != "broken"} == {}
        assert it.kept() == 0
        assert len(it.server.calls) == len(cases), "each of them went upstream"


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_an_error_event_of_the_provider_is_handed_on_and_ends_the_answer(
    reader: Reader, recording: Recording
) -> None:
    """Before any content it is the answer, with its status."""
    failed = error_event(recording.operation, 529)
    with bench() as it:
        for chunk, border in enumerate(borders(recording)):
            is_last = chunk % 3 > 0
            got = it.ask(recording, ErrorEvent(at_chunk=chunk, is_last=is_last))
            if not any(has_content(recording, event) for event in recording.events[:chunk]):
                status = 529 if recording.operation == "messages" else 500
                assert (got.status, b"scripted 529" in got.body) == (status, True)
                continue
            said, rest = recording.content[:border], b"" if is_last else recording.content[border:]
            assert got.body == said + failed + rest
            told = reader.read(recording.operation, said, failed)
            assert "scripted 529" in told.failure or told.failure == "server_error"
        assert it.kept() == 0
        reasons = it.gate.stats()["cache"]["not_stored"]
        assert set(reasons) == {"error_in_answer", "status_5xx"}
        assert sum(reasons.values()) == len(it.server.calls)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", DIALECTS)
def test_what_happens_behind_the_terminal_marker_does_not_harm_the_answer(
    reader: Reader, operation: str, fault: str
) -> None:
    """What breaks the connection may overtake what was sent before it: then the answer is broken
    like any other."""
    recording = next(each for each in RECORDINGS if each.operation == operation)
    end = len(recording.content)
    with bench(fault, idle_s=1.5) as it:
        for place in range(complete_at(recording), end + 1):
            got = it.ask(recording, FAULTS[fault](place))
            found = outcome(reader, recording, got)
            assert found in ("whole", "broken")
            assert it.kept() == (found == "whole")
            if fault == "clean end" or (fault in ("garbage", "stall") and place == end):
                assert found == "whole"
            it.forget()


@pytest.mark.parametrize("operation", DIALECTS)
def test_a_stream_in_pieces_of_one_byte_is_whole(reader: Reader, operation: str) -> None:
    recordings = [each for each in RECORDINGS if each.operation == operation]
    shortest = min(recordings, key=lambda each: len(each.content))
    with bench() as it:
        it.server.script(Answer(chunks=[bytes([byte]) for byte in shortest.content]))
        got = it.ask(shortest)
        assert (got.status, got.body) == (200, shortest.content)
        assert it.kept() == (shortest not in REFUSALS)
