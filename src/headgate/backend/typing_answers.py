"""Answers that have to match a type: checked, sent back with the reason, in the end given up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from headgate.backend.asking import Answer, Asker
from headgate.backend.declared import Prompt
from headgate.backend.dialects import Message, Said, question
from headgate.errors import UpstreamFailed
from headgate.types import Headers, Usage

_REASON_CHARS_MAX = 500
_FENCE = "```"


class Mismatch(UpstreamFailed):
    """The model's answer does not match what the prompt declares."""

    code = "output_mismatch"


class Output(Struct, frozen=True):
    """What a step or a route has come to."""

    content: bytes
    """JSON."""
    said: Said
    cached: bool
    step: str = ""


class Typed:
    """Asks prompts that declare their output."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def ask(
        self, prompt: Prompt, messages: Sequence[Message], headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[Output, Headers]:
        """The output, and the headers of the answer that had it. Raises Mismatch, and then none of
        the answers stays stored: the next one who asks gets another chance."""
        said = [*messages]
        answers: list[Answer] = []
        reason = ""
        for _ in range(prompt.repairs + 1):
            asked = question(prompt.llm, said, name=prompt.name, schema=prompt.schema)
            answer = await self._asker.ask(asked, headers)
            answers.append(answer)
            try:
                content = checked(prompt.output, answer.said.text)
            except ValueError as error:
                reason = why(error)
            else:
                return _output(content, answers), answer.headers
            said += [
                {"role": "assistant", "content": answer.said.text},
                {"role": "user", "content": _again(reason)},
            ]
        await self._asker.forget([answer.key for answer in answers])
        raise Mismatch(f"the model's answer does not match the output of {prompt.name!r}: {reason}")


def checked(output: Any, text: str) -> bytes:
    """The JSON of an answer that matches the pydantic model `output`. Raises ValueError."""
    found = output.model_validate_json(unfenced(text))
    content: str = found.model_dump_json(by_alias=True)
    return content.encode()


def unfenced(text: str) -> str:
    """JSON without the Markdown fence that models like to put around it."""
    text = text.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE) and "\n" in text:
        return text.partition("\n")[2].removesuffix(_FENCE)
    return text


def why(error: ValueError) -> str:
    """A validation error in one line: each place and what is wrong there, not what stood there."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)[:_REASON_CHARS_MAX]
    found = errors(include_url=False, include_input=False)
    places = [".".join(str(part) for part in problem["loc"]) for problem in found]
    told = [
        f"{place}: {problem['msg']}" if place else problem["msg"]
        for place, problem in zip(places, found, strict=True)
    ]
    return "; ".join(told)[:_REASON_CHARS_MAX]


def _again(reason: str) -> str:
    return (
        f"That answer does not match the expected format ({reason}). "
        "Answer again with the JSON object only."
    )


def _output(content: bytes, answers: list[Answer]) -> Output:
    usages = [answer.said.usage for answer in answers]
    total = Usage(sum(one.tokens_in for one in usages), sum(one.tokens_out for one in usages))
    last = answers[-1].said
    cached = all(answer.cached for answer in answers)
    return Output(content, Said(last.text, last.model, total), cached)
