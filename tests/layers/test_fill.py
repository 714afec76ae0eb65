"""The lower half of the exact cache: what it keeps, as what, and why it does not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.errors import StreamBroken, UpstreamFailed, UpstreamTimeout
from headgate.layers.fill import Fill
from headgate.metrics import Metrics
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
    Policy,
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
        self.metrics = Metrics()
        self.fill = Fill(self.tiers, self.clock, self.metrics, entry_max_bytes=5_000)
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


STREAMED = replace(CALL, streamed=True)
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"Paris"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = DELTA + FINISH + USAGE + DONE


def chunks(*pieces: bytes | Exception) -> Chunks:
    async def stream() -> Any:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return Chunks(stream())


def read(scene: Scene, *pieces: bytes | Exception, call: Call = STREAMED, most: int = 99) -> Any:
    """What a reader of `most` chunks had of a stream, and how it ended."""

    async def act() -> tuple[bytes, BaseException | None]:
        async def below(_: Call) -> Reply:
            return Reply(200, ((b"content-type", b"text/event-stream"),), chunks(*pieces))

        reply = await scene.fill(below)(call)
        had, broke = b"", None
        try:
            async for chunk in reply.body:
                had += chunk
                most_left.pop()
                if not most_left:
                    break
        except UpstreamFailed as error:
            broke = error
        await reply.body.aclose()
        return had, broke

    most_left = list(range(most))
    return asyncio.run(act())


def test_a_complete_stream_is_kept_as_its_events(scene: Scene) -> None:
    assert read(scene, DELTA, FINISH, USAGE, DONE) == (STREAM, None)
    (entry,) = scene.kept()
    assert (entry.kind, entry.content, entry.finish) == ("stream", STREAM, "stop")
    begin, end = entry.usage_at
    assert entry.content[begin:end] == USAGE
    assert (entry.usage, entry.ttl_s, scene.fill.skipped()) == (Usage(9, 1), 60.0, {})


def test_a_stream_is_kept_when_its_marker_has_passed_though_the_reader_stops_there(
    scene: Scene,
) -> None:
    read(scene, DELTA, FINISH, DONE, b": the rest\n\n", most=3)
    (entry,) = scene.kept()
    assert entry.content == DELTA + FINISH + DONE


NOT_KEPT: list[tuple[list[bytes | Exception], dict[str, Any], str]] = [
    ([DELTA, FINISH], {}, "stream_broken"),
    ([DELTA, FINISH, StreamBroken("cut")], {}, "stream_broken"),
    ([DELTA, UpstreamTimeout("slow", stage="idle")], {}, "upstream_timeout"),
    ([DELTA, b"data: {nonsense\n\n", DONE], {}, "upstream_garbled"),
    ([DELTA, b'data: {"error":{"message":"x"}}\n\n', DONE], {}, "error_in_answer"),
    ([DELTA, DONE], {}, "finish_unknown"),
    ([STREAM], {"choices": 2}, "incomplete"),
    ([STREAM], {"streamed": False}, "shape"),
    ([DELTA * 100, FINISH, DONE], {}, "too_large"),
    ([STREAM], {"controls": Controls(may_store=False)}, "no_store"),
    ([STREAM], {"bypass": "server_state"}, "server_state"),
]


@pytest.mark.parametrize(("pieces", "changes", "reason"), NOT_KEPT, ids=range(len(NOT_KEPT)))
def test_a_stream_that_is_not_kept_is_counted_by_its_reason(
    scene: Scene, pieces: list[bytes | Exception], changes: dict[str, Any], reason: str
) -> None:
    read(scene, *pieces, call=replace(STREAMED, **changes))
    assert scene.kept() == []
    assert scene.fill.skipped() == {reason: 1}


def test_a_stream_whose_reader_leaves_early_is_not_kept(scene: Scene) -> None:
    read(scene, DELTA, FINISH, DONE, most=1)
    assert (scene.kept(), scene.fill.skipped()) == ([], {"abandoned": 1})


def test_a_stream_of_an_operation_without_streams_passes_untouched(scene: Scene) -> None:
    body = chunks(b"a")
    call = replace(STREAMED, operation="embeddings")
    assert scene.ask(body, call).body is body
    assert scene.ask(body, STREAMED, status=206).body is body
    assert scene.fill.skipped() == {}


def test_a_whole_answer_to_a_streamed_call_is_not_kept(scene: Scene) -> None:
    scene.ask(Whole(GOOD), STREAMED)
    assert scene.fill.skipped() == {"shape": 1}


def test_an_answer_over_the_limit_is_not_kept(scene: Scene) -> None:
    scene.ask(Whole(GOOD + b" " * 5_000))
    assert scene.fill.skipped() == {"too_large": 1}


TOOLS = b'{"choices":[{"finish_reason":"tool_calls","message":{"tool_calls":[]}}]}'
REFUSAL = b'{"choices":[{"finish_reason":"content_filter"}]}'
POLICIES = [
    (TOOLS, Policy(), "", 60.0),
    (TOOLS, Policy(tool_calls=False), "tool_calls", 0.0),
    (REFUSAL, Policy(), "finish_content_filter", 0.0),
    (REFUSAL, Policy(refusal_ttl_s=5.0), "", 5.0),
    (REFUSAL, Policy(refusal_ttl_s=500.0), "", 60.0),
    (CUT, Policy(), "", 60.0),
    (CUT, Policy(truncated=False), "finish_length", 0.0),
]


@pytest.mark.parametrize(("content", "policy", "reason", "ttl_s"), POLICIES, ids=range(7))
def test_the_policy_of_a_model_decides_what_is_kept_and_for_how_long(
    scene: Scene, content: bytes, policy: Policy, reason: str, ttl_s: float
) -> None:
    scene.ask(Whole(content), replace(CALL, policy=policy, limit_explicit=True))
    assert [entry.ttl_s for entry in scene.kept()] == ([] if reason else [ttl_s])
    assert scene.fill.skipped() == ({reason: 1} if reason else {})


def test_tokens_are_booked_once_for_every_answer_kept_or_not(scene: Scene) -> None:
    scene.ask(Whole(GOOD))
    scene.ask(Whole(GOOD), replace(CALL, bypass="server_state"))
    scene.ask(Value.of({"usage": {"prompt_tokens": 1}}))
    read(scene, STREAM)
    read(scene, STREAM, call=replace(STREAMED, controls=Controls(may_store=False)))
    assert scene.metrics.snapshot()["by_model"]["m"]["tokens"] == 40


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
