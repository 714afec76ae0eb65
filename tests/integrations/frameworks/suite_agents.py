"""Runs where the frameworks are installed: agents of OpenAI and of pydantic, through our client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
)
from openai import AsyncOpenAI
from pydantic_ai import Agent as TypedAgent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.openai import OpenAIResponsesModel as TypedResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from headgate import Runtime
from headgate.testing import Answer, FakeProvider

QUIET = RunConfig(tracing_disabled=True)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as opened:
        yield opened


@pytest.mark.parametrize("kind", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
async def test_an_agent_of_openai_asks_once(
    kind: type, runtime: Runtime, provider: FakeProvider
) -> None:
    provider.script(Answer(text="Paris"))
    client = AsyncOpenAI(
        base_url=provider.base_url,
        api_key="sk-x",
        http_client=runtime.http_client(asynchronous=True),
    )
    agent = Agent("guide", instructions="Be brief.", model=kind("gpt-4o-mini", client))
    for _ in range(2):
        result = await Runner.run(agent, "Capital of France?", run_config=QUIET)
        assert result.final_output == "Paris"
    assert len(provider.calls) == 1


@pytest.mark.parametrize("kind", [OpenAIChatModel, TypedResponsesModel])
async def test_an_agent_of_pydantic_asks_once(
    kind: type, runtime: Runtime, provider: FakeProvider
) -> None:
    provider.script(Answer(text="Paris"))
    asked = OpenAIProvider(
        base_url=provider.base_url,
        api_key="sk-x",
        http_client=runtime.http_client(asynchronous=True),
    )
    agent = TypedAgent(kind("gpt-4o-mini", provider=asked), instructions="Be brief.")
    for _ in range(2):
        assert (await agent.run("Capital of France?")).output == "Paris"
    assert len(provider.calls) == 1
