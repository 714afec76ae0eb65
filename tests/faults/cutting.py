"""A provider that breaks off, a gateway before it, and what the official SDKs make of the rest."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import anthropic
import openai
from borrowed import everything_is_back
from dialects import PATHS, Clients, Recording, question, streamed
from effort import FULL
from gates import JSON, Gate, Got, gate_before

from headgate.testing import Answer, CutAt, FakeProvider, FaultServer, FaultStep, Garbage

NOT_TEXT = b"\0\xff!"
"""Harms whatever it is put into: no field, no JSON and no UTF-8 has it."""
FAULTS: dict[str, Callable[[int], FaultStep]] = {
    "fin": lambda place: CutAt(place, by="fin"),
    "rst": lambda place: CutAt(place, by="rst"),
    "stall": lambda place: CutAt(place, by="stall"),
    "clean end": lambda place: CutAt(place, by="clean"),
    "garbage": lambda place: Garbage(place, content=NOT_TEXT),
    "garbage in the framing": lambda place: Garbage(place, content=NOT_TEXT, is_framed=False),
}
"""What befalls a stream at a byte of it."""
IDLE_S = 0.05
"""After so much silence the gateway gives a stalled stream up."""
LANES = 8
"""So many stalls are waited for at a time."""


class Case(NamedTuple):
    """A place in a recorded stream."""

    recording: Recording
    place: int

    def __str__(self) -> str:
        return f"{self.recording}-{self.place}"


class Told(NamedTuple):
    """What a client got out of a stream."""

    events: list[Any]
    failure: str
    """What its SDK raised, or the code of the error event that it handed on; "" for a clean end."""


class Reader:
    """Lets the official SDKs read replies, from a socket. Many cuts lead to the same reply: each is
    read once, and where a run is not a full one each beginning and each end of one."""

    def __init__(self, provider: FakeProvider, clients: Clients) -> None:
        self._provider = provider
        self._clients = clients
        self._events: dict[tuple[str, int, bytes], list[Any]] = {}
        self._failures: dict[tuple[str, bytes], str] = {}

    def read(self, operation: str, said: bytes, end: bytes = b"", status: int = 200) -> Told:
        """What comes of a reply that says something, and then ends so: with an error event, say.
        Raises what no SDK should raise."""
        beginning, ending = (operation, status, said + end if FULL else said), (operation, end)
        if beginning not in self._events or ending not in self._failures:
            told = self._read(operation, said + end, status)
            self._events[beginning], self._failures[ending] = told
        return Told(self._events[beginning], self._failures[ending])

    def _read(self, operation: str, body: bytes, status: int) -> Told:
        whole = Answer(status=status, body=body)
        self._provider.script(Answer(chunks=[body]) if status == 200 else whole)
        create = self._clients.resource(operation).create
        events: list[Any] = []
        try:
            with create(**question(operation, stream=True)) as stream:
                events.extend(stream)
        except (openai.APIError, anthropic.APIError) as error:
            return Told(events, f"{error!r} {error.body}")
        # The one dialect whose SDK hands the error event on and leaves it to its caller.
        if events and events[-1].model_dump().get("type") == "error":
            return Told(events[:-1], str(events[-1].code))
        return Told(events, "")


class Lane:
    """One connection that asks one question again and again: an answer that were kept would be the
    reply to all that follow."""

    def __init__(self, server: FaultServer, gate: Gate, model: str) -> None:
        self._server = server
        self._model = model
        self._connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)

    def close(self) -> None:
        self._connection.close()

    def ask(self, recording: Recording, *faults: FaultStep) -> Got:
        """The reply while `faults` befall the recorded stream."""
        self._server.script(*faults, Answer(chunks=recording.events), model=self._model)
        asked = {**streamed(recording.operation, recording.name), "model": self._model}
        self._connection.request("POST", PATHS[recording.operation], json.dumps(asked), JSON)
        reply = self._connection.getresponse()
        fields = {name.lower(): value for name, value in reply.getheaders()}
        return Got(reply.status, fields, reply.read())


class Bench(NamedTuple):
    """A provider that fails, and the gateway before it."""

    server: FaultServer
    gate: Gate
    lanes: list[Lane]

    def ask(self, recording: Recording, *faults: FaultStep) -> Got:
        """On the first lane."""
        return self.lanes[0].ask(recording, *faults)

    def kept(self) -> int:
        """Entries in the cache."""
        entries: int = self.gate.stats()["cache"]["size"]
        return entries

    def forget(self) -> None:
        """Empties the cache."""
        self.gate.runtime.clear()

    def replies(self, fault: str, cases: list[Case]) -> list[tuple[Case, Got]]:
        """The reply of each case; each lane has its share of them."""

        def share(number: int) -> list[tuple[Case, Got]]:
            mine = cases[number :: len(self.lanes)]
            ask = self.lanes[number].ask
            return [(case, ask(case.recording, FAULTS[fault](case.place))) for case in mine]

        with ThreadPoolExecutor(len(self.lanes)) as threads:
            shares = threads.map(share, range(len(self.lanes)))
            return [pair for pairs in shares for pair in pairs]


@contextmanager
def bench(fault: str = "", idle_s: float = IDLE_S) -> Iterator[Bench]:
    """Made for one of `FAULTS`, or for another one. What must come whole wants an `idle_s` that a
    busy machine does not exceed."""
    count, settings = (LANES, {"idle_timeout": idle_s}) if fault == "stall" else (1, {})
    with ExitStack() as stack:
        server = stack.enter_context(FaultServer(seed=7))
        gate = stack.enter_context(gate_before(server, **settings))
        lanes = [Lane(server, gate, f"lane-{number}") for number in range(count)]
        for lane in lanes:
            stack.callback(lane.close)
        yield Bench(server, gate, lanes)
        everything_is_back(gate)


def complete_at(recording: Recording) -> int:
    """How many bytes of the stream are the whole answer: up to the end of its terminal marker,
    whose line end says nothing more."""
    return len(recording.content.rstrip(b"\r\n"))


def borders(recording: Recording) -> list[int]:
    """Places between two events, the very beginning among them, the very end not."""
    places, place = [0], 0
    for event in recording.events[:-1]:
        place += len(event)
        places.append(place)
    return places


def outcome(reader: Reader, recording: Recording, got: Got) -> str:
    """`whole`, or `broken`: a prefix of the recording, then an error; else what is wrong."""
    said, end = parted(got.body) if got.status == 200 else (b"", got.body)
    told = reader.read(recording.operation, said, end, got.status)
    good = reader.read(recording.operation, recording.content).events
    if told.events != good[: len(told.events)]:
        return "other events than the answer's"
    if got.status == 200 and not told.failure:
        return "whole" if told.events == good else f"a clean end after {len(told.events)} events"
    return "broken" if recording.content.startswith(said) else "other bytes than the answer's"


def parted(body: bytes) -> tuple[bytes, bytes]:
    """A stream, and the event by which the gateway ended it: that has an empty line before it."""
    said, found, end = body.rpartition(b"\n\n\n\n")
    return (said + b"\n\n", b"\n\n" + end) if found else (body, b"")
