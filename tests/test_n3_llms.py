"""Models of an N3 app: objects of its own base class, asked through headgate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from gates import ONE_ATTEMPT, providers_at
from n3app.llm import BaseLLM, ChatMessage, LLMError, LLMResponse, Unjoined

from headgate.backend.declared import Llm
from headgate.config import Config
from headgate.errors import BadRequest, HeadgateError
from headgate.n3_llms import (
    Calls,
    Llms,
    Names,
    Response,
    Voice,
    messages_of,
    names_of,
    with_settings,
)
from headgate.runtime import Runtime
from headgate.testing import Answer, FakeProvider, Status

ASKED = [ChatMessage("system", "Be kind."), ChatMessage("user", "Count")]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def llms(provider: FakeProvider) -> Iterator[Llms]:
    with Runtime(Config(providers=providers_at(provider, "sk-ours"), **ONE_ATTEMPT)) as runtime:
        yield Llms(runtime)


def made(llms: Llms, names: Names, system_prompt: str = "Be brief.") -> Any:
    kind: Any = type("Made", (Calls, names.base), {})
    llm = kind("fast", "m")
    declared = Llm("openai/m", system_prompt=system_prompt, params={"temperature": 0.2})
    llm._headgate = Voice(declared, llms, names, "openai", "m")
    return llm


@pytest.fixture
def llm(llms: Llms) -> Any:
    return made(llms, Names(BaseLLM, LLMResponse, LLMError))


def test_it_is_one_of_n3s_and_answers_as_one(llm: Any, provider: FakeProvider) -> None:
    provider.script(Answer(text="one"))
    assert isinstance(llm, BaseLLM)
    first, again = llm.generate("Count"), llm.generate("Count")
    assert isinstance(first, LLMResponse)
    assert (first.text, first.model) == ("one", again.model)
    assert first.usage["total_tokens"] == first.usage["prompt_tokens"] + 1
    assert (first.metadata, again.metadata) == ({"cached": False}, {"cached": True})
    assert (llm.supports_streaming(), llm.get_provider_name()) == (True, "openai")
    assert len(provider.calls) == 1


def test_every_way_of_asking_is_one_question(llm: Any, provider: FakeProvider) -> None:
    async def awaited() -> list[str]:
        return [(await llm.agenerate("Count")).text, (await llm.agenerate_chat(plain)).text]

    async def streamed() -> list[str]:
        whole = []
        for chunks in (llm.stream_generate("Count"), llm.stream_generate_chat(plain)):
            read = [chunk async for chunk in chunks]
            assert {chunk.model for chunk in read} == {"m"}
            whole.append("".join(chunk.text for chunk in read))
        return whole

    plain = [{"role": "user", "content": "Count"}]
    texts = [llm.generate("Count").text, llm.generate_chat(plain).text]
    texts += ["".join(llm.stream("Count")), "".join(llm.stream_chat(plain))]
    texts += asyncio.run(awaited()) + asyncio.run(streamed())
    texts += [one.text for one in llm.generate_batch(["Count"])]
    assert len(texts) == 9
    assert len(set(texts)) == 1
    assert len(provider.calls) == 1


def test_messages_with_a_system_prompt_of_their_own_keep_it(
    llm: Any, provider: FakeProvider
) -> None:
    llm.generate_chat(ASKED)
    assert provider.calls[0].body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Count"},
    ]


def test_another_system_prompt_is_another_question(llms: Llms, provider: FakeProvider) -> None:
    """The original's key has neither system prompt nor messages."""
    names = Names(BaseLLM, LLMResponse, LLMError)
    for system_prompt in ("Be brief.", "Be long."):
        made(llms, names, system_prompt).generate("Count")
    made(llms, names).generate_chat([*ASKED, ChatMessage("user", "More")])
    assert len(provider.calls) == 3


@pytest.mark.parametrize("way", ["generate", "agenerate", "stream", "stream_generate"])
def test_errors_are_n3s_own_and_are_not_kept(way: str, llm: Any, provider: FakeProvider) -> None:
    async def drained(chunks: Any) -> list[Any]:
        return [chunk async for chunk in chunks]

    def ask() -> Any:
        result = getattr(llm, way)("Count")
        if way == "agenerate":
            return asyncio.run(result)
        return {"stream": list, "stream_generate": lambda it: asyncio.run(drained(it))}.get(
            way, lambda it: it
        )(result)

    provider.script(Status(400))
    with pytest.raises(LLMError, match="status 400") as raised:
        ask()
    assert (raised.value.provider, raised.value.model) == ("openai", "m")
    assert raised.value.status_code == 400
    assert isinstance(raised.value.original_error, HeadgateError)
    assert ask()


def test_where_n3_has_no_classes_of_its_own_ours_stand_in(
    llms: Llms, provider: FakeProvider
) -> None:
    llm = made(llms, Names(BaseLLM, Response, None))
    assert isinstance(llm.generate("Count"), Response)
    provider.script(Status(400))
    with pytest.raises(HeadgateError):
        llm.generate("Other")


def test_n3s_classes_are_found_by_its_objects_or_its_runtime() -> None:
    class Module:
        BaseLLM = BaseLLM

    class Empty:
        """Without anything."""

    expected = Names(BaseLLM, LLMResponse, LLMError)
    assert names_of(iter([Unjoined("a", "m")]), Empty) == expected
    assert names_of(iter([]), Module) == expected
    assert names_of(iter([]), Empty) is None


def test_only_settings_of_models_are_sent() -> None:
    llm = Llm("m", params={"temperature": 0.2, "seed": 1})
    assert with_settings(llm, {"prompt": "x", "user": "y", "seed": None}) is llm
    assert with_settings(llm, {"temperature": 1}).params == {"temperature": 1, "seed": 1}


@pytest.mark.parametrize("prompt", [None, 5, {"role": "user"}])
def test_what_is_no_prompt_is_a_bad_request(prompt: Any) -> None:
    with pytest.raises(BadRequest):
        messages_of(prompt)


def test_a_text_is_asked_by_a_declared_name_a_models_own_or_any(
    llms: Llms, provider: FakeProvider
) -> None:
    llms.declare("fast", Llm("openai/m", params={"seed": 1}))
    for model in ("fast", "m", "anthropic/x", "openai/y"):
        llms.text("Count", model, {}, 20)
    asked = [(call.path, call.body["model"], call.body.get("seed")) for call in provider.calls]
    assert asked == [
        ("/v1/chat/completions", "m", 1),
        ("/v1/messages", "x", None),
        ("/v1/chat/completions", "y", None),
    ]
