"""The upper half of the exact cache: when it looks, what it hands out, what it lets through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.errors import CacheOnlyMiss
from headgate.layers.cache import cache, entry_reply
from headgate.stores.memory import MemoryStore
from headgate.stores.tiers import Tiers
from headgate.stream import Value, Whole
from headgate.testing import FakeClock
from headgate.types import Call, Controls, Entry, Reply, Target, Usage, WireRequest

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k" * 32, b"s" * 32, Target("p", "m"))
UPSTREAM = b"from upstream"


class Scene:
    """The layer over real tiers, and what reached the service below it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.tiers = Tiers(MemoryStore(), None, self.clock)
        self.asked: list[Call] = []
        self._service = cache(self.tiers, self.clock)(self._below)

    async def _below(self, call: Call) -> Reply:
        self.asked.append(call)
        return Reply(200, (), Whole(UPSTREAM))

    def put(self, **changes: Any) -> Entry:
        entry = Entry(CALL.key, CALL.scope, "m", "chat", self.clock.epoch(), 60.0, b"stored")
        entry = replace(entry, **changes)
        self.tiers.put(entry)
        return entry

    def ask(self, controls: Controls | None = None, **changes: Any) -> Reply:
        call = replace(CALL, controls=controls or Controls(), **changes)
        return asyncio.run(self._service(call))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def content(reply: Reply) -> bytes:
    assert isinstance(reply.body, Whole)
    return reply.body.content


def test_a_stored_answer_is_a_hit_and_nobody_is_asked(scene: Scene) -> None:
    headers = ((b"content-type", b"application/json"),)
    scene.put(headers=headers, usage=Usage(9, 1), target="p/m", status=200)
    scene.clock.advance(15)
    reply = scene.ask()
    assert (content(reply), reply.headers, reply.usage) == (b"stored", headers, Usage(9, 1))
    provenance = reply.provenance
    assert (provenance.hit, provenance.age_s, provenance.ttl_s) == (True, 15.0, 45.0)
    assert (provenance.target, provenance.key) == ("p/m", CALL.key)
    assert scene.asked == []


def test_a_miss_is_asked_below(scene: Scene) -> None:
    reply = scene.ask()
    assert (content(reply), reply.provenance.hit, reply.provenance.forward) == (
        UPSTREAM, False, "miss",
    )  # fmt: skip
    assert len(scene.asked) == 1


def test_another_key_is_another_question(scene: Scene) -> None:
    scene.put()
    assert content(scene.ask(key=b"x" * 32)) == UPSTREAM


def test_an_entry_past_its_time_is_a_miss(scene: Scene) -> None:
    scene.put()
    scene.clock.advance(60)
    assert content(scene.ask()) == UPSTREAM


@pytest.mark.parametrize("reason", ["stream", "server_state"])
def test_a_call_that_bypasses_the_cache_does_not_look(scene: Scene, reason: str) -> None:
    scene.put()
    reply = scene.ask(bypass=reason)
    assert (content(reply), reply.provenance.forward) == (UPSTREAM, "bypass")


def test_no_cache_does_not_look(scene: Scene) -> None:
    scene.put()
    reply = scene.ask(Controls(may_read=False))
    assert (content(reply), reply.provenance.forward) == (UPSTREAM, "bypass")


def test_an_answer_older_than_the_caller_allows_is_a_miss(scene: Scene) -> None:
    scene.put()
    scene.clock.advance(10)
    assert content(scene.ask(Controls(max_age_s=10))) == b"stored"
    assert content(scene.ask(Controls(max_age_s=9.9))) == UPSTREAM


def test_a_caller_may_want_a_shorter_life(scene: Scene) -> None:
    scene.put()
    scene.clock.advance(10)
    assert content(scene.ask(Controls(ttl_s=11))) == b"stored"
    assert content(scene.ask(Controls(ttl_s=10))) == UPSTREAM


def test_only_if_cached_asks_nobody(scene: Scene) -> None:
    with pytest.raises(CacheOnlyMiss):
        scene.ask(Controls(only_if_cached=True))
    scene.put()
    assert content(scene.ask(Controls(only_if_cached=True))) == b"stored"
    with pytest.raises(CacheOnlyMiss):
        scene.ask(Controls(only_if_cached=True), bypass="stream")
    assert scene.asked == []


def test_a_hit_may_be_read_again_and_again(scene: Scene) -> None:
    scene.put()

    async def read(reply: Reply) -> bytes:
        return b"".join([chunk async for chunk in reply.body])

    assert [asyncio.run(read(scene.ask())) for _ in range(2)] == [b"stored"] * 2


def test_a_stored_value_is_handed_out_as_a_copy(scene: Scene) -> None:
    for kind, kept, held in [("value", b'{"a":[1]}', None), ("object", b"", {"a": [1]})]:
        scene.put(kind=kind, content=kept, held=held)
        bodies = [scene.ask().body for _ in range(2)]
        copies = [body.copy() for body in bodies if isinstance(body, Value)]
        assert copies == [{"a": [1]}] * 2
        copies[0]["a"].append(2)
        assert copies[1] == {"a": [1]}


def test_an_entry_from_the_near_future_has_no_negative_age(scene: Scene) -> None:
    entry = scene.put(created_s=scene.clock.epoch() + 5)
    reply = entry_reply(entry, scene.clock.epoch())
    assert (reply.provenance.age_s, reply.provenance.ttl_s) == (0.0, 65.0)
