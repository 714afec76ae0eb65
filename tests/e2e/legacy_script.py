"""Runs inside an environment of older SDKs: asks one gateway everything twice, prints JSON.

Usage: python legacy_script.py GATEWAY_URL. Imports nothing but the SDKs and the standard library.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import anthropic
import openai

QUESTION: Any = [{"role": "user", "content": "Which SDK is this?"}]
MESSAGE: Any = {"model": "m", "max_tokens": 100, "messages": QUESTION}


def openai_calls(client: openai.OpenAI) -> dict[str, Any]:
    """Operation to two answers; equal ones if nobody was asked twice."""
    asks = {
        "chat": lambda: client.chat.completions.create(model="m", messages=QUESTION),
        "completions": lambda: client.completions.create(model="m", prompt="Once"),
        "responses": lambda: client.responses.create(model="m", input="Hello?"),
        "embeddings": lambda: client.embeddings.create(model="m", input=["a", "b"], dimensions=8),
    }
    return {name: [ask() == ask(), type(ask()).__name__] for name, ask in asks.items()}


def streamed_text(client: openai.OpenAI, claude: anthropic.Anthropic) -> list[bool]:
    """Whether streams say what whole answers say."""
    whole = client.chat.completions.create(model="m", messages=QUESTION)
    stream = client.chat.completions.create(model="m", messages=QUESTION, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    message = claude.messages.create(**MESSAGE)
    with claude.messages.stream(**MESSAGE) as events:
        said = events.get_final_text()
    return [text == whole.choices[0].message.content, said == message.content[0].text]


STREAMED: Any = [{"role": "user", "content": "And its streams?"}]
STREAMS: dict[str, Callable[[Any, Any], Any]] = {
    "chat": lambda client, _: client.chat.completions.create(
        model="m", messages=STREAMED, stream=True
    ),
    "completions": lambda client, _: client.completions.create(
        model="m", prompt="And then", stream=True
    ),
    "responses": lambda client, _: client.responses.create(model="m", input="Bye?", stream=True),
    "messages": lambda _, claude: claude.messages.create(
        model="m", max_tokens=100, messages=STREAMED, stream=True
    ),
}


def replays(client: openai.OpenAI, claude: anthropic.Anthropic, url: str) -> dict[str, list[bool]]:
    """Whether the events of a second reading, and those of an asynchronous one, are those of the
    first."""
    read = {name: [list(ask(client, claude)) for _ in range(2)] for name, ask in STREAMS.items()}
    other = asyncio.run(replayed_async(url))
    return {
        name: [len(first) > 1, first == second, first == other[name]]
        for name, (first, second) in read.items()
    }


async def replayed_async(url: str) -> dict[str, list[Any]]:
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client,
        anthropic.AsyncAnthropic(base_url=url, api_key="k") as claude,
    ):
        return {
            name: [event async for event in await ask(client, claude)]
            for name, ask in STREAMS.items()
        }


async def asked_async(url: str) -> list[str]:
    """Where the answers of the async clients came from."""
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client,
        anthropic.AsyncAnthropic(base_url=url, api_key="k") as claude,
    ):
        chat = await client.chat.completions.with_raw_response.create(model="m", messages=QUESTION)
        message = await claude.messages.with_raw_response.create(**MESSAGE)
        return [reply.headers["cache-status"] for reply in (chat, message)]


def errors(client: openai.OpenAI, claude: anthropic.Anthropic) -> list[str]:
    """Exception classes of our own refusals."""
    names = []
    asks = (
        lambda: client.chat.completions.create(
            model="m", messages=QUESTION, extra_body={"stream": 5}
        ),
        lambda: claude.messages.create(**MESSAGE, extra_headers={"headgate-ttl": "soon"}),
        lambda: client.images.generate(prompt="x"),
    )
    for ask in asks:
        try:
            ask()
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            names.append(type(error).__name__)
    return names


def main(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    claude = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    print(
        json.dumps(
            {
                "versions": [openai.__version__, anthropic.__version__],
                "openai": openai_calls(client),
                "messages": claude.messages.create(**MESSAGE) == claude.messages.create(**MESSAGE),
                "streams": streamed_text(client, claude),
                "replays": replays(client, claude, url),
                "async": asyncio.run(asked_async(url)),
                "errors": errors(client, claude),
                "models": [model.id for model in client.models.list()],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
