"""Every kind of call, cancelled at every one of its suspension points: whoever was spared has the
right answer, nothing is held any more, and the next call is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import openai
import oracle
import pytest
from cancelling import BLOWS, Scene, Series, run
from doors import IN_TIME, KEY, NO_STORE, Doors, doors
from several import several
from virtualtime import VirtualLoop

from headgate.config import Config, ProviderConfig
from headgate.errors import HeadgateError
from headgate.layers.settings import BreakerConfig, CacheConfig, RetryConfig
from headgate.testing import Delay, End, FaultServer, Head, Stall, Status, Usual
from headgate.types import Secret

HONEST = (HeadgateError, OSError, openai.APIError)
PAUSE = Delay(0.002)
IN_PIECES = (Usual(0, 1), PAUSE, Usual(1, 4), PAUSE, Usual(4), PAUSE, End())
"""Each part of an answer is a suspension of its reader, and so is the end of the body."""
KINDS = {"whole": "application/json", "streamed": "text/event-stream"}


class Kind(NamedTuple):
    """A kind of call and the fewest moments that it has under each of `BLOWS`: with fewer, a path
    is not walked any more. 0: not struck so. Sockets join what comes close together, so theirs have
    more most of the time."""

    stage: Callable[[Doors], Scene]
    least: tuple[int, int, int, int, int]


def scene(*asks: Callable[..., Any], **more: Any) -> Scene:
    """The first of `asks` is struck; the others join its call."""
    return Scene(asks[0], behind=asks[1:], honest=HONEST, **more)


def following(ask: Callable[..., Any], *ahead: Callable[..., Any]) -> Scene:
    """`ask` is struck; it joins those `ahead`."""
    return Scene(ask, ahead=ahead, honest=HONEST)


def stalled(on: Doors, ask: Callable[..., Any]) -> Scene:
    """`ask` is struck while its provider is silent, which it would be for ever."""
    is_streamed = isinstance(ask, partial) and "stream" in ask.keywords
    model = "stalled stream" if is_streamed else "stalled"
    return Scene(partial(ask, model=model), healthy=on.ask, honest=HONEST)


def streamed(ask: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    return partial(ask, stream=True, **more)


WIRE: dict[str, Kind] = {
    "whole": Kind(lambda on: scene(on.ask), (2, 1, 1, 1, 1)),
    "streamed": Kind(lambda on: scene(streamed(on.ask)), (2, 2, 3, 3, 2)),
    "whole, within a deadline": Kind(
        lambda on: scene(partial(on.ask, more=IN_TIME)), (2, 1, 1, 1, 1)
    ),
    "whole, unshared": Kind(
        lambda on: scene(partial(on.ask, more=NO_STORE, model="whole")), (1, 1, 1, 1, 1)
    ),
    "streamed, unshared": Kind(
        lambda on: scene(streamed(on.ask, more=NO_STORE, model="streamed")), (2, 1, 2, 2, 2)
    ),
    "leader of whole calls": Kind(lambda on: scene(on.ask, on.ask, on.ask), (4, 1, 2, 2, 2)),
    "leader of streams": Kind(
        lambda on: scene(streamed(on.ask), streamed(on.ask), streamed(on.ask)), (9, 2, 5, 7, 7)
    ),
    "leader of the other shape": Kind(lambda on: scene(streamed(on.ask), on.ask), (8, 1, 5, 2, 4)),
    "follower of a whole call": Kind(lambda on: following(on.ask, on.ask), (3, 1, 2, 2, 2)),
    "follower of a stream": Kind(
        lambda on: following(streamed(on.ask), streamed(on.ask)), (8, 1, 6, 5, 6)
    ),
    "follower of the other shape": Kind(
        lambda on: following(on.ask, streamed(on.ask)), (7, 2, 6, 3, 3)
    ),
    "gateway, whole": Kind(lambda on: scene(on.knock), (3, 2, 2, 2, 2)),
    "gateway, streamed": Kind(lambda on: scene(streamed(on.knock)), (7, 4, 8, 8, 8)),
    "SDK, whole": Kind(lambda on: scene(on.sdk), (3, 1, 2, 2, 2)),
    "SDK, streamed": Kind(lambda on: scene(streamed(on.sdk)), (12, 2, 6, 7, 7)),
    # Without those that strike the library's own tasks that connect: it does not expect that.
    "SDK, whole, unshared": Kind(
        lambda on: scene(partial(on.sdk, more=NO_STORE, model="whole")), (2, 1, 0, 0, 0)
    ),
    "SDK, streamed, unshared": Kind(
        lambda on: scene(streamed(on.sdk, more=NO_STORE, model="streamed")), (8, 2, 0, 0, 0)
    ),
    "SDK, leader": Kind(lambda on: scene(streamed(on.sdk), on.sdk, on.ask), (9, 1, 3, 3, 3)),
    "SDK, follower": Kind(lambda on: following(streamed(on.sdk), on.ask), (8, 1, 2, 2, 2)),
}
FUNCTION: dict[str, Kind] = {
    "callable": Kind(lambda on: scene(on.call), (9, 1, 6, 6, 6)),
    "leader of callables": Kind(lambda on: scene(on.call, on.call, on.call), (17, 1, 10, 10, 10)),
    "follower of a callable": Kind(lambda on: following(on.call, on.call), (13, 1, 8, 8, 8)),
    "callable above another": Kind(lambda on: scene(on.call_above_another), (16, 1, 10, 10, 10)),
    "callable below another": Kind(
        lambda on: following(on.call_above_another, on.call_above_another), (20, 1, 12, 12, 12)
    ),
}
DISK: dict[str, Kind] = {
    "whole, from disk": Kind(lambda on: scene(on.ask, prepare=on.keep_on_disk), (1, 1, 1, 1, 1)),
    "streamed, from disk": Kind(
        lambda on: scene(streamed(on.ask), prepare=streamed(on.keep_on_disk)), (7, 7, 7, 7, 7)
    ),
    "of the other shape, from disk": Kind(
        lambda on: scene(streamed(on.ask), prepare=on.keep_on_disk), (6, 6, 6, 6, 6)
    ),
}
FAKE: dict[str, Kind] = {
    "whole": Kind(lambda on: scene(on.ask), (3, 1, 2, 2, 2)),
    "streamed": Kind(lambda on: scene(streamed(on.ask)), (14, 6, 13, 13, 13)),
    "leader": Kind(
        lambda on: scene(streamed(on.ask), streamed(on.ask), on.ask), (28, 6, 25, 25, 25)
    ),
    "follower": Kind(lambda on: following(streamed(on.ask), on.ask), (5, 1, 3, 3, 3)),
}
STALLED: dict[str, Kind] = {
    "whole": Kind(lambda on: stalled(on, on.ask), (2, 0, 1, 1, 1)),
    "streamed": Kind(lambda on: stalled(on, streamed(on.ask)), (3, 1, 1, 1, 1)),
    "whole, unshared": Kind(
        lambda on: stalled(on, partial(on.ask, more=NO_STORE)), (1, 1, 1, 1, 1)
    ),
    "streamed, unshared": Kind(
        lambda on: stalled(on, streamed(on.ask, more=NO_STORE)), (1, 1, 1, 1, 1)
    ),
    "gateway, whole": Kind(lambda on: stalled(on, on.knock), (2, 0, 0, 0, 0)),
    "gateway, streamed": Kind(lambda on: stalled(on, streamed(on.knock)), (3, 1, 0, 0, 0)),
    "SDK, whole": Kind(lambda on: stalled(on, on.sdk), (2, 0, 0, 0, 1)),
    "SDK, streamed": Kind(lambda on: stalled(on, streamed(on.sdk)), (3, 1, 0, 0, 1)),
    "SDK, streamed, unshared": Kind(
        lambda on: stalled(on, streamed(on.sdk, more=NO_STORE)), (3, 1, 0, 0, 0)
    ),
}
"""Calls whose provider says nothing more from the middle on."""
TWO: dict[str, Kind] = {
    "whole": Kind(lambda on: scene(on.ask), (5, 1, 3, 3, 3)),
    "streamed": Kind(lambda on: scene(streamed(on.ask)), (8, 2, 6, 6, 6)),
    "follower of a stream": Kind(
        lambda on: following(streamed(on.ask), streamed(on.ask)), (10, 2, 7, 7, 7)
    ),
    "gateway, streamed": Kind(lambda on: scene(streamed(on.knock)), (12, 4, 9, 9, 9)),
}
"""Calls that two deployments are asked for."""
AWAY: dict[str, Kind] = {
    "callable": Kind(lambda on: scene(on.call), (2, 1, 0, 0, 2)),
    "callable above another": Kind(lambda on: scene(on.call_above_another), (4, 1, 0, 0, 3)),
    "follower of a callable": Kind(lambda on: following(on.call, on.call), (3, 1, 0, 0, 2)),
    "SDK, whole": Kind(lambda on: scene(on.sdk), (1, 1, 0, 0, 1)),
    "SDK, streamed": Kind(lambda on: scene(streamed(on.sdk)), (4, 2, 0, 0, 2)),
    "SDK, follower": Kind(
        lambda on: following(streamed(on.sdk), streamed(on.sdk)), (6, 2, 0, 0, 2)
    ),
}
"""Callers in another loop than that of the stack."""


def everywhere(kinds: dict[str, Kind]) -> pytest.MarkDecorator:
    """One test for each kind of call and each kind of blow."""
    cases = [
        pytest.param(kind.stage, blow, least, id=f"{name}; {blow}")
        for name, kind in kinds.items()
        for blow, least in zip(BLOWS, kind.least, strict=True)
        if least
    ]
    return pytest.mark.parametrize(("stage", "blow", "least"), cases)


@pytest.fixture(autouse=True)
def _nothing_is_said(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    oracle.nothing_was_logged(caplog.get_records("call"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        for model, kind in KINDS.items():
            # On a connection of its own, so that connecting is struck too.
            head = Head(200, {"content-type": kind, "connection": "close"})
            running.script(head, *IN_PIECES, model=model, times=None)
        running.script(Stall(at_byte=100), model="stalled", times=None)
        running.script(Stall(at_chunk=2), model="stalled stream", times=None)
        running.script(Status(500), model="m1", times=None)
        running.script(*IN_PIECES, times=None)  # the last, as the first that fits is played
        yield running


def openai_at(server: FaultServer, cache: CacheConfig | None = None) -> Config:
    provider = ProviderConfig(kind="openai", base_url=server.base_url)
    return Config(providers={"openai": provider}, cache=cache or CacheConfig())


async def struck(
    config: Config, server: FaultServer | None, stage: Any, blow: str, **more: Any
) -> int:
    async with doors(config, server, **more) as opened:
        series = Series(stage(opened), BLOWS[blow], opened.probes(), opened.is_sound)
        return await series.run()


@everywhere(WIRE)
def test_a_call_to_a_provider(server: FaultServer, stage: Any, blow: str, least: int) -> None:
    files = oracle.open_files()
    assert run(lambda: struck(openai_at(server), server, stage, blow)) >= least
    oracle.files_are_closed(files)


@everywhere(STALLED)
def test_a_call_to_a_provider_that_stalls(
    server: FaultServer, stage: Any, blow: str, least: int
) -> None:
    # Else a stream is read on for the cache when its reader has left.
    config = openai_at(server, CacheConfig(finish_within=0))
    assert run(lambda: struck(config, server, stage, blow)) >= least


def two_at(server: FaultServer) -> Config:
    """Two deployments of `m`, the first of which fails."""
    off = BreakerConfig(enabled=False)
    retry = RetryConfig(budget_floor=100_000)
    return several(server, 2, retry=retry, blocks={"breaker": off}, api_key=Secret(KEY))


@everywhere(TWO)
def test_a_call_that_goes_on_elsewhere(
    server: FaultServer, stage: Any, blow: str, least: int
) -> None:
    assert run(lambda: struck(two_at(server), server, stage, blow)) >= least


@everywhere(DISK)
def test_a_call_answered_from_disk(
    server: FaultServer, tmp_path: Path, stage: Any, blow: str, least: int
) -> None:
    path = str(tmp_path / "cache.db")
    cache = CacheConfig(persist=True, persist_path=path, replay_pause=0.001)
    files = oracle.open_files()
    assert run(lambda: struck(openai_at(server, cache), server, stage, blow)) >= least
    oracle.files_are_closed(files)


@everywhere(FUNCTION)
def test_a_call_of_a_callable(stage: Any, blow: str, least: int) -> None:
    moments = run(lambda: struck(Config(), None, stage, blow), loop_factory=VirtualLoop)
    assert moments >= least


@everywhere(FAKE)
def test_a_call_to_the_built_in_provider(stage: Any, blow: str, least: int) -> None:
    config = Config(providers={"fake": ProviderConfig(kind="fake", latency=1.0)})
    assert run(lambda: struck(config, None, stage, blow), loop_factory=VirtualLoop) >= least


@everywhere(AWAY)
def test_a_call_from_another_event_loop(
    server: FaultServer, stage: Any, blow: str, least: int
) -> None:
    files = oracle.open_files()
    away = {"at_home": False}
    at = server if "sdk" in stage.__code__.co_names else None
    assert run(lambda: struck(openai_at(server), at, stage, blow, **away)) >= least
    oracle.files_are_closed(files)
