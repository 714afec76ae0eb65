"""The lower half of the exact cache: what it keeps, as what, and why it does not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.layers.fill import Fill
from headgate.stores.memory import MemoryStore
from headgate.stores.tiers import Tiers
from headgate.stream import Chunks, Value, Whole
from headgate.testing import FakeClock
from headgate.types import (
    EVERYTHING,
    Body,
    Call,
    Controls,
    Entry,
    Reply,
    Target,
    Usage,
    WireRequest,
)

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k" * 32, b"s" * 32, Target("p", "m"),
            ttl_s=60.0)  # fmt: skip
GOOD = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
CUT = b'{"choices":[{"finish_reason":"length"}]}'


class Scene:
    """The layer over real tiers."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.tiers = Tiers(MemoryStore(), None, self.clock)
        self.fill = Fill(self.tiers, self.clock)
        self.meanwhile: Any = lambda: None

    def ask(self, body: Body, call: Call = CALL, status: int = 200) -> Reply:
        async def below(_: Call) -> Reply:
            self.meanwhile()
            return Reply(status, ((b"content-type", b"application/json"),), body)

        return asyncio.run(self.fill(below)(call))

    def kept(self) -> list[Entry]:
        return self.tiers.list(EVERYTHING, limit=10)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_good_answer_is_kept_with_all_that_a_hit_needs(scene: Scene) -> None:
    call = replace(CALL, controls=Controls(namespace="n", tags=("a",)))
    reply = scene.ask(Whole(GOOD), call)
    assert (reply.provenance.stored, reply.usage) == (True, Usage(9, 1))
    assert scene.kept() == [
        Entry(
            key=CALL.key,
            scope=CALL.scope,
            model="m",
            operation="chat",
            created_s=scene.clock.epoch(),
            ttl_s=60.0,
            content=GOOD,
            kind="whole",
            status=200,
            headers=((b"content-type", b"application/json"),),
            usage=Usage(9, 1),
            target="p/m",
            finish="stop",
            namespace="n",
            tags=("a",),
        )
    ]
    assert scene.fill.skipped() == {}


REFUSED = [
    (GOOD, 500, {}, "status_5xx"),
    (b"not json", 200, {}, "not_parsed"),
    (CUT, 200, {}, "finish_length"),
    (GOOD, 200, {"bypass": "server_state"}, "server_state"),
    (GOOD, 200, {"controls": Controls(may_store=False)}, "no_store"),
]


@pytest.mark.parametrize(("content", "status", "changes", "reason"), REFUSED, ids=range(5))
def test_what_is_not_kept_is_passed_on_and_counted_by_its_reason(
    scene: Scene, content: bytes, status: int, changes: dict[str, Any], reason: str
) -> None:
    body = Whole(content)
    reply = scene.ask(body, replace(CALL, **changes), status)
    assert reply.body is body
    assert (reply.status, reply.provenance.stored) == (status, False)
    assert scene.kept() == []
    assert scene.fill.skipped() == {reason: 1}


def test_a_cut_answer_is_kept_where_the_request_set_the_limit(scene: Scene) -> None:
    assert scene.ask(Whole(CUT), replace(CALL, limit_explicit=True)).provenance.stored


def test_the_tokens_of_an_answer_that_is_not_kept_are_known_too(scene: Scene) -> None:
    call = replace(CALL, controls=Controls(may_store=False))
    assert scene.ask(Whole(GOOD), call).usage == Usage(9, 1)


def test_a_fresh_answer_is_kept_though_the_cache_was_not_asked(scene: Scene) -> None:
    reply = scene.ask(Whole(GOOD), replace(CALL, controls=Controls(may_read=False)))
    assert reply.provenance.stored
    assert len(scene.kept()) == 1


def test_a_json_value_is_kept_as_its_bytes(scene: Scene) -> None:
    scene.ask(Value.of({"a": [1]}))
    (entry,) = scene.kept()
    assert (entry.kind, entry.content, entry.held) == ("value", b'{"a":[1]}', None)


def test_another_object_is_kept_as_a_copy(scene: Scene) -> None:
    result = (1, ["a"])
    scene.ask(Value.of(result))
    result[1].append("changed later")
    (entry,) = scene.kept()
    assert (entry.kind, entry.content, entry.held) == ("object", b"", (1, ["a"]))


def test_a_value_that_cannot_be_copied_is_not_kept(scene: Scene) -> None:
    value = Value.of(threading.Lock())
    assert scene.ask(value).body is value
    assert scene.fill.skipped() == {"not_copyable": 1}


@pytest.mark.parametrize("body", [Whole(GOOD), Value.of("x")], ids=["whole", "value"])
def test_an_answer_under_way_when_something_was_removed_is_not_kept(
    scene: Scene, body: Body
) -> None:
    scene.meanwhile = lambda: scene.tiers.remove(EVERYTHING)
    scene.ask(body)
    assert scene.kept() == []
    assert scene.fill.skipped() == {"cleared": 1}
    scene.meanwhile = lambda: scene.tiers.remove(EVERYTHING, dry_run=True)
    assert scene.ask(Value.of("x")).provenance.stored


def test_a_stream_passes_untouched(scene: Scene) -> None:
    async def pieces() -> Any:
        yield b"a"

    body = Chunks(pieces())
    assert scene.ask(body, replace(CALL, bypass="stream")).body is body
    assert (scene.kept(), scene.fill.skipped()) == ([], {})


def test_an_exception_passes_and_nothing_is_kept(scene: Scene) -> None:
    def fail() -> None:
        raise ConnectionResetError("gone")

    scene.meanwhile = fail
    with pytest.raises(ConnectionResetError):
        scene.ask(Whole(GOOD))
    assert scene.kept() == []


def test_reasons_are_counted_from_any_thread(scene: Scene) -> None:
    call = replace(CALL, controls=Controls(may_store=False))

    def ask() -> None:
        for _ in range(50):
            scene.ask(Value.of("x"), call)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scene.fill.skipped() == {"no_store": 200}
