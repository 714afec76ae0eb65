"""What an account is told of each attempt: its outcome, what was counted, what is guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.account import Account
from headgate.core.booking import FAILED, Attempt, billed_row
from headgate.core.budget import Hold
from headgate.core.client import KeyRecord, client_of
from headgate.core.money import Price, Rates
from headgate.errors import BreakerOpen, SpendExhausted, Unpriced, UpstreamTimeout
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
ONE = Price(Rates(*[1_000_000] * 5), "v1")
"""1 nano-dollar for each token."""


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


class Purse:
    """What a budget is told, in order."""

    def __init__(self, *, takes_unpriced: bool = False, is_empty: bool = False) -> None:
        self.takes_unpriced = takes_unpriced
        self.is_empty = is_empty
        self.told: list[tuple[str, int]] = []

    def reserve(self, nanos: int) -> Hold:
        if self.is_empty:
            raise SpendExhausted("nothing is left")
        self.told.append(("reserve", nanos))
        return Hold(nanos)

    def settle(self, hold: Hold, nanos: int) -> None:
        self.told.append(("settle", nanos))

    def release(self, hold: Hold) -> None:
        self.told.append(("release", hold.nanos))


class Priced(Told):
    """An account at 1 nano-dollar a token, or at no known price."""

    __slots__ = ("price",)

    def __init__(self, price: Price | None = ONE) -> None:
        super().__init__()
        self.price = price

    async def standard_price(self, target: str) -> Price | None:
        return self.price

    def billed(self, attempt: Attempt) -> int | None:
        row = billed_row(replace(attempt, price=self.price), FAILED)
        return 0 if row is None else row.cost_nanos


def paying(below: Service, purse: Purse, account: Told, **more: Any) -> list[tuple[str, int]]:
    """What the purse is told of one call that is read to its end."""
    made = client_of(KeyRecord("a", "a", "acme", b"", ("*",), 0.0), purse)
    call = replace(CALL, account=account, client=made, **more)

    async def scene() -> None:
        reply = await cost(below)(call)
        async for _ in reply.body:
            pass

    asyncio.run(scene())
    return purse.told


def answering(usage: Usage) -> Service:
    async def below(call: Call) -> Reply:
        return Reply(200, (), Whole(ANSWER), usage)

    return below


def test_the_estimate_is_reserved_and_what_was_counted_settled() -> None:
    told = paying(answering(Usage(9, 3)), Purse(), Priced())
    assert told == [("reserve", SENT_TOKENS + 500), ("settle", 12)]


def test_embeddings_say_nothing_and_nothing_is_reserved_for_it() -> None:
    told = paying(answering(Usage(9)), Purse(), Priced(), operation="embeddings")
    assert told == [("reserve", SENT_TOKENS), ("settle", 9)]


def test_counting_tokens_is_billed_by_nobody_and_needs_no_money() -> None:
    async def below(call: Call) -> Reply:
        return Reply(200, (), Whole(b'{"input_tokens": 300}'))

    account = Priced(None)
    assert paying(below, Purse(is_empty=True), account, operation="count_tokens") == []
    assert account.attempts == []


@pytest.mark.parametrize("error", [BreakerOpen("x"), UpstreamTimeout("x", stage="connect")])
def test_what_was_not_sent_is_released(error: Exception) -> None:
    async def below(call: Call) -> Reply:
        raise error

    purse = Purse()
    with pytest.raises(type(error)):
        paying(below, purse, Priced())
    assert purse.told == [("reserve", SENT_TOKENS + 500), ("release", SENT_TOKENS + 500)]


def test_what_may_have_been_billed_is_settled_as_it_is_booked() -> None:
    async def below(call: Call) -> Reply:
        raise UpstreamTimeout("x", stage="total")

    purse, account = Purse(), Priced()
    with pytest.raises(UpstreamTimeout):
        paying(below, purse, account)
    assert purse.told == [("reserve", SENT_TOKENS + 500), ("settle", SENT_TOKENS)]
    assert len(account.attempts) == 1


def test_without_money_nothing_is_asked() -> None:
    with pytest.raises(SpendExhausted):
        paying(answering(NO_USAGE), Purse(is_empty=True), Priced())


def test_without_a_price_nothing_is_asked_unless_that_is_said() -> None:
    with pytest.raises(Unpriced, match=r"keys\.unpriced"):
        paying(answering(NO_USAGE), Purse(), Priced(None))
    assert paying(answering(Usage(9, 3)), Purse(takes_unpriced=True), Priced(None)) == []


def test_an_answer_in_a_tier_without_a_price_costs_what_was_reserved() -> None:
    class Dear(Priced):
        def billed(self, attempt: Attempt) -> int | None:
            return None

    told = paying(answering(Usage(9, 3)), Purse(), Dear())
    assert told == [("reserve", SENT_TOKENS + 500), ("settle", SENT_TOKENS + 500)]
