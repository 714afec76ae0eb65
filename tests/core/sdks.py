"""What the official SDKs make of an answer, whole or streamed through their own accumulators: plain
values that can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai

from headgate.testing import Answer, FakeProvider

_ASKED: Any = [{"role": "user", "content": "Hello"}]
_APART = frozenset({"parsed", "parsed_arguments", "parsed_output"})
"""What the accumulators add of their own. (They also leave the index in a tool call.)"""


class Sdks:
    """Clients of both vendors before one provider that answers as it is told."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._openai = openai.OpenAI(base_url=provider.base_url, api_key="k", max_retries=0)
        base_url = provider.anthropic_base_url
        self._anthropic = anthropic.Anthropic(base_url=base_url, api_key="k", max_retries=0)

    def close(self) -> None:
        self._openai.close()
        self._anthropic.close()

    def whole(self, operation: str, body: bytes) -> Any:
        """The SDK's object of a whole answer."""
        self._provider.script(Answer(body=body))
        return getattr(self, f"_whole_{operation}")().model_dump()

    def streamed(self, operation: str, content: bytes) -> Any:
        """The SDK's object of a stream, put together by the SDK."""
        self._provider.script(Answer(chunks=[content]))
        return getattr(self, f"_streamed_{operation}")()

    def _whole_chat(self) -> Any:
        return self._openai.chat.completions.create(model="m", messages=_ASKED)

    def _streamed_chat(self) -> Any:
        with self._openai.chat.completions.stream(
            model="m", messages=_ASKED, stream_options={"include_usage": True}
        ) as stream:
            stream.until_done()
            return stream.current_completion_snapshot.model_dump()

    def _whole_completions(self) -> Any:
        return self._openai.completions.create(model="m", prompt="Hello")

    def _streamed_completions(self) -> Any:
        return joined_completion(
            self._openai.completions.create(model="m", prompt="Hello", stream=True)
        )

    def _whole_responses(self) -> Any:
        return self._openai.responses.create(model="m", input="Hello")

    def _streamed_responses(self) -> Any:
        """Of the terminal event; what its deltas make is compared with it on the way."""
        with self._openai.responses.stream(model="m", input="Hello") as stream:
            events = list(stream)
        terminal: Any = events[-1]
        for item, seen in zip(terminal.response.output, _output_of(events), strict=True):
            assert seen == _told(item)
        return terminal.response.model_dump()

    def _whole_messages(self) -> Any:
        return self._anthropic.messages.create(model="m", max_tokens=9, messages=_ASKED)

    def _streamed_messages(self) -> Any:
        with self._anthropic.messages.stream(model="m", max_tokens=9, messages=_ASKED) as stream:
            return stream.get_final_message().model_dump()


def joined_completion(stream: Iterable[Any]) -> Any:
    """What the chunks of a completion come to: its SDK has no accumulator."""
    chunks = [chunk.model_dump() for chunk in stream]
    usage = [chunk["usage"] for chunk in chunks if chunk["usage"]]
    choices: dict[int, Any] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        known = choices.setdefault(choice["index"], choice)
        if known is not choice:
            known["text"] += choice["text"]
            known["finish_reason"] = choice["finish_reason"] or known["finish_reason"]
            for name, items in (choice["logprobs"] or {}).items():
                known["logprobs"][name] += items
    listed = [choice for _, choice in sorted(choices.items())]
    return chunks[0] | {"choices": listed, "usage": usage[-1] if usage else None}


def _output_of(events: list[Any]) -> list[list[str]]:
    """For each output item the texts that its deltas make, in order."""
    texts: dict[int, dict[Any, str]] = {}
    for event in events:
        kind = event.type.removeprefix("response.")
        if kind == "output_item.added":
            texts[event.output_index] = {}
        if kind.endswith(".delta"):
            part = getattr(event, "content_index", getattr(event, "summary_index", 0))
            item = texts[event.output_index]
            item[kind, part] = item.get((kind, part), "") + event.delta
    return [[text for text in item.values() if text] for _, item in sorted(texts.items())]


def _told(item: Any) -> list[str]:
    """The texts of a finished output item."""
    parts = [*(getattr(item, "summary", None) or []), *(getattr(item, "content", None) or [])]
    texts = [getattr(part, "text", None) or getattr(part, "refusal", "") for part in parts]
    texts += [getattr(item, "arguments", ""), getattr(item, "input", "")]
    return [text for text in texts if text]


@contextmanager
def sdks() -> Iterator[Sdks]:
    """Both clients, closed at the end."""
    with FakeProvider() as provider:
        made = Sdks(provider)
        try:
            yield made
        finally:
            made.close()


def comparable(value: Any, place: str = "") -> Any:
    """Without nulls and empty annotations, which one shape tells and the other leaves out, and
    without what accumulators add."""
    if isinstance(value, list):
        return [comparable(item, place) for item in value]
    if not isinstance(value, dict):
        return value
    told = {name: comparable(item, name) for name, item in value.items() if name not in _APART}
    if place == "tool_calls":
        told.pop("index", None)
    if told.get("annotations") == []:
        del told["annotations"]
    return {name: item for name, item in told.items() if item is not None}
