"""The dialects whose answers can be streamed, as tests ask in them: paths, questions, the official
clients, and recorded answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anthropic
import openai
from core.shaping import GOLDEN, recorded

from headgate.core.sse import split

PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
DIALECTS = tuple(PATHS)
USAGE_ON_DEMAND = ("chat", "completions")
"""Dialects whose streams tell their usage only to those who ask."""


def question(operation: str, text: str = "q", **more: Any) -> dict[str, Any]:
    """A request of this dialect for a whole answer, which may be as long as the request says: then
    one that was cut there is kept too. `more` goes into its body."""
    asked: Any = [{"role": "user", "content": text}]
    said: dict[str, dict[str, Any]] = {
        "chat": {"messages": asked, "max_completion_tokens": 400},
        "completions": {"prompt": text, "max_tokens": 400},
        "responses": {"input": text, "max_output_tokens": 400},
        "messages": {"messages": asked, "max_tokens": 400},
    }
    return {"model": "m", **said[operation], **more}


def streamed(operation: str, text: str = "q", **more: Any) -> dict[str, Any]:
    """As `question`, for a stream that tells its usage."""
    usage = {"stream_options": {"include_usage": True}} if operation in USAGE_ON_DEMAND else {}
    return question(operation, text, stream=True, **usage, **more)


class Clients:
    """The official clients, made for one gateway or provider; asynchronous ones live in one loop.
    `retries` are those of the SDKs."""

    def __init__(self, url: str, key: str = "k", *, asynchronous: bool = False) -> None:
        at: Any = {"api_key": key, "max_retries": 0}
        if asynchronous:
            self.openai: Any = openai.AsyncOpenAI(base_url=f"{url}/v1", **at)
            self.anthropic: Any = anthropic.AsyncAnthropic(base_url=url, **at)
        else:
            self.openai = openai.OpenAI(base_url=f"{url}/v1", **at)
            self.anthropic = anthropic.Anthropic(base_url=url, **at)

    def resource(self, operation: str) -> Any:
        """What has the methods `create`, `with_raw_response` and the like for this dialect."""
        return {
            "chat": self.openai.chat.completions,
            "completions": self.openai.completions,
            "responses": self.openai.responses,
            "messages": self.anthropic.messages,
        }[operation]

    def close(self) -> None:
        self.openai.close()
        self.anthropic.close()

    async def aclose(self) -> None:
        await self.openai.close()
        await self.anthropic.close()


@contextmanager
def clients_at(url: str, key: str = "k") -> Iterator[Clients]:
    """Synchronous clients, closed in the end."""
    made = Clients(url, key)
    try:
        yield made
    finally:
        made.close()


class Recording(NamedTuple):
    """An answer as a provider gave it, in both shapes."""

    operation: str
    name: str
    content: bytes
    """The stream."""
    whole: Any
    """The value of the whole answer's JSON."""

    @property
    def events(self) -> list[bytes]:
        """The stream event by event."""
        return split(self.content)

    def __str__(self) -> str:
        return f"{self.operation}-{self.name}"


def _recordings() -> Iterator[Recording]:
    for path in GOLDEN:
        operation, content, whole = recorded(path)
        yield Recording(operation, path.stem, content, whole)


RECORDINGS = tuple(_recordings())
REFUSALS = tuple(recording for recording in RECORDINGS if recording.name == "refusal")
ANSWERS = tuple(recording for recording in RECORDINGS if recording.name != "refusal")
"""Recordings that may be kept."""
