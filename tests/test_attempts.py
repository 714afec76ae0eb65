"""What an attempt came to, told from its reply, and told when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tries import DELTA, FINISH, JSON, ROLE, SSE, WORDS, Body, a_call, content_of, good, status

from headgate.attempts import (
    Kept,
    Tried,
    answered,
    failed,
    only_tried,
    outcome_of,
    tried,
    when_over,
)
from headgate.core.allowance import (
    ATTEMPTS,
    BUDGET,
    DEADLINE,
    FINAL,
    RETRY_AFTER,
    UNSAFE,
    Allowance,
    AllowanceSettings,
)
from headgate.core.outcome import FAULT, IGNORED, OK, OUTCOMES, Outcome
from headgate.core.verdict import judge
from headgate.errors import BreakerOpen, StreamBroken, UpstreamFailed, UpstreamTimeout
from headgate.events import Events, looked_at
from headgate.stream import Whole
from headgate.types import FALLBACK, TARGET, Call, Provenance, Reply, Route, Target

WALL_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z
ERROR = b'event: error\ndata: {"error":{"type":"overloaded_error","message":"busy"}}\n\n'


async def opened(*pieces: bytes | float | Exception) -> tuple[Reply, Body]:
    """A reply whose stream has been read up to its first content."""
    body = Body(*pieces)
    events = looked_at("chat", 200, body, 10_000)
    assert events is not None
    await events.open()
    return Reply(200, SSE, events), body


# Of a reply.


def judged(content: bytes) -> Reply:
    return Reply(200, JSON, Whole(content, judge("chat", 200, content, limit_explicit=False)))


def test_an_answer_is_good_whatever_its_finish() -> None:
    assert outcome_of(good()()) == OUTCOMES["ok"]
    filtered = judged(b'{"choices":[{"finish_reason":"content_filter","message":{}}]}')
    assert outcome_of(filtered).kind == OK


def test_an_error_inside_an_answer_counts_as_its_status_would() -> None:
    content = b'{"error":{"type":"overloaded_error","message":"busy"}}'
    assert outcome_of(judged(content)).reason == "overloaded"


def test_a_status_is_read_with_headers_and_body() -> None:
    assert outcome_of(status(500)()).reason == "server_error"
    assert outcome_of(status(429, "insufficient_quota")()).reason == "quota"
    assert outcome_of(status(429, retry_after="7")()).retry_after_s == 7


def test_a_date_to_wait_for_is_compared_with_the_given_clock() -> None:
    reply = status(503, retry_after="Thu, 01 Jan 2026 00:00:20 GMT")()
    assert outcome_of(reply, WALL_S).retry_after_s == 20
    assert outcome_of(reply).retry_after_s is None
    reset = {"anthropic_ratelimit_tokens_remaining": "0",
             "anthropic_ratelimit_tokens_reset": "2026-01-01T00:00:30Z"}  # fmt: skip
    assert outcome_of(status(429, "", **reset)(), WALL_S).retry_after_s == 30


def test_a_redirect_is_no_answer() -> None:
    assert outcome_of(Reply(302, (), Whole(b""))).reason == "bad_payload"
    assert outcome_of(Reply(302, SSE, Body())).reason == "bad_payload"


def test_a_stream_that_begins_with_an_error_counts_as_its_status_would() -> None:
    async def act() -> list[str]:
        replies = [await opened(ERROR), await opened(ROLE, ERROR), await opened(ROLE, DELTA, ERROR)]
        return [outcome_of(reply).reason for reply, _ in replies]

    assert asyncio.run(act()) == ["overloaded", "overloaded", "ok"]


# When it is over.


def test_a_whole_answer_is_over_at_once() -> None:
    told: list[Outcome] = []
    reply = good()()
    assert when_over(reply, told.append) is reply
    when_over(status(500)(), told.append)
    assert [outcome.reason for outcome in told] == ["ok", "server_error"]


ENDS: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "complete": (WORDS, OK, "ok"),
    "cut": ((ROLE, DELTA), FAULT, "mid_stream"),
    "broken": ((ROLE, DELTA, StreamBroken("reset")), FAULT, "mid_stream"),
    "silent": ((ROLE, DELTA, UpstreamTimeout("silence", stage="idle")), FAULT, "mid_stream"),
    "error event": ((ROLE, DELTA, ERROR), FAULT, "mid_stream"),
    "garbled": ((ROLE, DELTA, b"data: {\n\n"), FAULT, "mid_stream"),
    "broken after its marker": ((*WORDS, StreamBroken("reset")), OK, "ok"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_stream_is_over_when_it_ends_however_that_is(end: str) -> None:
    pieces, kind, reason = ENDS[end]
    told: list[Outcome] = []

    async def act() -> list[Outcome]:
        reply, _ = await opened(*pieces)
        reply = when_over(reply, told.append)
        early = list(told)
        try:
            await content_of(reply)
        except UpstreamFailed:
            assert kind == FAULT
        return early

    assert asyncio.run(act()) == []
    assert [(outcome.kind, outcome.reason) for outcome in told] == [(kind, reason)]
    assert told[0].committed == (reason == "mid_stream")


def test_a_reader_who_leaves_an_unfinished_stream_is_nobodys_fault() -> None:
    told: list[Outcome] = []

    async def act() -> None:
        reply, _ = await opened(ROLE, DELTA, 5.0, FINISH)
        await when_over(reply, told.append).body.aclose()

    asyncio.run(act())
    assert [(outcome.kind, outcome.reason) for outcome in told] == [(IGNORED, "left")]


def test_a_stream_that_begins_with_an_error_is_over_before_anybody_reads_or_closes_it() -> None:
    told: list[Outcome] = []

    async def act() -> None:
        reply, _ = await opened(ROLE, ERROR)
        assert when_over(reply, told.append) is reply
        assert [outcome.reason for outcome in told] == ["overloaded"]
        assert ERROR in await content_of(reply)

    asyncio.run(act())
    assert len(told) == 1


@pytest.mark.parametrize("most", [0, 1, 9])
def test_a_stream_of_an_unknown_dialect_is_over_when_it_ends_or_is_left(most: int) -> None:
    told: list[Outcome] = []

    async def act() -> None:
        body = Body(b"a", b"b")
        reply = when_over(Reply(200, SSE, body), told.append)
        assert told == []
        iterator = reply.body.__aiter__()
        for _ in range(most):
            await anext(iterator, None)
        await reply.body.aclose()
        await reply.body.aclose()
        assert body.closes >= 1

    asyncio.run(act())
    assert [outcome.reason for outcome in told] == ["ok" if most == 9 else "left"]


def test_a_stream_of_an_unknown_dialect_that_breaks_says_how() -> None:
    told: list[Outcome] = []

    async def act() -> None:
        reply = when_over(Reply(200, SSE, Body(b"a", StreamBroken("reset"))), told.append)
        with pytest.raises(StreamBroken):
            await content_of(reply)

    asyncio.run(act())
    assert [outcome.reason for outcome in told] == ["cut"]


def test_a_whole_answer_that_calls_itself_a_stream_stays_whole() -> None:
    told: list[Outcome] = []
    reply = Reply(200, SSE, Whole(b"x"))
    assert when_over(reply, told.append) is reply
    assert len(told) == 1


# Trying.


def test_a_failure_of_the_provider_is_a_value_and_any_other_is_raised() -> None:
    async def below(call: Any) -> Reply:
        raise call

    async def act() -> Tried:
        with pytest.raises(BreakerOpen):
            await tried(below, BreakerOpen("no"), WALL_S)  # type: ignore[arg-type]
        with pytest.raises(asyncio.CancelledError):
            await tried(below, asyncio.CancelledError(), WALL_S)  # type: ignore[arg-type]
        return await tried(below, UpstreamTimeout("slow", stage="total"), WALL_S)  # type: ignore[arg-type]

    attempt = asyncio.run(act())
    assert attempt.outcome.reason == "total_timeout"
    with pytest.raises(UpstreamTimeout):
        attempt.hand_on()
    asyncio.run(attempt.aclose())


def test_letting_go_of_a_reply_closes_its_body() -> None:
    body = Body()
    asyncio.run(Tried(OUTCOMES["ok"], Reply(200, SSE, body)).aclose())
    assert body.closes == 1


# Keeping the last.


def test_of_several_failures_the_last_is_kept_and_the_others_are_closed() -> None:
    bodies = [Body() for _ in range(3)]

    async def act() -> Tried:
        async with Kept() as kept:
            for body in bodies:
                await kept.tried(Tried(OUTCOMES["overloaded"], Reply(200, SSE, body)))
            kept.refused(BreakerOpen("no"))
            return kept.hand_on()

    last = asyncio.run(act())
    assert last.reply is not None
    assert last.reply.body is bodies[2]
    assert [body.closes for body in bodies] == [1, 1, 0]


def test_what_is_kept_and_not_handed_on_is_closed_whatever_happens() -> None:
    body = Body()

    async def act() -> None:
        async with Kept() as kept:
            await kept.tried(Tried(OUTCOMES["overloaded"], Reply(200, SSE, body)))
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(act())
    assert body.closes == 1


@pytest.mark.parametrize("waits", [(9.0, 3.0, 5.0), (None, 3.0), (3.0, None), (5.0, 3.0, None)])
def test_of_several_refusals_the_one_that_ends_first_is_told(waits: tuple[float | None]) -> None:
    kept = Kept()
    for wait_s in waits:
        kept.refused(BreakerOpen("no", retry_after_s=wait_s))
    with pytest.raises(BreakerOpen) as raised:
        kept.hand_on()
    assert raised.value.retry_after_s == 3


# Handing on.


def spent(attempts: int, denied: str = "") -> Allowance:
    allowance = Allowance(AllowanceSettings())
    for _ in range(attempts):
        allowance.spend()
    allowance.denied = denied
    return allowance


def test_an_answer_says_what_it_took_and_whether_another_model_gave_it() -> None:
    reply = Reply(200, (), Whole(b""), provenance=Provenance(attempts=1, target="a/m"))
    first, second = Route(Target("a", "m")), Route(Target("b", "m"), role=FALLBACK)
    assert answered(reply, spent(1), first) is reply
    assert answered(reply, spent(3), first).provenance.attempts == 3
    stand_in = answered(reply, spent(1), second).provenance
    assert (stand_in.attempts, stand_in.is_stand_in, stand_in.target) == (1, True, "a/m")
    assert first.role == TARGET


@pytest.mark.parametrize("step", [good(), status(503), UpstreamFailed("no"), BreakerOpen("no")])
def test_a_call_with_one_way_to_go_ends_as_its_attempt_does(step: Any) -> None:
    allowance = spent(2, "budget")

    async def below(call: Call) -> Reply:
        if isinstance(step, Exception):
            raise step
        reply: Reply = step()
        return reply

    async def ask() -> Reply:
        call = a_call(allowance=allowance)
        return await only_tried(below, call, call.routes[0], WALL_S)

    if isinstance(step, UpstreamFailed | BreakerOpen):
        with pytest.raises(type(step)) as raised:
            asyncio.run(ask())
        assert raised.value is step
        assert raised.value.attempts == 2
    else:
        reply = asyncio.run(ask())
        assert reply.provenance.attempts == 2
        assert should_retry(reply) == ([] if reply.status == 200 else [b"false"])


def should_retry(reply: Reply) -> list[bytes]:
    return [value for name, value in reply.headers if name == b"x-should-retry"]


@pytest.mark.parametrize("denied", [ATTEMPTS, BUDGET, RETRY_AFTER, UNSAFE, "failing"])
def test_a_failure_after_spent_attempts_tells_sdks_to_leave_it(denied: str) -> None:
    step = status(503, x_should_retry="true")
    reply = failed(Tried(OUTCOMES["unavailable"], step()), spent(3, denied))
    assert should_retry(reply) == [b"false"]
    assert reply.provenance.attempts == 3
    error = UpstreamFailed("gone")
    with pytest.raises(UpstreamFailed):
        failed(Tried(OUTCOMES["reset"], error=error), spent(2, denied))
    assert (error.attempts, error.should_retry) == (2, False)


@pytest.mark.parametrize("denied", ["", DEADLINE])
def test_where_nothing_is_spent_the_sdk_decides(denied: str) -> None:
    reply = failed(Tried(OUTCOMES["unavailable"], status(503)()), spent(1, denied))
    assert should_retry(reply) == []
    error = UpstreamFailed("gone")
    with pytest.raises(UpstreamFailed):
        failed(Tried(OUTCOMES["reset"], error=error), spent(1, denied))
    assert error.should_retry is (None if denied == DEADLINE else False)


def test_what_was_tried_elsewhere_in_vain_is_not_to_be_multiplied() -> None:
    """Nothing was denied: there was nowhere else to go."""
    reply = failed(Tried(OUTCOMES["unavailable"], status(503)()), spent(2))
    assert should_retry(reply) == [b"false"]


def test_where_only_one_attempt_is_made_by_configuration_nothing_is_multiplied() -> None:
    reply = failed(Tried(OUTCOMES["unavailable"], status(503)()), spent(1, ATTEMPTS))
    assert should_retry(reply) == []


def test_what_would_fail_the_same_way_again_is_marked_where_sdks_would_try_it() -> None:
    def marks(number: int, reason: str) -> list[bytes]:
        return should_retry(failed(Tried(OUTCOMES[reason], status(number)()), spent(1, FINAL)))

    assert marks(429, "quota") == marks(429, "too_large") == marks(502, "bad_payload") == [b"false"]
    assert marks(400, "bad_request") == marks(401, "authentication") == []
    error = UpstreamFailed("certificate")
    with pytest.raises(UpstreamFailed):
        failed(Tried(OUTCOMES["certificate"], error=error), spent(1, FINAL))
    assert error.should_retry is False


def test_a_wait_that_sdks_would_cut_short_is_marked() -> None:
    def marks(wait: str) -> list[bytes]:
        reply = status(429, retry_after=wait)()
        return should_retry(failed(Tried(outcome_of(reply), reply), spent(1, DEADLINE)))

    assert marks("60") == []
    assert marks("61") == [b"false"]


def test_a_failed_stream_is_handed_on_unclosed() -> None:
    async def act() -> tuple[bytes, int]:
        reply, body = await opened(ROLE, ERROR)
        assert isinstance(reply.body, Events)
        final = failed(Tried(outcome_of(reply), reply), spent(3, ATTEMPTS))
        return await content_of(final), body.closes

    assert asyncio.run(act()) == (ROLE + ERROR, 1)
