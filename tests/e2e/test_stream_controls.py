"""What callers say about the cache, for streams: the meanings of RFC 9111 and RFC 5861, and the
headers that tell how a reply came about. Time is a clock that the tests move.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from dialects import DIALECTS, PATHS, clients_at, question, streamed
from gates import Gate, Got, gate_before

from headgate.layers.settings import CacheConfig
from headgate.testing import (
    CutAt,
    FakeClock,
    FaultServer,
    FaultStep,
    Pause,
    Status,
    Usual,
    marks_in,
)

TTL_S = 600
CACHE = CacheConfig(ttl=TTL_S, max_stale=300)
SHAPES = {"whole": question, "streamed": streamed}
MISS, BYPASS = "headgate; fwd=miss", "headgate; fwd=bypass"


class Scene:
    """A gateway whose time stands still until `clock` is moved, before a provider that marks its
    answers."""

    def __init__(self, server: FaultServer, gate: Gate, clock: FakeClock) -> None:
        self.server = server
        self.gate = gate
        self.clock = clock

    def ask(self, operation: str = "chat", body: Any = None, **controls: str) -> Got:
        """The reply to a stream, or to `body`; `controls` are headers with underscores."""
        named = {name.replace("_", "-"): value for name, value in controls.items()}
        return self.gate.post(PATHS[operation], body or streamed(operation), named)


@pytest.fixture
def scene() -> Iterator[Scene]:
    clock = FakeClock()
    with FaultServer(seed=7) as server, gate_before(server, CACHE, clock) as gate:
        yield Scene(server, gate, clock)


def serial(got: Got) -> int:
    """Which of the provider's answers it is."""
    (mark,) = marks_in(got.body)
    return mark.serial


def told(got: Got) -> tuple[str, str | None]:
    """Cache-Status and Age."""
    return got.headers["cache-status"], got.headers.get("age")


@pytest.mark.parametrize("operation", DIALECTS)
def test_a_stream_says_how_it_came_about(scene: Scene, operation: str) -> None:
    first = scene.ask(operation)
    scene.clock.advance(40)
    again = scene.ask(operation)
    whole = scene.ask(operation, question(operation))
    assert told(first) == (MISS, None), "at its head nobody knows yet whether it can be kept"
    assert told(again) == told(whole) == (f"headgate; hit; ttl={TTL_S - 40}", "40")
    assert again.body == first.body
    for got, attempts in ((first, "1"), (again, "0"), (whole, "0")):
        assert got.headers["headgate-attempts"] == attempts
        assert got.headers["headgate-key"] == first.headers["headgate-key"]
        assert got.headers["headgate-target"].endswith("/m")


@pytest.mark.parametrize("operation", DIALECTS)
def test_no_cache_asks_again_and_keeps_the_fresh_stream(scene: Scene, operation: str) -> None:
    scene.ask(operation)
    fresh = scene.ask(operation, cache_control="no-cache")
    assert (told(fresh), serial(fresh)) == ((BYPASS, None), 2)
    for shape in SHAPES.values():
        assert serial(scene.ask(operation, shape(operation))) == 2
    assert len(scene.server.calls) == 2


@pytest.mark.parametrize("operation", DIALECTS)
def test_no_store_neither_reads_nor_keeps_a_stream(scene: Scene, operation: str) -> None:
    replies = [
        scene.ask(operation, **headers)
        for headers in ({"cache_control": "no-store"}, {}, {"cache_control": "no-store"}, {})
    ]
    assert [serial(got) for got in replies] == [1, 2, 3, 2]
    assert [told(got)[0] for got in replies[:3]] == [BYPASS, MISS, BYPASS]
    assert scene.gate.stats()["cache"]["not_stored"] == {"no_store": 2}


@pytest.mark.parametrize("control", ["no-store", "no-cache"])
def test_who_does_not_want_the_cache_does_not_join(scene: Scene, control: str) -> None:
    pause = Pause()
    scene.server.script(Usual(0, 9), pause, Usual(9))
    with clients_at(scene.gate.url) as clients:
        create = clients.resource("chat").create
        with create(**streamed("chat")) as first:
            next(iter(first))
            headers = {"cache-control": control}
            with create(**streamed("chat"), extra_headers=headers) as other:
                assert list(other), "while the first one is held back"
            pause.release()
            assert list(first)
    assert len(scene.server.calls) == 2


@pytest.mark.parametrize("first", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("operation", DIALECTS)
def test_max_age_takes_only_what_is_young_enough(scene: Scene, operation: str, first: Any) -> None:
    scene.ask(operation, first(operation))
    scene.clock.advance(100)
    young = scene.ask(operation, cache_control="max-age=100")
    assert (told(young), serial(young)) == ((f"headgate; hit; ttl={TTL_S - 100}", "100"), 1)
    old = scene.ask(operation, cache_control="max-age=99")
    assert (told(old), serial(old)) == ((MISS, None), 2)
    assert serial(scene.ask(operation)) == 2, "the new answer took the place of the old one"


@pytest.mark.parametrize("first", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("operation", DIALECTS)
def test_only_if_cached_never_asks(scene: Scene, operation: str, first: Any) -> None:
    wanted = {"cache-control": "only-if-cached"}
    with clients_at(scene.gate.url) as clients:
        create = clients.resource(operation).create
        with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)) as caught:
            create(**streamed(operation), extra_headers=wanted)
        assert caught.value.status_code == 504
        assert "only-if-cached" in str(caught.value)
        assert scene.server.calls == []
        answer = create(**first(operation))
        if first is streamed:
            with answer:
                assert list(answer)
        with create(**streamed(operation), extra_headers=wanted) as stream:
            assert list(stream)
        assert create(**question(operation), extra_headers=wanted)
    assert len(scene.server.calls) == 1


@pytest.mark.parametrize("operation", DIALECTS)
def test_a_caller_may_ask_for_less_time_and_never_for_more(scene: Scene, operation: str) -> None:
    scene.ask(operation, headgate_ttl="30s")
    assert told(scene.ask(operation)) == ("headgate; hit; ttl=30", "0")
    scene.clock.advance(30)
    assert serial(scene.ask(operation, headgate_ttl="10h")) == 2
    assert told(scene.ask(operation)) == (f"headgate; hit; ttl={TTL_S}", "0")


def test_a_streams_time_ends(scene: Scene) -> None:
    scene.ask()
    scene.clock.advance(TTL_S - 1)
    assert told(scene.ask()) == ("headgate; hit; ttl=1", str(TTL_S - 1))
    scene.clock.advance(1)
    assert told(scene.ask()) == (MISS, None)


FAILURES: dict[str, tuple[tuple[FaultStep, ...], str]] = {
    "500": ((Status(500),), "; fwd-status=500"),
    "503": ((Status(503),), "; fwd-status=503"),
    "529": ((Status(529),), "; fwd-status=529"),
    "cut before the head": ((CutAt(None),), ""),
    "cut before the first event": ((CutAt(30),), ""),
}


@pytest.mark.parametrize("first", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("operation", DIALECTS)
def test_a_stale_stream_stands_in_for_a_failed_attempt_and_says_so(
    scene: Scene, operation: str, failure: str, first: Any
) -> None:
    steps, status = FAILURES[failure]
    scene.ask(operation, first(operation))
    good = scene.ask(operation)
    scene.clock.advance(TTL_S + 15)
    scene.server.script(*steps)
    stale = scene.ask(operation, cache_control="stale-if-error=60")
    assert told(stale) == (
        f"headgate; fwd=stale{status}; detail=stale-if-error", str(TTL_S + 15),
    )  # fmt: skip
    assert (stale.status, stale.body) == (200, good.body)
    assert stale.headers["headgate-attempts"] == "1"
    assert len(scene.server.calls) == 2


def test_nobody_gets_a_stale_stream_who_did_not_ask_for_one(scene: Scene) -> None:
    scene.ask()
    scene.clock.advance(TTL_S + 15)
    scene.server.script(Status(503), times=4)
    for headers in ({}, {"cache_control": "stale-if-error=14"}, {"cache_control": "max-age=0"}):
        assert scene.ask(**headers).status == 503
    assert len(scene.server.calls) == 4


def test_a_stale_stream_is_never_older_than_the_operator_allows(scene: Scene) -> None:
    scene.ask()
    scene.clock.advance(TTL_S + 299)
    scene.server.script(Status(503), times=2)
    assert scene.ask(cache_control="stale-if-error=9999").status == 200
    scene.clock.advance(2)
    assert scene.ask(cache_control="stale-if-error=9999").status == 503


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_no_stale_stream_stands_in_for_an_answer(scene: Scene, status: int) -> None:
    scene.ask()
    scene.clock.advance(TTL_S + 15)
    scene.server.script(Status(status))
    assert scene.ask(cache_control="stale-if-error=60").status == status


@pytest.mark.parametrize("operation", DIALECTS)
def test_a_stream_that_has_begun_is_not_replaced_by_a_stale_one(
    scene: Scene, operation: str
) -> None:
    scene.ask(operation)
    scene.clock.advance(TTL_S + 15)
    scene.server.script(Usual(0, 9), CutAt(0))
    broken = scene.ask(operation, cache_control="stale-if-error=60")
    assert b"stream_broken" in broken.body
    assert serial(broken) == 2, "no event of the old answer is in it"


@pytest.mark.parametrize("operation", DIALECTS)
def test_namespaces_and_tags_hold_for_streams(scene: Scene, operation: str) -> None:
    for headers in ({"headgate_tags": "alpha,beta"}, {"headgate_namespace": "night"}):
        assert told(scene.ask(operation, **headers))[0] == MISS
        assert told(scene.ask(operation, **headers))[0] == f"headgate; hit; ttl={TTL_S}"
    removal: Any = {"tag": "beta"}
    for dry_run, status in ((True, "counted"), (False, "cleared")):
        got = scene.gate.post("/api/admin/clear-cache", {**removal, "dry_run": dry_run})
        assert got.json == {"status": status, "entries_removed": 1}
    assert told(scene.ask(operation))[0] == MISS
    assert told(scene.ask(operation, headgate_namespace="night"))[0].startswith("headgate; hit")
    (entry,) = scene.gate.get("/api/admin/cache?namespace=night").json["entries"]
    assert (entry["kind"], entry["operation"]) == ("stream", operation)
