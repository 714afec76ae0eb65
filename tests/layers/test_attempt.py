"""One attempt: its time to the first content, and what counts as an answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace
from tries import (
    ANSWER,
    DELTA,
    DONE,
    FINISH,
    JSON,
    ROLE,
    SSE,
    WORDS,
    Body,
    Provider,
    Step,
    a_call,
    content_of,
    error,
    good,
    run,
    status,
    stream,
)

from headgate.core.allowance import Allowance, AllowanceSettings
from headgate.core.attribution import of_error
from headgate.core.outcome import OUTCOMES
from headgate.errors import (
    StreamBroken,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.events import Events
from headgate.layers.attempt import NO_LIMIT_S, attempt
from headgate.stream import Value, Whole
from headgate.testing import FakeClock
from headgate.types import Call, Controls, Invocation, Reply, Target, Usage

PING = b": ping\n\n"


def asking(
    step: Step, call: Call | None = None, *, limit_s: float = 60.0, takes_s: float = 0
) -> Any:
    async def act() -> Reply:
        below = Provider(step, takes_s=takes_s)
        return await attempt(lambda _: limit_s, 10_000, FakeClock())(below)(
            call or a_call(streamed=True)
        )

    return act()


# Whole answers.


def test_a_good_answer_carries_its_verdict_and_usage() -> None:
    content = ANSWER[:-1] + b',"usage":{"prompt_tokens":9,"completion_tokens":1}}'
    reply, _ = run(asking(good(content), a_call()))
    assert isinstance(reply.body, Whole)
    assert reply.body.content == content
    assert reply.body.verdict is not None
    assert (reply.body.verdict.finish, reply.usage) == ("stop", Usage(9, 1))


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', ANSWER[:-5]])
def test_a_200_that_is_no_answer_is_a_failure(content: bytes) -> None:
    with pytest.raises(UpstreamGarbled) as raised:
        run(asking(good(content), a_call()))
    assert "html" not in str(raised.value)


def test_what_other_statuses_say_is_not_judged() -> None:
    step = status(500)
    reply, _ = run(asking(step, a_call()))
    assert (reply.status, reply.usage) == (500, step().usage)
    assert isinstance(reply.body, Whole)
    assert reply.body.verdict is None


def test_an_error_inside_an_answer_is_left_to_those_above() -> None:
    reply, _ = run(asking(good(b'{"error":{"type":"overloaded_error"}}'), a_call()))
    assert isinstance(reply.body, Whole)
    assert reply.body.verdict is not None
    assert reply.body.verdict.skip == "error_in_answer"


def test_a_whole_answer_has_all_the_time_its_provider_gives_it() -> None:
    _, took_s = run(asking(good(), a_call(), takes_s=500))
    assert took_s == 500


# Streams.


def test_a_stream_is_opened_up_to_its_first_content_and_not_further() -> None:
    bodies: list[Body] = []
    step = stream(PING, ROLE, DELTA, DELTA, FINISH, DONE, bodies=bodies)

    async def act() -> tuple[Reply, int, bytes]:
        reply = await asking(step)
        return reply, bodies[0].read, await content_of(reply)

    (reply, read, content), _ = run(act())
    assert isinstance(reply.body, Events)
    assert (read, bodies[0].closes) == (3, 1)
    assert content == PING + ROLE + DELTA + DELTA + FINISH + DONE


BROKEN: dict[str, tuple[tuple[Any, ...], type[UpstreamFailed]]] = {
    "cut": ((ROLE,), StreamBroken),
    "empty": ((), StreamBroken),
    "pings only": ((PING, PING), StreamBroken),
    "reset": ((ROLE, StreamBroken("reset")), StreamBroken),
    "garbled": ((ROLE, b"data: {\n\n"), UpstreamGarbled),
    "silent": ((ROLE, 61.0, DELTA), UpstreamTimeout),
    "pings without end": ((*[PING, 5.0] * 99,), UpstreamTimeout),
    "idle": ((ROLE, UpstreamTimeout("silence", stage="idle")), UpstreamTimeout),
}


@pytest.mark.parametrize("way", BROKEN)
def test_what_breaks_before_the_first_content_is_raised_and_the_body_closed(way: str) -> None:
    pieces, kind = BROKEN[way]
    bodies: list[Body] = []
    with pytest.raises(kind):
        run(asking(stream(*pieces, bodies=bodies)))
    assert bodies[0].closes == 1


@pytest.mark.parametrize(
    "pieces", [(ROLE, DELTA), (DELTA, b"data: {\n\n"), (WORDS[0], *WORDS[1:3])]
)
def test_what_breaks_after_it_is_left_to_the_reader(pieces: tuple[bytes, ...]) -> None:
    async def act() -> None:
        reply = await asking(stream(*pieces))
        with pytest.raises(UpstreamFailed):
            await content_of(reply)

    run(act())


def test_a_stream_that_begins_with_an_error_is_the_failed_reply_it_would_have_been() -> None:
    error = b'{"error":{"message":"busy","type":"overloaded_error"}}'
    body = Body(ROLE, b"data: " + error + b"\n\n")
    reply, _ = run(asking(lambda: Reply(200, (*SSE, (b"retry-after", b"7")), body)))
    assert isinstance(reply.body, Whole)
    assert (reply.status, reply.body.content) == (529, error)
    assert reply.headers == ((b"retry-after", b"7"), *JSON)
    assert body.closes == 1


def test_content_behind_an_error_event_commits_to_nothing() -> None:
    error = b'data: {"error":{"message":"busy","type":"overloaded_error"}}\n\n'
    reply, _ = run(asking(stream(ROLE + error + DELTA + DONE)))
    assert reply.status == 529


def test_a_response_that_failed_before_its_content_is_an_error_as_the_sdks_read_it() -> None:
    failed = (
        b'data: {"type":"response.failed","response":{"status":"failed",'
        b'"error":{"code":"rate_limit_exceeded","message":"slow down"}}}\n\n'
    )
    call = replace(a_call(streamed=True), operation="responses")
    reply, _ = run(asking(stream(failed), call))
    assert reply.status == 429
    assert isinstance(reply.body, Whole)
    error = json.loads(reply.body.content)["error"]
    assert (error["code"], error["message"]) == ("rate_limit_exceeded", "slow down")


def test_the_limit_counts_from_the_start_of_the_attempt() -> None:
    with pytest.raises(UpstreamTimeout) as raised:
        run(asking(stream(ROLE, 11.0, DELTA), takes_s=50.0))
    assert (raised.value.stage, raised.value.sent) == ("first_token", True)
    assert "60 s" in raised.value.message
    reply, took_s = run(asking(stream(ROLE, 9.0, DELTA), takes_s=50.0))
    assert (reply.status, took_s) == (200, 59)


def test_a_provider_that_never_answers_a_streamed_call_is_given_up_at_the_limit() -> None:
    with pytest.raises(UpstreamTimeout):
        run(asking(good(), takes_s=1e6))


def test_after_the_first_content_the_limit_is_over() -> None:
    async def act() -> bytes:
        return await content_of(await asking(stream(ROLE, DELTA, 500.0, FINISH, DONE)))

    assert run(act()) == (b"".join(WORDS), 500)


def test_without_a_limit_a_stream_may_take_its_time() -> None:
    _, took_s = run(asking(stream(ROLE, 500.0, DELTA), limit_s=NO_LIMIT_S))
    assert took_s == 500


def test_who_cancels_while_a_stream_is_opened_leaves_it_closed() -> None:
    bodies: list[Body] = []

    async def act() -> None:
        task = asyncio.ensure_future(asking(stream(ROLE, 30.0, DELTA, bodies=bodies)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(act())
    assert bodies[0].closes == 1


def test_what_is_raised_below_passes() -> None:
    with pytest.raises(UpstreamUnreachable):
        run(asking(error(UpstreamUnreachable("no"))))


@pytest.mark.parametrize(("operation", "number"), [("count_tokens", 200), ("chat", 500)])
def test_what_has_no_known_dialect_is_handed_up_unread(operation: str, number: int) -> None:
    body = Body(b"x")
    call = Call(operation, "m", a_call().request, b"", b"", Target("a", "m"), streamed=True)
    reply, _ = run(asking(lambda: Reply(number, SSE, body), call))
    assert (reply.body, body.read) == (body, 0)


def test_values_and_callables_pass() -> None:
    async def ran() -> None: ...

    value = Value.of({"x": 1})
    reply, _ = run(asking(lambda: Reply(200, JSON, value), a_call()))
    assert reply.body is value
    call = Call(
        "function", "m", Invocation(ran, 1, False), b"", b"", Target("f", "m"), streamed=True
    )
    reply, took_s = run(asking(lambda: Reply(200, (), value), call, takes_s=1e4))
    assert (reply.body, took_s) == (value, 1e4)


@pytest.mark.parametrize(
    ("attempts", "asked_s", "reason"),
    [(1, None, "total_timeout"), (1, 5.0, "deadline"), (2, None, "deadline"), (2, 5.0, "deadline")],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_no_attempt_has_longer_than_its_call_has_left(
    attempts: int, asked_s: float | None, reason: str, streamed: bool
) -> None:
    """A deadline shorter than an attempt is nobody's fault: the caller's own, or what attempts
    before have left. Who had all the time that a call gets was too slow."""
    clock = FakeClock()
    allowance = Allowance(AllowanceSettings(), clock.monotonic() + 5.0)
    for _ in range(attempts):
        allowance.spend()
    call = a_call(streamed=streamed, controls=Controls(deadline_s=asked_s))

    async def below(_: Call) -> Reply:
        await asyncio.sleep(3600)
        raise AssertionError("it was waited for")

    async def act() -> float:
        layer = attempt(lambda _: 60.0, 10_000, clock)
        with pytest.raises(UpstreamTimeout) as caught:
            await layer(below)(replace(call, allowance=allowance))
        assert of_error(caught.value) == OUTCOMES[reason]
        return asyncio.get_running_loop().time()

    assert run(act())[0] == 5.0


def test_a_stream_that_has_begun_is_no_longer_the_deadlines_business() -> None:
    clock = FakeClock()
    allowance = Allowance(AllowanceSettings(), clock.monotonic() + 5.0)
    allowance.spend()

    async def act() -> bytes:
        below = Provider(stream(ROLE, DELTA, 60.0, DELTA, FINISH, DONE))
        call = replace(a_call(streamed=True), allowance=allowance)
        return await content_of(await attempt(lambda _: 60.0, 10_000, clock)(below)(call))

    content, took_s = run(act())
    assert (content.endswith(DONE), took_s) == (True, 60.0)
