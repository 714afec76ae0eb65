"""Identical calls under way at the same time: one upstream call, and everyone gets the whole answer
from its first chunk, live, in the shape that was asked for; whoever leaves, and whoever is slow.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import readers
from core.asked import events_answer
from dialects import DIALECTS, USAGE_ON_DEMAND, clients_at, question, streamed
from gates import Gate, gate_before
from listening import Listener, Posting, settle
from programs import until

from headgate.core.shapes import stream_of, whole_of
from headgate.layers.settings import CacheConfig
from headgate.testing import FaultServer, Pause, Usual, marks_in

JOINED = "headgate; fwd=miss; collapsed"


PREAMBLE_MAX = 8
"""Events before the first content of any dialect, at most: they are held back."""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=7) as running:
        yield running


@pytest.fixture
def gate(server: FaultServer) -> Iterator[Gate]:
    with gate_before(server) as running:
        yield running


@pytest.fixture
def listen(gate: Gate) -> Iterator[Callable[..., Listener]]:
    """Begins a streamed call; all are closed in the end."""
    with ExitStack() as stack:

        def begin(operation: str, at: Gate = gate, **headers: str) -> Listener:
            return stack.enter_context(Listener(at, operation, streamed(operation), headers))

        yield begin


def kept(gate: Gate) -> int:
    entries: int = gate.stats()["cache"]["size"]
    return entries


def ended(gate: Gate) -> int:
    """Calls that are over, as the gateway sees it."""
    calls: int = gate.stats()["metrics"]["total_calls"]
    return calls


Listen = Callable[..., Listener]


@pytest.mark.parametrize("operation", DIALECTS)
def test_whole_and_streamed_callers_share_one_live_stream(
    gate: Gate, server: FaultServer, listen: Listen, operation: str
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9))
    streams = [listen(operation) for _ in range(8)]
    first = {listener.events(9) for listener in streams}
    assert len(first) == 1, "all of them have the beginning while the provider holds back the rest"
    wholes = [Posting(gate, operation, question(operation)) for _ in range(8)]
    settle(gate, calls=16)
    pause.release()
    (content,) = {listener.rest() for listener in streams}
    (body,) = {posting.got.body for posting in wholes}
    assert body == whole_of(operation, content)
    assert len(server.calls) == 1
    told = [listener.cache_status for listener in streams]
    told += [posting.got.headers["cache-status"] for posting in wholes]
    assert sorted(told) == ["headgate; fwd=miss", *[JOINED] * 15]
    assert len(marks_in(content) | marks_in(body)) == 1


@pytest.mark.parametrize("operation", DIALECTS)
def test_streamed_callers_share_a_whole_answer_that_is_under_way(
    gate: Gate, server: FaultServer, listen: Listen, operation: str
) -> None:
    server.hold()
    wholes = [Posting(gate, operation, question(operation))]
    server.wait_for_calls(1)
    wholes += [Posting(gate, operation, question(operation)) for _ in range(4)]
    streams = [listen(operation) for _ in range(5)]
    settle(gate, calls=10)
    server.release()
    (body,) = {posting.got.body for posting in wholes}
    made = stream_of(operation, body)
    assert made is not None
    assert [listener.rest() for listener in streams] == [made.content] * 5
    assert len(server.calls) == 1
    assert {listener.cache_status for listener in streams} == {JOINED}


@pytest.mark.parametrize("operation", DIALECTS)
def test_a_late_joiner_at_every_chunk_gets_the_whole_stream(
    server: FaultServer, listen: Listen, operation: str
) -> None:
    count = len(events_answer(operation, question(operation)))
    pauses = [Pause() for _ in range(count)]
    pairs = [(Usual(number, number + 1), pause) for number, pause in enumerate(pauses)]
    server.script(*(step for pair in pairs for step in pair))
    streams = [listen(operation)]
    for number, pause in enumerate(pauses):
        pause.wait_reached()
        streams.append(listen(operation))
        if number >= PREAMBLE_MAX:
            streams[-1].events(number + 1)
        pause.release()
    assert len({listener.rest() for listener in streams}) == 1
    assert len(server.calls) == 1


@pytest.mark.parametrize("operation", USAGE_ON_DEMAND)
def test_each_joiner_gets_usage_only_if_it_asked_for_it(
    gate: Gate, server: FaultServer, operation: str
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9))
    plain = question(operation, stream=True)
    with ExitStack() as stack:
        bodies = [plain, streamed(operation), plain, streamed(operation)]
        streams = [stack.enter_context(Listener(gate, operation, body)) for body in bodies]
        for listener in streams:
            listener.events(9)
        whole = Posting(gate, operation, question(operation))
        settle(gate, calls=5)
        pause.release()
        without, told, *again = (listener.rest() for listener in streams)
    assert again == [without, told]
    made = stream_of(operation, whole.got.body)
    assert made is not None
    begin, end = made.usage_at
    usage = made.content[begin:end]
    assert b'"choices":[]' in usage
    assert told.replace(usage, b"") == without != told
    assert len(server.calls) == 1


@pytest.mark.parametrize("operation", DIALECTS)
def test_sdk_clients_that_join_read_the_same_events(
    gate: Gate, server: FaultServer, operation: str
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9))
    with clients_at(gate.url) as clients, ExitStack() as stack:
        create = clients.resource(operation).create
        streams = [stack.enter_context(create(**streamed(operation))) for _ in range(4)]
        first = [next(iter(stream)) for stream in streams]
        whole: list[Any] = []
        asking = threading.Thread(
            target=lambda: whole.append(readers.WHOLE["created"](clients, operation, "q"))
        )
        asking.start()
        settle(gate, calls=5)
        pause.release()
        rest = [list(stream) for stream in streams]
        asking.join()
    assert first == [first[0]] * 4
    assert rest == [rest[0]] * 4
    assert len(rest[0]) > 3
    assert whole
    assert len(server.calls) == 1


@pytest.mark.parametrize("operation", DIALECTS)
def test_the_first_caller_may_leave_without_hurting_the_others(
    gate: Gate, server: FaultServer, listen: Listen, operation: str
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9))
    first, *others = (listen(operation) for _ in range(3))
    for listener in (first, *others):
        listener.events(9)
    first.leave()
    until(lambda: ended(gate) == 1)
    pause.release()
    (content,) = {listener.rest() for listener in others}
    assert [call.ended for call in server.wait_for_ended(1)] == ["complete"]
    with listen(operation) as again:
        assert again.rest() == content
        assert again.cache_status.startswith("headgate; hit; ")
    assert (len(server.calls), kept(gate)) == (1, 1)


@pytest.mark.parametrize("shape", [question, streamed], ids=lambda shape: shape.__name__)
def test_upstream_is_cut_when_the_last_caller_leaves_before_anything_came(
    gate: Gate, server: FaultServer, shape: Any
) -> None:
    server.script(Pause())
    callers = [Listener(gate, "chat", shape("chat"))]
    server.wait_for_calls(1)
    callers += [Listener(gate, "chat", shape("chat")) for _ in range(2)]
    settle(gate)
    for number, caller in enumerate(callers):
        assert (server.abandoned, ended(gate)) == (0, number)
        caller.leave()
        until(lambda: ended(gate) > number)  # noqa: B023 - called before the next turn
    server.wait_for_abandoned(1)
    assert gate.post("/v1/chat/completions", shape("chat")).status == 200
    assert len(server.calls) == 2


def test_upstream_is_cut_in_the_middle_where_nothing_is_to_be_finished(
    server: FaultServer, listen: Listen
) -> None:
    with gate_before(server, CacheConfig(finish_within=0)) as gate:
        server.script(Usual(0, 9), Pause())
        callers = [listen("chat", gate) for _ in range(3)]
        for caller in callers:
            caller.events(9)
        for caller in callers:
            assert server.abandoned == 0
            caller.leave()
        server.wait_for_abandoned(1)
        until(lambda: gate.stats()["cache"]["not_stored"] == {"abandoned": 1})
        assert kept(gate) == 0


@pytest.mark.parametrize("operation", DIALECTS)
def test_a_stream_whose_last_reader_left_is_finished_and_kept(
    gate: Gate, server: FaultServer, listen: Listen, operation: str
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9))
    callers = [listen(operation) for _ in range(3)]
    begun = {caller.events(9) for caller in callers}.pop()
    for caller in callers:
        caller.leave()
    until(lambda: ended(gate) == 3)
    pause.release()
    assert [call.ended for call in server.wait_for_ended(1)] == ["complete"]
    until(lambda: kept(gate) == 1)
    again = listen(operation)
    assert again.rest().startswith(begun)
    assert again.cache_status.startswith("headgate; hit; ")
    assert len(server.calls) == 1


def test_it_is_not_finished_for_longer_than_is_configured(
    server: FaultServer, listen: Listen
) -> None:
    with gate_before(server, CacheConfig(finish_within=0.05)) as gate:
        server.script(Usual(0, 9), Pause())
        caller = listen("chat", gate)
        caller.events(9)
        caller.leave()
        server.wait_for_abandoned(1)
        until(lambda: gate.stats()["cache"]["not_stored"] == {"abandoned": 1})


def test_who_comes_back_while_it_is_finished_gets_it_live(
    gate: Gate, server: FaultServer, listen: Listen
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9))
    gone = listen("chat")
    begun = gone.events(9)
    gone.leave()
    until(lambda: ended(gate) == 1)
    back = listen("chat")
    assert back.events(9) == begun
    pause.release()
    assert back.rest().endswith(b"data: [DONE]\n\n")
    assert back.cache_status == JOINED
    assert (len(server.calls), kept(gate)) == (1, 1)


def test_the_tokens_are_booked_once(gate: Gate, server: FaultServer, listen: Listen) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9))
    streams = [listen("chat") for _ in range(5)]
    for listener in streams:
        listener.events(9)
    wholes = [Posting(gate, "chat", question("chat")) for _ in range(5)]
    settle(gate, calls=10)
    pause.release()
    (content,) = {listener.rest() for listener in streams}
    usage = json.loads(whole_of("chat", content) or b"")["usage"]
    assert {posting.got.json["usage"]["total_tokens"] for posting in wholes} == {
        usage["total_tokens"]
    }
    until(lambda: ended(gate) == 10)
    row = gate.get("/api/metrics/llm").json["metrics"]["by_model"]["m"]
    assert (row["tokens_in"], row["tokens_out"]) == (
        usage["prompt_tokens"], usage["completion_tokens"],
    )  # fmt: skip
    assert (row["calls"], row["cache_misses"]) == (10, 10)
    assert server.bill().requests == 1


@pytest.mark.parametrize("operation", DIALECTS)
def test_two_credentials_never_join(
    gate: Gate, server: FaultServer, listen: Listen, operation: str
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, Usual(9), times=None)
    names = ["authorization", "authorization", "x-api-key"]
    listeners = [
        listen(operation, **{name: f"Bearer tenant-{number}" if number < 2 else "tenant-2"})
        for number, name in enumerate(names)
    ]
    for listener in listeners:
        listener.events(9)
    pause.wait_reached(3)
    pause.release()
    answers = [listener.rest() for listener in listeners]
    assert len(server.calls) == 3
    assert len({mark.tenant for answer in answers for mark in marks_in(answer)}) == 3
    assert [len(marks_in(answer)) for answer in answers] == [1, 1, 1]
