"""Every script of outcomes at every target: attempts, bodies and permits add up."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from tries import (
    DELTA,
    ROLE,
    WORDS,
    Body,
    Provider,
    Scene,
    Step,
    a_call,
    content_of,
    good,
    run,
    settled,
    status,
    stream,
    unreachable,
)

from headgate.errors import StreamBroken
from headgate.types import Reply

ENDS: dict[str, Step] = {
    "good": good(),
    "400": status(400),
    "401": status(401),
    "429": status(429, retry_after="2"),
    "quota": status(402),
    "500": status(500),
    "503": status(503),
    "unreachable": unreachable(),
    "html": good(b"<html>"),
}
STREAMS = {
    "stream": WORDS,
    "cut early": (ROLE,),
    "error early": (ROLE, b'data: {"error":{"message":"x","type":"overloaded_error"}}\n\n'),
    "cut late": (ROLE, DELTA),
}
LASTING = frozenset({"429", "500", "503", "unreachable", "cut early", "error early"})
"""Failures after which there is always something left to try."""
SCRIPTS = st.lists(
    st.lists(st.sampled_from([*ENDS, *STREAMS]), min_size=1, max_size=3), min_size=1, max_size=4
)


@settings(max_examples=300)
@given(SCRIPTS, st.integers(0, 9))
def test_for_every_script_attempts_closes_and_permits_add_up(
    scripts: list[list[str]], seed: int
) -> None:
    bodies: list[Body] = []

    def provider(script: list[str]) -> Provider:
        return Provider(
            *(ENDS[s] if s in ENDS else stream(*STREAMS[s], bodies=bodies) for s in script)
        )

    async def act() -> None:
        providers = {f"p{i}": provider(script) for i, script in enumerate(scripts)}
        scene = Scene(seed=seed, **providers)
        outcome = await settled(scene, a_call(*providers, streamed=True))
        history = [
            script[min(n, len(script) - 1)]
            for (name, made), script in zip(providers.items(), scripts, strict=True)
            for n in range(len(made.calls))
        ]
        assert 1 <= len(history) <= 3
        begun = {"good", "stream", "cut late"}
        is_good = isinstance(outcome, Reply) and (
            outcome.status == 200 and not getattr(outcome.body, "error_event", b"")
        )
        assert is_good == any(end in begun for end in history)
        assert sum(end in begun for end in history) <= 1
        if not is_good and history[-1] in LASTING:
            assert len(history) == 3
        if isinstance(outcome, Reply):
            assert max(1, outcome.provenance.attempts) == len(history)
            unread = [body for body in bodies if body.closes == 0]
            assert len(unread) <= 1
            if unread:
                with contextlib.suppress(StreamBroken):
                    assert (await content_of(outcome)).count(b'"role"') == 1
            await outcome.body.aclose()
        else:
            assert outcome.attempts == len(history)
        assert [body.closes > 0 for body in bodies] == [True] * len(bodies)
        for name, made in providers.items():
            for guard in (scene.endpoint(name), scene.deployment(name)):
                counts = guard.counts
                assert counts.ok + counts.faults + counts.ignored + counts.late == len(made.calls)
                assert guard.probes_in_flight == 0

    run(act())
