"""Streams that go on elsewhere: what the client sees is one good answer, begun once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from events import ends_in, openings_in, words_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tries import (
    DELTA,
    DONE,
    FINISH,
    ROLE,
    WORDS,
    Body,
    Provider,
    Scene,
    a_call,
    content_of,
    run,
    settled,
    stream,
)

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.errors import HeadgateError, StreamBroken, UpstreamFailed, UpstreamTimeout
from headgate.routing import Routes
from headgate.types import Headers, Reply, Route, Secret, Target

PING = b": ping\n\n"
OTHER = DELTA.replace(b"Paris", b"Lyon")
ANSWERS = (b"".join((ROLE, PING, DELTA, FINISH, DONE)), b"".join((ROLE, OTHER, FINISH, DONE)))
TEXTS = ("Paris", "Lyon")

CUTS: dict[str, tuple[Any, ...]] = {
    "end": (),
    "reset": (StreamBroken("reset"),),
    "idle": (120.0, UpstreamTimeout("silence", stage="idle")),
    "garbage": (b"\0\xff\n\n",),
    "error event": (b'\n\ndata: {"error":{"type":"overloaded_error","message":"x"}}\n\n',),
}


def read(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[bytes, int, list[Body], bool]:
    """What a client has read, how many attempts it took, the bodies, and whether it broke."""

    async def act() -> tuple[bytes, int, list[Body], bool]:
        bodies: list[Body] = []
        a = Provider(stream(*first, bodies=bodies))
        b = Provider(stream(*second, bodies=bodies))
        scene = Scene(a=a, b=b)
        outcome = await settled(scene, a_call("a", "b", streamed=True))
        chunks, has_broken = [], isinstance(outcome, HeadgateError)
        if isinstance(outcome, Reply):
            try:
                async for chunk in outcome.body:
                    chunks.append(chunk)
            except UpstreamFailed:
                has_broken = True
            await outcome.body.aclose()
        for name in "ab":
            assert scene.endpoint(name).probes_in_flight == 0
        return b"".join(chunks), len(a.calls) + len(b.calls), bodies, has_broken

    return run(act())[0]


@pytest.mark.parametrize("way", CUTS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_cut_anywhere_the_text_is_a_prefix_of_one_answer(way: str, size: int) -> None:
    for at in range(0, len(ANSWERS[0]), 1 if size == 1000 else 5):
        cut = ANSWERS[0][:at]
        pieces = [cut[i : i + size] for i in range(0, len(cut), size)]
        content, attempts, bodies, has_broken = read((*pieces, *CUTS[way]), (ANSWERS[1],))
        text = words_of(content)
        assert any(answer.startswith(text) for answer in TEXTS)
        assert openings_in(content) == 1
        assert attempts <= 2
        assert all(body.closes for body in bodies)
        # No clean end without the marker, and none with it that is no whole answer.
        if ends_in(content):
            assert (text in TEXTS, has_broken) == (True, False)
        else:
            assert has_broken or b'"error"' in content
        # What follows may complete an event that only lacked its blank line.
        if DELTA not in cut and not (way == "error event" and DELTA[:-2] in cut):
            assert (text, attempts, has_broken) == ("Lyon", 2, False)


@settings(max_examples=60)
@given(
    st.integers(0, len(ANSWERS[0])), st.sampled_from(sorted(CUTS)),
    st.integers(0, len(ANSWERS[1])), st.sampled_from(sorted(CUTS)),
)  # fmt: skip
def test_where_both_are_cut_nothing_is_mixed_and_three_attempts_are_all(
    at: int, way: str, other_at: int, other_way: str
) -> None:
    first = (ANSWERS[0][:at], *CUTS[way])
    second = (ANSWERS[1][:other_at], *CUTS[other_way])
    content, attempts, bodies, has_broken = read(first, second)
    text = words_of(content)
    assert any(answer.startswith(text) for answer in TEXTS)
    assert openings_in(content) <= 1
    assert attempts <= 3
    assert len(bodies) == attempts
    assert all(body.closes for body in bodies)
    if ends_in(content):
        assert text in TEXTS
        assert not has_broken


def test_a_silent_beginning_is_given_up_and_its_connection_let_go() -> None:
    bodies: list[Body] = []

    async def act() -> bytes:
        a = Provider(stream(ROLE, *[PING, 10.0] * 50, bodies=bodies))
        scene = Scene(a=a, b=Provider(stream(*WORDS)))
        return await content_of(await scene.ask(a_call("a", "b", streamed=True)))

    content, took_s = run(act())
    assert (content, took_s, bodies[0].closes) == (b"".join(WORDS), 60, 1)


def test_a_stream_is_read_no_further_than_to_its_first_content_before_somebody_reads_on() -> None:
    async def act() -> None:
        bodies: list[Body] = []
        scene = Scene(a=Provider(stream(ROLE, DELTA, DELTA, FINISH, DONE, bodies=bodies)))
        reply = await scene.ask(a_call("a", streamed=True))
        await asyncio.sleep(30)
        assert bodies[0].read == 2
        await reply.body.aclose()

    run(act())


# Whose credential goes where.

CLIENT: Headers = ((b"authorization", b"Bearer client"),)


def test_what_a_client_sends_reaches_one_provider_without_a_key() -> None:
    config = Config(
        providers={"a": ProviderConfig(), "b": ProviderConfig(base_url="https://b.example"),
                   "c": ProviderConfig(api_key=Secret("sk"))},
        models={"m": ModelConfig(targets=("a/m", "b/m"), fallbacks=("c/m",))},
    )  # fmt: skip

    async def act() -> None:
        broken = {name: Provider(stream(StreamBroken("x"))) for name in "abc"}
        scene = Scene(config, **broken)
        routes = Routes(config).resolve("m", "chat")[1]
        await settled(scene, a_call(*routes, credential=CLIENT, streamed=True))
        assert [len(broken[name].calls) for name in "abc"] == [1, 0, 2]

    run(act())


def test_a_throttled_client_does_not_stop_another_one() -> None:
    async def act() -> None:
        def step() -> Reply:
            is_alice = b"alice" in provider.requests[-1].credential[0][1]
            kind = b"rate_limit_error" if is_alice else b""
            error = b'data: {"error":{"type":"%b"}}\n\n' % kind
            return stream(*((error,) if is_alice else WORDS))()

        provider = Provider(step)
        config = Config(providers={"a": ProviderConfig()})
        scene = Scene(config, a=provider)
        route = Route(Target("a", "m"))

        def sent(who: bytes) -> Any:
            credential = ((b"authorization", b"Bearer " + who),)
            return a_call(route, credential=credential, streamed=True)

        alice = asyncio.create_task(settled(scene, sent(b"alice")))
        await asyncio.sleep(0)
        for _ in range(50):
            reply = await scene.ask(sent(b"bob"))
            assert await content_of(reply) == b"".join(WORDS)
        assert isinstance(await alice, Reply)
        assert scene.deployment("a").state == "closed"

    run(act())
