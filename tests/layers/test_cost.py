"""What an account is told of each attempt: its outcome, what was counted, what is guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from headgate.account import Account
from headgate.core.booking import Attempt
from headgate.errors import BreakerOpen, UpstreamTimeout
from headgate.events import looked_at
from headgate.layers.cost import cost
from headgate.stream import Chunks, Whole
from headgate.types import NO_USAGE, Call, Invocation, Reply, Service, Target, Usage, WireRequest

BODY = b'{"messages": [{"role": "user", "content": "Capital of France?"}]}'
CALL = Call("chat", "m", WireRequest("/", BODY, ()), b"k", b"s", Target("p", "m"))
ANSWER = b'{"choices": [{"message": {"content": "' + b"Paris" * 8 + b'"}}]}'
SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "' + b"Paris" * 8 + b'"}}]}\n\n'
FINISH = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
COUNTED = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}\n\n'
DONE = b"data: [DONE]\n\n"
SENT_TOKENS = len(BODY) // 4


class Told(Account):
    """An account that only writes down."""

    __slots__ = ("attempts",)

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.trail = None

    def tried(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)


async def ask(below: Service, account: Told, read: int | None = None) -> None:
    """Asks, and reads so many pieces of the answer (None: all) before it lets go."""
    call = replace(CALL, account=account)
    reply = await cost(below)(call)
    pieces = 0
    async for _ in reply.body:
        pieces += 1
        if pieces == read:
            break
    await reply.body.aclose()


def streaming(*pieces: bytes) -> Service:
    async def below(call: Call) -> Reply:
        async def generate() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        events = looked_at("chat", 200, Chunks(generate()), 1_000_000)
        assert events is not None
        await events.open()
        return Reply(200, (), events)

    return below


def attempt_of(below: Service, read: int | None = None) -> Attempt:
    account = Told()
    asyncio.run(ask(below, account, read))
    (attempt,) = account.attempts
    return attempt


def test_a_whole_answer_is_what_the_provider_counted() -> None:
    async def below(call: Call) -> Reply:
        return Reply(200, (), Whole(ANSWER), Usage(9, 3))

    attempt = attempt_of(below)
    assert (attempt.target, attempt.outcome.reason) == ("p/m", "ok")
    assert (attempt.usage, attempt.estimate) == (Usage(9, 3), NO_USAGE)


def test_a_whole_answer_that_nobody_counted_is_guessed() -> None:
    async def below(call: Call) -> Reply:
        return Reply(200, (), Whole(ANSWER))

    attempt = attempt_of(below)
    assert (attempt.usage, attempt.estimate) == (NO_USAGE, Usage(SENT_TOKENS, 10))


def test_an_answer_of_which_only_the_prompt_was_counted_is_guessed() -> None:
    async def below(call: Call) -> Reply:
        return Reply(200, (), Whole(ANSWER), Usage(9, 0))

    attempt = attempt_of(below)
    assert (attempt.usage, attempt.estimate) == (Usage(9, 0), Usage(SENT_TOKENS, 10))


def test_a_stream_is_counted_at_its_end() -> None:
    attempt = attempt_of(streaming(SAID, FINISH, COUNTED, DONE))
    assert (attempt.outcome.reason, attempt.usage) == ("ok", Usage(9, 3))


def test_a_stream_that_is_left_is_what_came_of_it_and_the_prompt() -> None:
    attempt = attempt_of(streaming(SAID, SAID, FINISH, COUNTED, DONE), read=1)
    assert (attempt.outcome.reason, attempt.usage) == ("left", NO_USAGE)
    assert attempt.estimate == Usage(SENT_TOKENS, 10)


def test_an_attempt_that_fails_is_told_with_its_prompt() -> None:
    async def below(call: Call) -> Reply:
        raise UpstreamTimeout("nothing came", stage="first_token")

    account = Told()
    with pytest.raises(UpstreamTimeout):
        asyncio.run(ask(below, account))
    (attempt,) = account.attempts
    assert attempt.outcome.uncertain
    assert attempt.estimate == Usage(SENT_TOKENS, 0)


def test_a_refusal_of_ours_is_no_attempt() -> None:
    async def below(call: Call) -> Reply:
        raise BreakerOpen("closed")

    account = Told()
    with pytest.raises(BreakerOpen):
        asyncio.run(ask(below, account))
    assert account.attempts == []


def test_a_callable_is_its_callers_business() -> None:
    async def below(call: Call) -> Reply:
        return Reply(200, (), Whole(ANSWER))

    async def run() -> str:
        return ""

    account = Told()
    invoked = Call("function", "m", Invocation(run, 0, False), b"", b"", CALL.target,
                   account=account)  # fmt: skip
    asyncio.run(_served(below, invoked))
    assert account.attempts == []


async def _served(below: Service, call: Call) -> Reply:
    return await cost(below)(call)
