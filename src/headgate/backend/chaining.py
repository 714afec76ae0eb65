"""A walk through a chain: each step is asked with what came before it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from headgate.backend.asking import Asker
from headgate.backend.declared import PREVIOUS, Chain, Llm, Prompt, Step
from headgate.backend.dialects import question
from headgate.backend.typing_answers import Output, Typed
from headgate.core.template import written
from headgate.types import Headers


class Walk:
    """Takes the steps of chains for one request."""

    def __init__(self, asker: Asker, typed: Typed, headers: list[tuple[bytes, bytes]]) -> None:
        self._asker = asker
        self._typed = typed
        self._headers: Headers = tuple(headers)

    async def through(self, chain: Chain, given: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
        """The output of each step; those of a chain inside the chain, too. Raises HeadgateError."""
        known = {**given, PREVIOUS: given[chain.input_key]}
        for step in chain.steps:
            if isinstance(step.target, Chain):
                inner = {**known, step.target.input_key: known[PREVIOUS]}
                async for output in self.through(step.target, inner):
                    last = replace(output, step=f"{step.name}.{output.step}")
                    yield last
            else:
                last = replace(await self._ask(step, known), step=step.name)
                yield last
            value = msgspec.json.decode(last.content)
            known |= value if isinstance(value, dict) else {}
            known[PREVIOUS] = value

    async def _ask(self, step: Step, known: Mapping[str, Any]) -> Output:
        target = step.target
        if isinstance(target, Llm):
            llm, text = target, written(known[PREVIOUS])
        else:
            assert isinstance(target, Prompt)  # noqa: S101 - chains are walked through
            llm = target.llm
            text = target.template.filled(
                {name: known[source] for name, source in step.takes.items()}
            )
        messages = [{"role": "user", "content": text}]
        if isinstance(target, Prompt) and target.output is not None:
            output, _ = await self._typed.ask(target, messages, self._headers)
            return output
        answer = await self._asker.ask(question(llm, messages), self._headers)
        return Output(msgspec.json.encode(answer.said.text), answer.said, answer.cached)
