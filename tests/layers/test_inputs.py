"""Embeddings calls taken apart, and put together again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from limiting import LoopClock
from msgspec.structs import replace
from vectors import NO_STORE, Scene, Upstream, vector_of
from virtualtime import run

from headgate.errors import UpstreamTimeout
from headgate.layers.inputs import inputs
from headgate.stores.memory import MemoryStore
from headgate.stores.tiers import Tiers
from headgate.stream import Whole
from headgate.types import Call, Entry, Reply, Usage


class Below:
    """What stands below; answers each input by itself."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.errors: dict[bytes, Exception] = {}
        self.left = 0

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        written = call.seat.written
        try:
            await asyncio.sleep(0.01 if written in self.errors else 1.0)
        except asyncio.CancelledError:
            self.left += 1
            raise
        if written in self.errors:
            raise self.errors[written]
        return Reply(200, (), Whole(one(json.loads(written))), Usage(1))


def one(text: str) -> bytes:
    item = {"index": 0, "embedding": vector_of(text)}
    return json.dumps({"data": [item], "usage": {"total_tokens": 1}}).encode()


def entry(call: Call, content: bytes) -> Entry:
    return Entry(call.key, call.scope, "m", "embeddings", 0.0, 60.0, content, usage=Usage(1))


def play(act: Any) -> None:
    async def scene() -> None:
        tiers, below = Tiers(MemoryStore(), None, LoopClock()), Below()
        service = inputs(tiers, LoopClock(), frozenset({"user"}))(below)
        await act(Scene(Upstream()), service, below, tiers)

    run(scene())


def test_what_has_no_inputs_and_what_is_not_to_be_kept_pass_without_a_frame() -> None:
    asked: list[Call] = []
    service = inputs(Tiers(MemoryStore(), None, LoopClock()), LoopClock(), ())(
        lambda call: asked.append(call) or 7  # type: ignore[arg-type, func-returns-value, return-value]
    )

    async def scene() -> None:
        made = Scene(Upstream())
        for call in (
            made.call({"text": "a"}),
            made.call(["a", "b"], "alice", NO_STORE),
            made.call(["a"], stream=True),
            replace(made.call("a"), operation="chat", inputs=None),
        ):
            assert service(call) == 7
            assert asked[-1] is call

    run(scene())


def test_one_input_gets_a_seat_and_its_call_stays_as_it_is() -> None:
    async def act(scene: Scene, service: Any, below: Below, _: Tiers) -> None:
        call = scene.call(["a"])
        below.errors[b""] = UpstreamTimeout("late", stage="total")
        with pytest.raises(UpstreamTimeout):
            await service(call)
        (seen,) = below.calls
        assert replace(seen, seat=None) == call
        assert seen.seat.party is None

    play(act)


def test_each_input_is_asked_for_under_the_key_that_it_has_alone() -> None:
    async def act(scene: Scene, service: Any, below: Below, _: Tiers) -> None:
        await service(scene.call(["a", "b", "a"], user="u"))
        assert [call.key for call in below.calls] == [scene.call("a").key, scene.call("b").key]
        party = below.calls[0].seat.party
        assert (party.size, party.tokens) == (2, 2)
        assert all(call.seat.party is party and call.seat.is_absent for call in below.calls)

    play(act)


def test_an_entry_that_is_no_answer_to_one_input_is_none() -> None:
    async def act(scene: Scene, service: Any, below: Below, tiers: Tiers) -> None:
        tiers.put(entry(scene.call("a"), b'{"data":[]}'))
        tiers.put(entry(scene.call("b"), one("b")))
        reply = await service(scene.call(["a", "b"]))
        assert [call.seat.written for call in below.calls] == [b'"a"']
        vectors = [item["embedding"] for item in json.loads(reply.body.content)["data"]]
        assert vectors == [vector_of("a"), vector_of("b")]

    play(act)


def test_where_one_fails_nobody_waits_for_the_others() -> None:
    async def act(scene: Scene, service: Any, below: Below, _: Tiers) -> None:
        for text in (b'"b"', b'"c"'):
            below.errors[text] = UpstreamTimeout(text.decode(), stage="total")
        with pytest.raises(UpstreamTimeout, match='"b"'):
            await service(scene.call(["a", "b", "c"]))
        await asyncio.sleep(0)
        assert below.left == 1

    play(act)


def test_who_leaves_takes_all_of_its_inputs_along() -> None:
    async def act(scene: Scene, service: Any, below: Below, _: Tiers) -> None:
        task = asyncio.ensure_future(service(scene.call(["a", "b", "c"])))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert below.left == 3

    play(act)
