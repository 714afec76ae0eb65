"""The upper half of the exact cache: when it looks, what it hands out, what it lets through."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.core.fingerprint import shape_key
from headgate.errors import CacheOnlyMiss, Refused, StreamBroken, UpstreamUnreachable
from headgate.layers.cache import Serving, cache, entry_reply
from headgate.providers.fake import fake_reply
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
        self.outcome: int | Exception = 200
        self.serve()

    def serve(self, **serving: float) -> None:
        self._service = cache(self.tiers, self.clock, Serving(**serving))(self._below)

    async def _below(self, call: Call) -> Reply:
        self.asked.append(call)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Reply(self.outcome, (), Whole(UPSTREAM))

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


STALE = Controls(stale_if_error_s=30)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_a_stale_answer_stands_in_for_a_failed_attempt_and_says_so(
    scene: Scene, status: int
) -> None:
    scene.serve(max_stale_s=60)
    scene.put()
    scene.clock.advance(75)
    scene.outcome = status
    reply = scene.ask(STALE)
    assert (content(reply), reply.status) == (b"stored", 200)
    provenance = reply.provenance
    assert (provenance.hit, provenance.forward, provenance.forward_status) == (
        False, "stale", status,
    )  # fmt: skip
    assert (provenance.detail, provenance.age_s, provenance.ttl_s) == ("stale-if-error", 75, -15)
    assert len(scene.asked) == 1


def test_a_stale_answer_stands_in_for_an_attempt_without_an_answer(scene: Scene) -> None:
    scene.serve(max_stale_s=60)
    scene.put()
    scene.clock.advance(75)
    scene.outcome = UpstreamUnreachable("no connection")
    provenance = scene.ask(STALE).provenance
    assert (provenance.hit, provenance.forward, provenance.forward_status) == (False, "stale", 0)


def test_a_stale_answer_after_a_refusal_is_a_hit_past_its_time(scene: Scene) -> None:
    scene.serve(max_stale_s=60)
    scene.put()
    scene.clock.advance(75)
    scene.outcome = Refused("the breaker is open")
    provenance = scene.ask(STALE).provenance
    assert (provenance.hit, provenance.ttl_s, provenance.detail) == (True, -15, "stale-if-error")


def test_nobody_gets_a_stale_answer_who_did_not_ask_for_one(scene: Scene) -> None:
    scene.serve(max_stale_s=60)
    scene.put()
    scene.clock.advance(75)
    scene.outcome = 503
    assert scene.ask().status == 503
    scene.outcome = error = StreamBroken("cut")
    with pytest.raises(StreamBroken) as caught:
        scene.ask()
    assert caught.value is error


def test_an_operator_may_allow_stale_answers_to_everyone_and_a_caller_may_decline(
    scene: Scene,
) -> None:
    scene.serve(max_stale_s=60, stale_if_error_s=20)
    scene.put()
    scene.clock.advance(75)
    scene.outcome = 503
    assert content(scene.ask()) == b"stored"
    assert scene.ask(Controls(stale_if_error_s=0)).status == 503


@pytest.mark.parametrize(
    ("passed_s", "controls", "status"),
    [(91, STALE, 503), (121, Controls(stale_if_error_s=600), 503), (119, Controls(
        stale_if_error_s=600), 200), (75, Controls(stale_if_error_s=30, may_read=False), 503)],
    ids=["caller's limit", "operator's limit", "within it", "no-cache"],
)  # fmt: skip
def test_a_stale_answer_is_never_older_than_both_allow(
    scene: Scene, passed_s: float, controls: Controls, status: int
) -> None:
    scene.serve(max_stale_s=60)
    scene.put()
    scene.clock.advance(passed_s)
    scene.outcome = 503
    assert scene.ask(controls).status == status


@pytest.mark.parametrize("status", [400, 401, 404, 408, 422, 429])
def test_no_stale_answer_stands_in_for_an_answer(scene: Scene, status: int) -> None:
    scene.serve(max_stale_s=60)
    scene.put()
    scene.clock.advance(75)
    scene.outcome = status
    assert scene.ask(STALE).status == status


def streamed(scene: Scene, **changes: Any) -> Reply:
    return scene.ask(streamed=True, **changes)


async def read(reply: Reply) -> bytes:
    return b"".join([chunk async for chunk in reply.body])


def test_a_stored_stream_is_replayed_with_or_without_its_event_of_usage(scene: Scene) -> None:
    scene.put(kind="stream", content=b"a\n\nu\n\nb\n\n", usage_at=(3, 6))
    assert asyncio.run(read(streamed(scene))) == b"a\n\nu\n\nb\n\n"
    assert asyncio.run(read(streamed(scene, usage_wanted=False))) == b"a\n\nb\n\n"
    assert scene.asked == []


def test_one_entry_answers_both_shapes(scene: Scene) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    whole = fake_reply("chat", json.dumps(body).encode()).content
    usage = Usage(1, 1)
    scene.put(content=whole, usage=usage, headers=((b"content-type", b"application/json"),))
    reply = streamed(scene)
    assert dict(reply.headers)[b"content-type"].startswith(b"text/event-stream")
    stream = asyncio.run(read(reply))
    scene.put(kind="stream", content=stream, usage=usage, headers=reply.headers)
    reply = scene.ask()
    assert dict(reply.headers) == {b"content-type": b"application/json"}
    assert json.loads(content(reply)) == json.loads(whole)
    assert scene.asked == []


def test_what_cannot_be_converted_is_asked_for_under_a_key_of_its_shape(scene: Scene) -> None:
    own = shape_key(CALL.key, streamed=True)
    scene.put(content=b"no json")
    assert asyncio.run(read(streamed(scene))) == UPSTREAM
    assert [call.key for call in scene.asked] == [own]
    scene.put(key=own, kind="stream", content=b"data: 1\n\n")
    assert asyncio.run(read(streamed(scene))) == b"data: 1\n\n"
    assert content(scene.ask()) == b"no json"
    assert len(scene.asked) == 1
