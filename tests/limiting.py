"""Calls, clocks and upstreams for tests of limits, in virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from msgspec.structs import replace

from headgate.core.outcome import OUTCOMES
from headgate.stream import Whole
from headgate.types import Call, Controls, Headers, Reply, Target, Usage, WireRequest

ALICE: Headers = ((b"authorization", b"Bearer alice"),)
BOB: Headers = ((b"authorization", b"Bearer bob"),)
GOOD, DROP = OUTCOMES["ok"], OUTCOMES["rate_limit"]


class LoopClock:
    """Time of the running loop, which may be a virtual one; dice that always show the same."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    wall = epoch = monotonic

    def random(self) -> float:
        return 0.5


def a_call(credential: Headers = ALICE, model: str = "m", **more: Any) -> Call:
    """A call with about 25 tokens of text and at most 75 of answer, thus an estimate of 100."""
    fields = {"model": model, "max_tokens": 75, "messages": ""}
    fields["messages"] = "?" * (101 - len(json.dumps(fields)))
    body = json.dumps(fields).encode()
    call = Call(
        "chat", model, WireRequest("/chat/completions", body, (), credential), b"k" * 32,
        b"s" * 32, Target("p", model),
    )  # fmt: skip
    return replace(call, **more)


def hurried(deadline_s: float) -> Call:
    return a_call(controls=Controls(deadline_s=deadline_s))


class Upstream:
    """A service that answers after `took_s`; what is to be raised or returned otherwise stands in
    `script`, first come, first served."""

    def __init__(self, took_s: float = 1.0) -> None:
        self.took_s = took_s
        self.script: list[Reply | BaseException] = []
        self.asked = 0
        self.inside = 0
        self.most_inside = 0

    async def __call__(self, call: Call) -> Reply:
        self.asked += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await asyncio.sleep(self.took_s)
        finally:
            self.inside -= 1
        answer = self.script.pop(0) if self.script else whole()
        if isinstance(answer, BaseException):
            raise answer
        return answer


def whole(status: int = 200, tokens: int = 40) -> Reply:
    return Reply(status, (), Whole(b"{}"), Usage(tokens_in=tokens - 10, tokens_out=10))


def uncounted() -> Reply:
    """An answer that says nothing of its tokens."""
    return Reply(200, (), Whole(b"{}"))
