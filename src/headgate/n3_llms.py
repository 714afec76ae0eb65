"""The models of an N3 app: what its objects are asked is asked through headgate.

An object of N3 is replaced by one of a class made here, a subclass of N3's own `BaseLLM`: N3 checks
that. Answers and errors are of N3's classes, too, where it has them.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from headgate.backend.asking import Answer
from headgate.backend.declared import Llm
from headgate.backend.dialects import Message, Question, question
from headgate.errors import BadRequest, HeadgateError
from headgate.n3_asking import Asking
from headgate.runtime import Runtime

BASE = "BaseLLM"
SENT = frozenset({
    "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "frequency_penalty",
    "presence_penalty", "seed", "stop", "stop_sequences", "response_format", "reasoning_effort",
    "logit_bias",
})  # fmt: skip
"""Settings that are sent. N3 hands over whole payloads as keywords; the rest stays here."""


class Response(Struct):
    """The answer of a model, where the app has no `LLMResponse` of its own."""

    text: str
    raw: Any
    model: str
    usage: dict[str, int]
    finish_reason: str | None = None
    metadata: dict[str, Any] = {}


class Chunk(Struct):
    """A piece of a streamed answer, as N3's streaming routes read it."""

    text: str
    model: str
    finish_reason: str | None = None


class Llms(Asking):
    """Models by the name they were declared with, else by their own."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._declared: dict[str, Llm] = {}

    def declare(self, name: str, llm: Llm) -> None:
        """`text` takes `name` for it, and its model's own name where no other has taken that."""
        self._declared[name] = llm
        own = llm.model.partition("/")[2]
        if own:
            self._declared.setdefault(own, llm)

    def text(
        self, prompt: Any, model: str, params: Mapping[str, Any] | None, timeout_s: float
    ) -> str:
        """The text of the answer to a text or a list of messages."""
        llm = self._declared.get(model) or Llm(model, self._dialect(model))
        asked = question(with_settings(llm, params or {}), messages_of(prompt))
        return self.whole(asked, timeout_s).said.text

    def _dialect(self, model: str) -> str:
        providers = self.runtime.config.providers
        named = providers.get(model.partition("/")[0])
        kinds = {named.kind} if named else {settings.kind for settings in providers.values()}
        return "anthropic" if kinds == {"anthropic"} else "openai"


def with_settings(llm: Llm, settings: Mapping[str, Any]) -> Llm:
    """`llm` with those of `settings` that are sent, in place of its own."""
    more = {name: value for name, value in settings.items() if name in SENT and value is not None}
    if not more:
        return llm
    return Llm(llm.model, llm.dialect, llm.system_prompt, {**llm.params, **more})


def messages_of(prompt: Any) -> list[Message]:
    """A text as a message of the user; a list of messages, dictionaries or N3's, as it is. Raises
    BadRequest for what is neither."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list | tuple):
        raise BadRequest(f"a prompt is a text or a list of messages, not {type(prompt).__name__}")
    return [_message(one) for one in prompt]


def _message(one: Any) -> Message:
    if isinstance(one, Mapping):
        return dict(one)
    return {"role": str(one.role), "content": str(one.content)}


class Names(Struct, frozen=True):
    """What N3's classes are called in one app. `error` is None where it has none."""

    base: type
    response: Any
    error: Any


def names_of(objects: Iterator[Any], runtime: Any) -> Names | None:
    """The classes of N3 behind the app's models, or those its runtime module imports; None where
    there is no `BaseLLM`."""
    ancestors = (kind for each in objects for kind in type(each).__mro__)
    base = next((kind for kind in ancestors if kind.__name__ == BASE), None)
    base = base or getattr(runtime, BASE, None)
    if base is None:
        return None
    home = sys.modules.get(base.__module__)
    return Names(base, getattr(home, "LLMResponse", Response), getattr(home, "LLMError", None))


class Voice(Struct):
    """How one object asks."""

    llm: Llm
    llms: Llms
    names: Names
    provider: str
    model: str

    def asked(self, prompt: Any, settings: Mapping[str, Any], *, streamed: bool) -> Question:
        """The question that a text or messages are, with `settings` for this once."""
        llm = with_settings(self.llm, settings)
        return question(llm, messages_of(prompt), streamed=streamed)

    def response(self, answer: Answer) -> Any:
        """The answer as N3 has it; `raw` is the text, `metadata["cached"]` whether it was kept."""
        said = answer.said
        usage = {
            "prompt_tokens": said.usage.tokens_in,
            "completion_tokens": said.usage.tokens_out,
            "total_tokens": said.usage.tokens,
        }
        return self.names.response(
            text=said.text,
            raw=said.text,
            model=said.model,
            usage=usage,
            metadata={"cached": answer.cached},
        )

    @contextmanager
    def failing_as_n3(self) -> Iterator[None]:
        """Raises N3's own error, with ours as its cause, where it has one."""
        try:
            yield
        except HeadgateError as error:
            if self.names.error is None:
                raise
            raise self.names.error(
                error.message,
                provider=self.provider,
                model=self.model,
                status_code=error.status_hint,
                original_error=error,
            ) from error


class Calls:
    """The methods of N3's `BaseLLM`, and those that its generated code calls though no class of N3
    has them. Keywords among `SENT` replace the settings of the app for one call."""

    _headgate: Voice
    model: str

    def generate(self, prompt: Any, /, **settings: Any) -> Any:
        """The answer to a text; blocks the thread until it is there."""
        voice = self._headgate
        with voice.failing_as_n3():
            return voice.response(voice.llms.whole(voice.asked(prompt, settings, streamed=False)))

    def generate_chat(self, messages: Any, /, **settings: Any) -> Any:
        """As `generate`, of a conversation."""
        return self.generate(messages, **settings)

    async def agenerate(self, prompt: Any, /, **settings: Any) -> Any:
        """The answer to a text."""
        voice = self._headgate
        with voice.failing_as_n3():
            asked = voice.asked(prompt, settings, streamed=False)
            return voice.response(await voice.llms.awhole(asked))

    async def agenerate_chat(self, messages: Any, /, **settings: Any) -> Any:
        """As `agenerate`, of a conversation."""
        return await self.agenerate(messages, **settings)

    def stream(self, prompt: Any, /, **settings: Any) -> Iterator[str]:
        """The texts of the answer as they come; blocks the thread until each is there."""
        voice = self._headgate
        with voice.failing_as_n3():
            yield from voice.llms.texts(voice.asked(prompt, settings, streamed=True))

    def stream_chat(self, messages: Any, /, **settings: Any) -> Iterator[str]:
        """As `stream`, of a conversation."""
        return self.stream(messages, **settings)

    async def stream_generate(self, prompt: Any, /, **settings: Any) -> AsyncIterator[Chunk]:
        """The pieces of the answer as they come."""
        voice = self._headgate
        with voice.failing_as_n3():
            async for text in voice.llms.atexts(voice.asked(prompt, settings, streamed=True)):
                yield Chunk(text, self.model)

    def stream_generate_chat(self, messages: Any, /, **settings: Any) -> AsyncIterator[Chunk]:
        """As `stream_generate`, of a conversation."""
        return self.stream_generate(messages, **settings)

    def supports_streaming(self) -> bool:
        """It does."""
        return True

    def get_provider_name(self) -> str:
        """The name that the app's definition has for the provider."""
        return self._headgate.provider
