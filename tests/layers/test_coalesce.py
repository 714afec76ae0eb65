"""Single flight, the layer alone: who shares a call, who does not, who would wait for ever.

Through the whole runtime, with threads and loops: tests/stacks/test_joining.py.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from layers.coalescing import WIRE, Scene, play, settle
from msgspec.structs import replace

from headgate.errors import StreamBroken
from headgate.joining.flight import Flight, FlightLimits
from headgate.layers.coalesce import coalesce
from headgate.stream import Value, Whole
from headgate.types import (
    NO_CONTROLS,
    Call,
    Controls,
    Invocation,
    Reply,
)


def library(key: bytes = b"k", *, held: frozenset[bytes] = frozenset(), thread_id: int = 0,
            blocks: bool = False) -> Call:  # fmt: skip
    async def run() -> None: ...

    return replace(WIRE, key=key, request=Invocation(run, thread_id, blocks, held))


def test_identical_calls_are_one_call_below() -> None:
    async def act(scene: Scene) -> None:
        replies = await scene.finish(await scene.begin(count=5))
        assert len(scene.asked) == 1
        flags = [(r.provenance.collapsed, r.provenance.stored) for r in replies]
        assert flags == [(False, True)] + [(True, False)] * 4

    play(act)


def test_everyone_has_a_body_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        for reply in await scene.finish(await scene.begin(count=3)):
            assert [chunk async for chunk in reply.body] == [b"answer"]

    play(act)


def test_a_call_after_the_answer_asks_again() -> None:
    async def act(scene: Scene) -> None:
        await scene.finish(await scene.begin())
        await scene.finish(await scene.begin())
        assert len(scene.asked) == 2

    play(act)


ALONE = [
    {"key": b""},
    {"bypass": "server_state"},
    {"controls": Controls(may_read=False)},
    {"controls": Controls(may_store=False)},
]


@pytest.mark.parametrize("changes", ALONE, ids=["key", "bypass", "no-cache", "no-store"])
def test_a_call_that_may_not_be_shared_goes_alone(changes: dict[str, Any]) -> None:
    async def act(scene: Scene) -> None:
        replies = await scene.finish(await scene.begin(replace(WIRE, **changes), 3))
        assert len(scene.asked) == 3
        assert not any(reply.provenance.collapsed for reply in replies)

    play(act)


def test_other_controls_do_not_keep_a_call_from_joining() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(replace(WIRE, controls=replace(NO_CONTROLS, tags=("a",))))
        await scene.finish(tasks + await scene.begin())
        assert len(scene.asked) == 1

    play(act)


def test_an_exception_reaches_everyone_and_the_next_call_asks_again() -> None:
    async def act(scene: Scene) -> None:
        scene.error = ConnectionResetError("gone")
        tasks = await scene.begin(count=3)
        scene.go.set()
        assert await asyncio.gather(*tasks, return_exceptions=True) == [scene.error] * 3
        scene.error = None
        await scene.finish(await scene.begin())
        assert len(scene.asked) == 2

    play(act)


def test_who_leaves_first_does_not_matter() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(count=4)
        tasks[0].cancel()
        tasks[2].cancel()
        await settle()
        assert scene.cancelled == []
        replies = await scene.finish([tasks[1], tasks[3]])
        assert [reply.status for reply in replies] == [200, 200]
        assert len(scene.asked) == 1

    play(act)


def test_the_last_one_who_leaves_takes_the_call_down() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(count=3)
        for task in tasks:
            assert scene.cancelled == []
            task.cancel()
            await settle()
        assert scene.cancelled == [b"k"]
        await scene.finish(await scene.begin())
        assert len(scene.asked) == 2

    play(act)


def test_who_comes_while_the_call_is_taken_down_asks_anew() -> None:
    async def act(scene: Scene) -> None:
        (leader,) = await scene.begin()
        leader.cancel()
        late = asyncio.ensure_future(scene._call(WIRE))
        await settle()
        (reply,) = await scene.finish([late])
        assert (len(scene.asked), reply.provenance.collapsed) == (2, False)

    play(act)


@pytest.mark.parametrize("ends", ["answer", "failure", "taken down"])
def test_a_call_that_comes_in_the_very_turn_in_which_a_flight_ends_does_not_stop_the_loop(
    ends: str,
) -> None:
    """The flight's task has ended, and nobody has been told yet: whoever comes now asks anew."""

    async def act(scene: Scene) -> None:
        ending = asyncio.Event()

        async def below(call: Call) -> Reply:
            if scene.asked:
                return await scene._below(call)
            scene.asked.append(call)
            await scene.go.wait()
            ending.set()  # who waits for it goes on when this task has ended, and before it lands
            if ends == "failure":
                raise StreamBroken("cut")
            if ends == "taken down":
                raise asyncio.CancelledError
            return Reply(200, (), Whole(b"x"))

        service = coalesce(FlightLimits())(below)

        async def ask() -> Reply:
            return await service(WIRE)

        async def ask_late() -> Reply:
            await ending.wait()
            return await ask()

        first, late = asyncio.ensure_future(ask()), asyncio.ensure_future(ask_late())
        await settle()
        scene.go.set()
        await asyncio.gather(first, return_exceptions=True)
        assert (await late).status == 200
        assert len(scene.asked) == 2

    play(act)


def test_a_call_cancelled_from_outside_is_asked_anew_by_one_of_the_others() -> None:
    async def act(scene: Scene) -> None:
        async def cancelled_once(call: Call) -> Reply:
            reply = await scene._below(call)
            if len(scene.asked) == 1:
                raise asyncio.CancelledError
            return reply

        service = coalesce(FlightLimits())(cancelled_once)

        async def ask() -> Reply:
            return await service(WIRE)

        tasks = [asyncio.ensure_future(ask()) for _ in range(4)]
        await settle()
        scene.go.set()
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert [isinstance(reply, Reply) for reply in others] == [True] * 3
        assert len(scene.asked) == 2

    play(act)


def test_what_cannot_be_copied_is_asked_for_by_everyone() -> None:
    async def act(scene: Scene) -> None:
        scene.body = lambda: Value.of(threading.Lock())
        replies = await scene.finish(await scene.begin(count=3))
        assert len(scene.asked) == 3
        assert len({id(reply.body) for reply in replies}) == 3

    play(act)


def test_a_call_does_not_join_one_that_waits_for_it() -> None:
    async def act(scene: Scene) -> None:
        outer = await scene.begin(library())
        inner = await scene.begin(library(held=frozenset({b"k"})))
        await scene.finish(outer + inner)
        assert len(scene.asked) == 2

    play(act)


def test_a_thread_does_not_wait_for_what_only_it_can_do() -> None:
    async def act(scene: Scene) -> None:
        asynchronous = await scene.begin(library(thread_id=7))
        another_thread = await scene.begin(library(thread_id=8, blocks=True))
        assert len(scene.asked) == 1
        same_thread = await scene.begin(library(thread_id=7, blocks=True))
        assert len(scene.asked) == 2
        same_thread_later = await scene.begin(library(thread_id=7))
        await scene.finish(asynchronous + another_thread + same_thread + same_thread_later)
        assert len(scene.asked) == 2

    play(act)


def test_no_ring_of_calls_waits_for_itself() -> None:
    """a asks b, b asks c, and c asks a: the last one goes alone."""

    async def act(scene: Scene) -> None:
        tasks = [await scene.begin(library(key)) for key in (b"a", b"b", b"c")]
        for above, wanted in ((b"a", b"b"), (b"b", b"c")):
            tasks.append(await scene.begin(library(wanted, held=frozenset({above}))))
            assert len(scene.asked) == 3
        tasks.append(await scene.begin(library(b"a", held=frozenset({b"c"}))))
        assert len(scene.asked) == 4
        await scene.finish([task for some in tasks for task in some])

    play(act)


def test_no_ring_goes_through_a_blocked_thread() -> None:
    """Thread 7 runs the loop of call a and is blocked by a call that joined b; b asks a."""

    async def act(scene: Scene) -> None:
        tasks = await scene.begin(library(b"a", thread_id=7))
        tasks += await scene.begin(library(b"b", thread_id=8))
        tasks += await scene.begin(library(b"b", thread_id=7, blocks=True))
        assert len(scene.asked) == 2
        tasks += await scene.begin(library(b"a", thread_id=8, held=frozenset({b"b"})))
        assert len(scene.asked) == 3
        await scene.finish(tasks)

    play(act)


def test_a_wait_that_is_over_is_no_reason_to_go_alone() -> None:
    async def act(scene: Scene) -> None:
        tasks = [await scene.begin(library(key)) for key in (b"a", b"b")]
        (waiting,) = await scene.begin(library(b"b", held=frozenset({b"a"})))
        waiting.cancel()
        await settle()
        tasks.append(await scene.begin(library(b"a", held=frozenset({b"b"}))))
        assert len(scene.asked) == 2
        await scene.finish([task for some in tasks for task in some])

    play(act)


def test_calls_under_a_common_call_may_join_each_other() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(library(b"outer"))
        tasks += await scene.begin(library(b"k", held=frozenset({b"outer"})), 3)
        await scene.finish(tasks)
        assert len(scene.asked) == 2

    play(act)


def test_flights_under_way_stand_in_the_table_that_was_given() -> None:
    async def act(scene: Scene) -> None:
        flights: dict[bytes, Flight] = {}
        scene.count_in(flights)
        tasks = await scene.begin(count=3) + await scene.begin(replace(WIRE, key=b"other"))
        assert [flight.model for flight in flights.values()] == ["m", "m"]
        await scene.finish(tasks)
        assert flights == {}

    play(act)
