"""What a backend of N3 finds in N3's own package: the base class of models, and what they return.
`Unjoined` is a provider's class of N3 that nobody may ask once a backend is joined.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ChatMessage:
    role: str
    content: str


@dataclass
class LLMResponse:
    text: str
    raw: Any
    model: str
    usage: dict[str, Any] | None = None
    finish_reason: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class LLMError(Exception):
    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        status_code: int | None = None,
        original_error: Exception | None = None,
    ) -> None:
        super().__init__(message)
        self.provider, self.model = provider, model
        self.status_code, self.original_error = status_code, original_error


class BaseLLM(ABC):
    def __init__(self, name: str, model: str, config: dict[str, Any] | None = None) -> None:
        self.name, self.model, self.config = name, model, config or {}
        self.temperature = self.config.get("temperature", 0.7)
        self.max_tokens = self.config.get("max_tokens", 1024)

    @abstractmethod
    def generate(self, prompt: str, **kwargs: Any) -> LLMResponse: ...

    @abstractmethod
    def generate_chat(self, messages: list[ChatMessage], **kwargs: Any) -> LLMResponse: ...

    @abstractmethod
    def supports_streaming(self) -> bool: ...

    def stream(self, prompt: str, **kwargs: Any) -> Iterable[str]:
        raise NotImplementedError

    def generate_batch(self, prompts: list[str], **kwargs: Any) -> list[LLMResponse]:
        return [self.generate(prompt, **kwargs) for prompt in prompts]

    def get_provider_name(self) -> str:
        return type(self).__name__.replace("LLM", "").lower()


class Unjoined(BaseLLM):
    """Asks nobody. No `agenerate_chat`, as in N3, where every call over HTTP fails for it."""

    def generate(self, prompt: str, **kwargs: Any) -> LLMResponse:
        return LLMResponse(f"unjoined: {prompt}", None, self.model)

    def generate_chat(self, messages: list[ChatMessage], **kwargs: Any) -> LLMResponse:
        return self.generate(messages[-1].content)

    def supports_streaming(self) -> bool:
        return False


class Registry:
    def __init__(self) -> None:
        self.models: dict[str, BaseLLM] = {}

    def update(self, llm: BaseLLM) -> None:
        self.models[llm.name] = llm
