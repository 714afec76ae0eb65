"""The provider of library calls: the callable's own result, its own exception, and its tokens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Usage as AnthropicUsage
from openai.types import CompletionUsage
from openai.types.responses import ResponseUsage

from headgate.providers.function import call_function, tier_of, usage_of
from headgate.stream import Value
from headgate.types import NO_USAGE, Call, Invocation, Target, Usage, WireRequest


def a_call(request: Any) -> Call:
    return Call("function", "m", request, b"k", b"s", Target("function", "callable"))


def test_the_result_of_the_callable_is_the_body_of_the_reply() -> None:
    result = {"usage": {"prompt_tokens": 9, "completion_tokens": 1}}

    async def run() -> Any:
        return result

    reply = asyncio.run(call_function(a_call(Invocation(run, 1, False))))
    assert isinstance(reply.body, Value)
    assert reply.body.original is result
    assert (reply.status, reply.headers, reply.usage) == (200, (), Usage(9, 1))
    assert (reply.provenance.hit, reply.provenance.stored) == (False, False)


def test_the_exception_of_the_callable_passes_as_it_is() -> None:
    error = LookupError("no")

    async def run() -> Any:
        raise error

    with pytest.raises(LookupError) as raised:
        asyncio.run(call_function(a_call(Invocation(run, 1, False))))
    assert raised.value is error


def test_a_request_of_the_wire_is_no_callable() -> None:
    with pytest.raises(TypeError, match="calls of the library only"):
        asyncio.run(call_function(a_call(WireRequest("/", b"", ()))))


@dataclass
class Answer:
    """A reply object as SDKs return them: the numbers are attributes."""

    usage: Any


OPENAI = CompletionUsage.model_validate(
    {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 6},
    }
)
RESPONSES = ResponseUsage.model_validate(
    {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 14,
    }
)
ANTHROPIC = AnthropicUsage.model_validate(
    {
        "input_tokens": 3,
        "output_tokens": 4,
        "cache_read_input_tokens": 6,
        "cache_creation_input_tokens": 1,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1},
    }
)


@pytest.mark.parametrize(
    ("usage", "rest"),
    [
        (OPENAI, {}),
        (RESPONSES, {"tokens_reasoning": 1}),
        (ANTHROPIC, {"tokens_cache_write": 1, "tokens_cache_write_1h": 1}),
    ],
    ids=["chat", "responses", "claude"],
)
def test_the_tokens_of_every_dialect_mean_the_same(usage: Any, rest: dict[str, int]) -> None:
    expected = Usage(tokens_in=10, tokens_out=4, tokens_cached=6, **rest)
    assert usage_of(Answer(usage)) == expected
    assert usage_of(Answer(usage.model_dump())) == expected
    assert usage_of({"usage": usage.model_dump()}) == expected


@pytest.mark.parametrize(
    ("result", "tier"),
    [
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": None, "usage": {"service_tier": "standard", "speed": "fast"}}, "fast"),
        (SimpleNamespace(service_tier="priority"), "priority"),
        ("service_tier", ""),
        (None, ""),
        ({"service_tier": 7}, "other"),
    ],
)
def test_the_tier_is_what_the_answer_names(result: Any, tier: str) -> None:
    assert tier_of(result) == tier


def test_reasoning_is_inside_the_output_and_a_cache_read_inside_the_input() -> None:
    assert usage_of(Answer(RESPONSES)).tokens == usage_of(Answer(ANTHROPIC)).tokens == 14


NO_TOKENS: list[Any] = [
    None, 7, "usage", b"", [], {}, {"usage": None}, {"usage": "many"}, {"usage": 5}, {"usage": {}},
    {"usage": {"prompt_tokens": None}}, {"usage": {"prompt_tokens": -1}},
    {"usage": {"prompt_tokens": True}}, {"usage": {"prompt_tokens": "9"}},
    {"usage": {"prompt_tokens": 1.5}}, {"usage": [1, 2]}, Answer(None), Answer(lambda: 9),
]  # fmt: skip


@pytest.mark.parametrize("result", NO_TOKENS, ids=range(len(NO_TOKENS)))
def test_what_tells_no_tokens_has_none(result: Any) -> None:
    assert usage_of(result) == NO_USAGE


def test_details_that_are_null_do_not_hide_the_rest() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": None}
    assert usage_of({"usage": usage}) == Usage(9, 1)


@pytest.mark.parametrize(
    "error", [RuntimeError("not streamed yet"), KeyError("usage"), ValueError()]
)
def test_usage_that_cannot_be_read_does_not_cost_the_answer(error: Exception) -> None:
    class Lazy:
        @property
        def usage(self) -> Any:
            raise error

    assert usage_of(Lazy()) == usage_of({"usage": Lazy()}) == usage_of(Answer(Lazy())) == NO_USAGE
