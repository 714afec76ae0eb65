"""What an app declares: models, prompts, and chains of them. Values only; nothing here asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from headgate.core.template import Template

PREVIOUS = "(previous)"
"""Where a step takes the output of the step before it from; the first step the chain's input."""


class Llm(Struct, frozen=True):
    """A model with its settings. `model` is a name that the configuration leads somewhere;
    `params` are sent as they are."""

    model: str
    dialect: str = "openai"
    """`openai` (chat completions) or `anthropic` (messages)."""
    system_prompt: str = ""
    params: Mapping[str, Any] = {}


class Prompt:
    """A template, asked of a model. `output` is a pydantic model of the answer and `schema` its
    JSON schema, which is sent along; without them the answer is text. An answer that does not
    match is sent back with the reason up to `repairs` times."""

    __slots__ = ("llm", "name", "output", "repairs", "schema", "template")

    def __init__(
        self,
        name: str,
        llm: Llm,
        template: str,
        *,
        output: Any = None,
        schema: Mapping[str, Any] | None = None,
        repairs: int = 1,
    ) -> None:
        self.name = name
        self.llm = llm
        self.template = Template(template)
        self.output = output
        self.schema = schema
        self.repairs = repairs


class Step(Struct, frozen=True):
    """One step of a chain. `takes` names for each argument of a prompt where it comes from: a field
    of the request, a field of an earlier output, or `PREVIOUS`."""

    name: str
    target: Llm | Prompt | Chain
    takes: Mapping[str, str] = {}


class Chain(Struct, frozen=True):
    """Steps that are taken one after the other; the input comes under `input_key`."""

    input_key: str
    steps: tuple[Step, ...]
