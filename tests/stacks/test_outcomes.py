"""Every way an attempt can end, through all layers per target: which gate is charged, who is asked
next, and what the client is told. One row of the table of outcomes for each line here.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from tries import (
    DELTA,
    ROLE,
    WORDS,
    Provider,
    Scene,
    Step,
    a_call,
    content_of,
    error,
    good,
    run,
    settled,
    status,
    stream,
    unreachable,
)

from headgate.errors import (
    HeadgateError,
    StreamBroken,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.types import Reply

ENDPOINT, DEPLOYMENT, KEY, NOBODY = "endpoint", "deployment", "key", ""
GO, STAY = True, False
CERTIFICATE = UpstreamUnreachable("certificate")
CERTIFICATE.__cause__ = type("SSLCertVerificationError", (Exception,), {})()


class Row(NamedTuple):
    step: Step
    charged: str
    """Which gate counts it as a fault, or closes."""
    attempts: int
    """How often a target is asked that is the only one."""
    elsewhere: bool
    """Whether another target is asked."""
    marked: bool
    """Whether the client is told not to try again, where nothing else could be tried."""


def event(kind: str) -> Step:
    data = b'data: {"error":{"type":"%b","message":"no"}}\n\n' % kind.encode()
    return stream(ROLE, data)


ROWS = {
    "content filter": Row(status(400, "content_filter"), NOBODY, 1, STAY, False),
    "context": Row(status(400, "context_length_exceeded"), NOBODY, 1, STAY, False),
    "400": Row(status(400), NOBODY, 1, STAY, False),
    "404": Row(status(404), NOBODY, 1, STAY, False),
    "405": Row(status(405), NOBODY, 1, STAY, False),
    "413": Row(status(413), NOBODY, 1, STAY, False),
    "422": Row(status(422), NOBODY, 1, STAY, False),
    "401": Row(status(401), KEY, 1, GO, False),
    "403": Row(status(403), KEY, 1, GO, False),
    "402": Row(status(402), KEY, 1, GO, False),
    "quota": Row(status(429, "insufficient_quota"), KEY, 1, GO, True),
    "429": Row(status(429), KEY, 3, GO, True),
    "429, soon": Row(status(429, retry_after="5"), KEY, 3, GO, True),
    "429, late": Row(status(429, retry_after="90"), KEY, 1, GO, True),
    "408": Row(status(408), DEPLOYMENT, 3, GO, True),
    "409": Row(status(409), NOBODY, 3, GO, True),
    "425": Row(status(425), DEPLOYMENT, 3, GO, True),
    "500": Row(status(500), DEPLOYMENT, 3, GO, True),
    "502": Row(status(502), ENDPOINT, 3, GO, True),
    "503": Row(status(503), ENDPOINT, 3, GO, True),
    "504": Row(status(504), ENDPOINT, 3, GO, True),
    "520": Row(status(520), ENDPOINT, 3, GO, True),
    "527": Row(status(527), ENDPOINT, 3, GO, True),
    "529": Row(status(529), DEPLOYMENT, 3, GO, True),
    "unreachable": Row(unreachable(), ENDPOINT, 3, GO, True),
    "connect": Row(error(UpstreamTimeout("slow", stage="connect")), ENDPOINT, 3, GO, True),
    "certificate": Row(error(CERTIFICATE), ENDPOINT, 1, GO, True),
    "total": Row(error(UpstreamTimeout("slow", stage="total")), DEPLOYMENT, 3, GO, True),
    "first token": Row(stream(ROLE, 61.0, DELTA), DEPLOYMENT, 3, GO, True),
    "reset": Row(error(UpstreamFailed("reset")), ENDPOINT, 3, GO, True),
    "cut early": Row(stream(ROLE), DEPLOYMENT, 3, GO, True),
    "overloaded event": Row(event("overloaded_error"), DEPLOYMENT, 3, GO, True),
    "api event": Row(event("api_error"), DEPLOYMENT, 3, GO, True),
    "timeout event": Row(event("timeout_error"), ENDPOINT, 3, GO, True),
    "rate event": Row(event("rate_limit_error"), KEY, 3, GO, True),
    "bad event": Row(event("invalid_request_error"), NOBODY, 1, STAY, False),
    "error in 200": Row(good(b'{"error":{"type":"overloaded_error"}}'), DEPLOYMENT, 3, GO, True),
    "html": Row(good(b"<html>"), DEPLOYMENT, 2, GO, True),
    "half": Row(good(b'{"choices":[{'), DEPLOYMENT, 2, GO, True),
    "no choices": Row(good(b'{"choices":[]}'), DEPLOYMENT, 2, GO, True),
    "redirect": Row(status(302), DEPLOYMENT, 2, GO, False),
}


def charges(scene: Scene, name: str) -> set[str]:
    breakers = {ENDPOINT: scene.endpoint(name), DEPLOYMENT: scene.deployment(name)}
    found = {kind for kind, breaker in breakers.items() if breaker.counts.faults}
    return found | {KEY} if scene.gate(name).closings else found


def told(outcome: Reply | HeadgateError) -> tuple[int, bool]:
    """Attempts, and whether the client is told not to try again."""
    if isinstance(outcome, Reply):
        attempts = outcome.provenance.attempts
        return attempts, (b"x-should-retry", b"false") in outcome.headers
    return outcome.attempts, outcome.should_retry is False


@pytest.mark.parametrize("name", ROWS)
def test_at_a_single_target(name: str) -> None:
    row = ROWS[name]

    async def act() -> None:
        provider = Provider(row.step)
        scene = Scene(a=provider)
        outcome = await settled(scene, a_call("a", streamed=True))
        assert len(provider.calls) == row.attempts
        assert told(outcome) == (row.attempts, row.marked)
        assert charges(scene, "a") == {row.charged} - {NOBODY}
        for breaker in (scene.endpoint("a"), scene.deployment("a")):
            counts = breaker.counts
            assert counts.ok == 0
            assert counts.faults + counts.ignored == row.attempts
        if isinstance(outcome, Reply):
            await outcome.body.aclose()

    run(act())


@pytest.mark.parametrize("name", ROWS)
def test_where_another_target_is_well(name: str) -> None:
    row = ROWS[name]

    async def act() -> None:
        a, b = Provider(row.step), Provider(stream(*WORDS))
        scene = Scene(a=a, b=b)
        outcome = await settled(scene, a_call("a", "b", streamed=True))
        assert (len(a.calls), len(b.calls)) == (1, int(row.elsewhere))
        assert isinstance(outcome, Reply)
        if row.elsewhere:
            assert told(outcome) == (2, False)
            assert await content_of(outcome) == b"".join(WORDS)
            assert charges(scene, "b") == set()
            # Nobody waits for a target that will not answer.
            assert b.times_s[0] == (60 if name == "first token" else 0)
        await outcome.body.aclose()
        assert charges(scene, "a") == {row.charged} - {NOBODY}

    run(act())


LATE: dict[str, tuple[Any, ...]] = {
    "reset": (ROLE, DELTA, StreamBroken("reset")),
    "idle": (ROLE, DELTA, UpstreamTimeout("silence", stage="idle")),
    "error event": (ROLE, DELTA, b'data: {"error":{"type":"overloaded_error"}}\n\n'),
    "no marker": (ROLE, DELTA),
    "garbled": (ROLE, DELTA, b"data: {\n\n"),
}


@pytest.mark.parametrize("way", LATE)
def test_after_the_first_content_nothing_is_tried_again_and_one_fault_is_counted(way: str) -> None:
    async def act() -> None:
        a, b = Provider(stream(*LATE[way])), Provider(stream(*WORDS))
        scene = Scene(a=a, b=b)
        reply = await scene.ask(a_call("a", "b", streamed=True))
        try:
            content = await content_of(reply)
            assert way == "error event"
        except UpstreamFailed:
            content = b""
        assert content.count(DELTA) == (way == "error event")
        assert (len(a.calls), len(b.calls)) == (1, 0)
        assert charges(scene, "a") == {DEPLOYMENT}
        assert scene.deployment("a").counts.faults == 1

    run(act())


def test_a_good_answer_whatever_its_finish_is_ok_at_both_breakers() -> None:
    async def act() -> None:
        finishes = (b"stop", b"length", b"tool_calls", b"content_filter")
        steps = [good(b'{"choices":[{"message":{},"finish_reason":"%b"}]}' % f) for f in finishes]
        scene = Scene(a=Provider(*steps))
        for _ in finishes:
            assert (await scene.ask(a_call("a"))).status == 200
        assert scene.deployment("a").counts.ok == scene.endpoint("a").counts.ok == 4

    run(act())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_caller_who_leaves_is_nobodys_fault(streamed: bool) -> None:
    async def act() -> None:
        a, b = Provider(stream(ROLE, 500.0, DELTA), takes_s=2.0), Provider(good())
        scene = Scene(a=a, b=b)
        task = asyncio.create_task(scene.ask(a_call("a", "b", streamed=streamed)))
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait({task})
        assert (len(a.calls), len(b.calls), charges(scene, "a")) == (1, 0, set())
        assert scene.deployment("a").counts.ignored == 1

    run(act())


def test_a_retry_after_of_a_fault_lengthens_the_time_its_breaker_stays_open() -> None:
    async def act() -> None:
        provider = Provider(status(503, retry_after="120"))
        scene = Scene(a=provider)
        while scene.endpoint("a").state == "closed":
            await scene.ask(a_call("a"))
        refusal = await settled(scene, a_call("a"))
        assert isinstance(refusal, HeadgateError)
        assert refusal.retry_after_s == pytest.approx(120)
        assert len(provider.calls) == 20

    run(act())
