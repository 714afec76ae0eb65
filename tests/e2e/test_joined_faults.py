"""Identical calls under way whose provider fails or whose first caller goes: who hears of it, and
what it costs upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from dialects import DIALECTS, question, streamed
from gates import Gate, Got, gate_before
from listening import Listener, Posting, settle
from programs import until

from headgate.core.shapes import whole_of
from headgate.testing import (
    CutAt,
    FaultServer,
    FaultStep,
    Pause,
    Status,
    Usual,
    marks_in,
)

FOLLOWERS = 100
SHAPES = {"whole": question, "streamed": streamed}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=7) as running:
        yield running


@pytest.fixture
def gate(server: FaultServer) -> Iterator[Gate]:
    with gate_before(server) as running:
        yield running


class Crowd:
    """A first caller and many that join it; all of them wait for their reply. `shapes` go round."""

    def __init__(
        self, gate: Gate, server: FaultServer, operation: str, *shapes: str, **headers: str
    ) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = [SHAPES[shape](operation) for shape in shapes]
        self.leader = Listener(gate, operation, asked[0], named)
        server.wait_for_calls(1)
        self.followers = [
            Listener(gate, operation, asked[number % len(asked)]) for number in range(FOLLOWERS)
        ]
        settle(gate)

    def replies(self) -> list[Got]:
        """Those of the followers."""
        return [self._reply(follower) for follower in self.followers]

    def close(self) -> None:
        for listener in (self.leader, *self.followers):
            listener.close()

    @staticmethod
    def _reply(listener: Listener) -> Got:
        body = listener.rest()
        return Got(listener.reply.status, dict(listener.reply.headers.items()), body)


@pytest.fixture
def crowd(gate: Gate, server: FaultServer) -> Iterator[Callable[..., Crowd]]:
    with ExitStack() as stack:

        def gather(*shapes: str, operation: str = "chat", at: Gate = gate, **headers: str) -> Crowd:
            made = Crowd(at, server, operation, *(shapes or SHAPES), **headers)
            stack.callback(made.close)
            return made

        yield gather


def held(server: FaultServer, *faults: FaultStep) -> Pause:
    """The next call waits for the pause, then the faults befall it."""
    pause = Pause()
    server.script(pause, *faults)
    return pause


def answers(replies: list[Got]) -> set[bytes]:
    """The bodies of good replies; a stream as the whole answer that it is."""
    assert {got.status for got in replies} == {200}
    bodies = set()
    for got in replies:
        is_stream = got.body.startswith(b"data: ")
        bodies.add(whole_of("chat", got.body) or b"" if is_stream else got.body)
    return bodies


def calls(server: FaultServer) -> list[str]:
    """How each call upstream ended."""
    return [call.ended for call in server.calls]


Gather = Callable[..., Crowd]
BEFORE_AN_ANSWER: dict[str, tuple[FaultStep, ...]] = {
    "cut before the head": (CutAt(None),),
    "reset before the head": (CutAt(None, by="rst"),),
    "cut before the first event": (CutAt(20),),
    "server error": (Status(500),),
    "overloaded": (Status(529),),
}


@pytest.mark.parametrize("shapes", [["whole"], ["streamed"], ["streamed", "whole"]], ids="+".join)
@pytest.mark.parametrize("faults", BEFORE_AN_ANSWER.values(), ids=BEFORE_AN_ANSWER)
def test_a_call_that_fails_before_its_answer_is_asked_once_more_for_all_who_joined(
    crowd: Gather, server: FaultServer, faults: tuple[FaultStep, ...], shapes: list[str]
) -> None:
    pause = held(server, *faults)
    gathered = crowd(*shapes)
    pause.release()
    assert gathered.leader.reply.status in (500, 502, 529), "the first caller hears of it"
    (body,) = answers(gathered.replies())
    assert {mark.serial for mark in marks_in(body)} == {2}
    assert len(server.calls) == 2


@pytest.mark.parametrize("faults", [(CutAt(None),), (Status(503),)], ids=["cut", "status"])
def test_a_second_failure_is_said_to_everyone(
    crowd: Gather, server: FaultServer, faults: tuple[FaultStep, ...]
) -> None:
    first, second = held(server, *faults), held(server, *faults)
    gathered = crowd()
    first.release()
    server.wait_for_calls(2)
    second.release()
    statuses = {got.status for got in gathered.replies()}
    assert statuses == {gathered.leader.reply.status}
    assert statuses < {502, 503}
    assert len(server.calls) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429])
def test_an_error_that_another_call_would_meet_again_is_everyones_answer(
    crowd: Gather, server: FaultServer, status: int
) -> None:
    pause = held(server, Status(status, headers={"retry-after": "7"}))
    gathered = crowd()
    pause.release()
    replies = gathered.replies()
    assert {got.status for got in replies} == {status}
    assert {got.body for got in replies} == {gathered.leader.rest()}
    assert {got.headers["retry-after"] for got in replies} == {"7"}
    assert len(server.calls) == 1


@pytest.mark.parametrize("operation", DIALECTS)
def test_a_stream_that_breaks_after_its_first_content_breaks_for_all_of_them(
    gate: Gate, server: FaultServer, operation: str
) -> None:
    pause = Pause()
    server.script(Usual(0, 9), pause, CutAt(0))
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(Listener(gate, operation, streamed(operation))) for _ in range(10)
        ]
        begun = {listener.events(9) for listener in listeners}.pop()
        whole = Posting(gate, operation, question(operation))
        settle(gate, calls=11)
        pause.release()
        (said,) = {listener.rest() for listener in listeners}
    assert said.startswith(begun)
    assert b"stream_broken" in said[len(begun) :]
    assert whole.got.status == 200, "it had nothing yet: for it the call was made once more"
    assert [call.is_streamed for call in server.calls] == [True, False]
    assert gate.stats()["cache"]["not_stored"] == {"stream_broken": 1}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_followers_do_not_notice_that_the_first_caller_left(
    crowd: Gather, gate: Gate, server: FaultServer, shape: str
) -> None:
    pause = held(server)
    gathered = crowd(shape)
    gathered.leader.leave()
    until(lambda: gate.stats()["metrics"]["total_calls"] == 1)
    pause.release()
    assert len(answers(gathered.replies())) == 1
    assert calls(server) == ["complete"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_followers_do_not_notice_that_the_first_callers_time_is_up(
    crowd: Gather, server: FaultServer, shape: str
) -> None:
    pause = held(server)
    gathered = crowd(shape, headgate_deadline="3s")
    assert gathered.leader.reply.status == 504
    pause.release()
    assert len(answers(gathered.replies())) == 1
    assert calls(server) == ["complete"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_that_takes_too_long_is_made_once_more_for_a_hundred_followers(
    crowd: Gather, server: FaultServer, shape: str
) -> None:
    with gate_before(server, first_byte_timeout=3.0) as gate:
        held(server)
        gathered = crowd(shape, at=gate)
        assert gathered.leader.reply.status == 504
        (body,) = answers(gathered.replies())
    assert {mark.serial for mark in marks_in(body)} == {2}
    assert len(server.calls) == 2
