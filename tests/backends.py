"""Backends over providers on loopback sockets, asked without a web framework."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gates import ONE_ATTEMPT, Upstream, providers_at
from pydantic import BaseModel, ConfigDict

from headgate.backend import Backend, Llm, Prompt, Served
from headgate.config import Config
from headgate.core.sse import parse_event, split
from headgate.runtime import Runtime

FAST = Llm("fast", params={"temperature": 0.2, "max_tokens": 64}, system_prompt="Be brief.")
CLAUDE = Llm("claude", "anthropic", "Be kind.", {"top_k": 3})
STREAM = ((b"accept", b"text/event-stream"),)


class Summary(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    summary: str


SCHEMA = {"type": "object", "properties": {"summary": {"type": "string"}}}
TITLE = Prompt("title", FAST, "Title of {{text}}")
SUMMARISE = Prompt("summarise", FAST, "Summarise {{text}}", output=Summary, schema=SCHEMA)


class Got(NamedTuple):
    """A whole reply, or what a stream came to."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Name and document of each."""
        parsed = [parse_event(event) for event in split(self.body)]
        return [(name.decode(), json.loads(content)) for name, content in parsed]


async def got(served: Served) -> Got:
    if isinstance(served.body, bytes):
        return Got(served.status, served.headers, served.body)
    body = b"".join([event async for event in served.body])
    await served.body.aclose()
    return Got(served.status, served.headers, body)


@asynccontextmanager
async def backend_before(
    upstream: Upstream, blocks: Mapping[str, Any] = ONE_ATTEMPT
) -> AsyncIterator[Backend]:
    """A backend with a key of its own for both dialects of `upstream`."""
    config = Config(providers=providers_at(upstream, "sk-ours"), **blocks)
    async with Backend(Runtime(config)) as backend:
        yield backend


def ask(upstream: Upstream, *questions: tuple[Any, ...]) -> list[Got]:
    """The replies to questions asked one after the other: method of the backend, its arguments, and
    perhaps headers."""

    async def all_of_them() -> list[Got]:
        async with backend_before(upstream) as backend:
            replies = []
            for method, declared, given, *more in questions:
                headers: Sequence[tuple[bytes, bytes]] = more[0] if more else ()
                replies.append(await got(await getattr(backend, method)(declared, given, headers)))
            return replies

    return asyncio.run(all_of_them())


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]
