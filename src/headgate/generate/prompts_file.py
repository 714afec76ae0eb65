"""`app/prompts.py` of a generated backend: types, prompts and chains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from headgate.generate.kinds import Kind, annotation_of, schema_of
from headgate.generate.model import App, Argument, Chain, Prompt
from headgate.generate.naming import Names, attribute, camel, snake
from headgate.generate.render import literal, quoted
from headgate.generate.taking import PREVIOUS, Taking

_COMMON = ("Arguments", "Output", "Message", "LlmRequest", "Usage", "Reply", "TextReply",
           "StepReply", "ChainReply", "Any", "Literal", "PREVIOUS", "Chain", "Prompt", "Step",
           "AliasChoices", "BaseModel", "ConfigDict", "Field")  # fmt: skip
_DECLARED = ("PREVIOUS", "Chain", "Prompt", "Step")
_EMPTY = "    pass\n"


class PromptsFile:
    """Makes the file, and knows what things are called in it."""

    def __init__(
        self, app: App, fill: Callable[..., str], llms: Mapping[str, str], taking: Taking
    ) -> None:
        self._app = app
        self._fill = fill
        self._llms = llms
        self._taking = taking
        self._names = Names(*_COMMON)
        self.constants: dict[tuple[str, str], str] = {}
        self.arguments: dict[tuple[str, str], str] = {}
        """Class of the request, by kind and name."""
        self.replies: dict[str, str] = {}
        """Class of the reply of a prompt."""
        for kind, declared in (("prompt", app.prompts), ("chain", app.chains)):
            for one in declared:
                constant = f"{kind}_{snake(one.name)}".upper()
                self.constants[kind, one.name] = self._names.take(constant)
        parts = [self._prompt(prompt) for prompt in app.prompts]
        parts += [self._chain(chain) for chain in self._ordered()]
        self._declarations = "".join(parts).rstrip("\n")

    def text(self) -> str:
        """The whole file."""
        replies = self._fill("chain_replies.py") if self._app.chains else ""
        found = (replies + self._declarations).rstrip("\n")
        used = [name for name in _DECLARED if re.search(rf"\b{name}\b", found)]
        return self._fill(
            "prompts.py",
            declared=f"from headgate.backend import {', '.join(used)}\n" if used else "",
            any="Any, " if re.search(r"\bAny\b", found) else "",
            aliases="AliasChoices, " if self._app.chains else "",
            settings="\nfrom app import settings\n" if used else "",
            declarations=found,
        )

    def _prompt(self, prompt: Prompt) -> str:
        called = camel(prompt.name)
        arguments = self.arguments["prompt", prompt.name] = self._names.take(f"{called}Args")
        made = self._class(arguments, "Arguments", self._arguments(prompt.args, Names()))
        output = ""
        self.replies[prompt.name] = "TextReply"
        if prompt.output is not None:
            classes, name = self._object(f"{called}Output", prompt.output)
            reply = self.replies[prompt.name] = self._names.take(f"{called}Reply")
            made += classes + self._class(reply, "Reply", [self._field("output", name, Names())])
            output = self._fill(
                "prompt_output.py",
                output=name,
                schema=literal(schema_of(prompt.output), 4),
                repairs=repr(prompt.repairs),
            )
        return made + self._fill(
            "prompt.py",
            constant=self.constants["prompt", prompt.name],
            name=quoted(prompt.name),
            llm=self._llms[prompt.llm],
            template=literal(prompt.template, 4),
            output=output,
        )

    def _object(self, name: str, kind: Kind) -> tuple[str, str]:
        """The classes of an object and of those inside it, and the name of its own."""
        made, fields, names = "", [], Names()
        taken = self._names.take(name)
        for key, inner in kind.fields:
            innermost, inside = inner, ""
            while innermost.item is not None:
                innermost = innermost.item
            if innermost.fields:
                classes, inside = self._object(f"{taken}{camel(key)}", innermost)
                made += classes
            fields.append(self._field(key, annotation_of(inner, inside), names))
        return made + self._class(taken, "Output", fields), taken

    def _class(self, name: str, base: str, fields: list[str]) -> str:
        body = "".join(fields) or _EMPTY
        return self._fill("class.py", name=name, base=base, fields=body.rstrip("\n"))

    def _arguments(self, arguments: Iterable[Argument], names: Names) -> list[str]:
        fields = []
        for one in arguments:
            default = literal(one.default, 4) if one.has_default else ""
            fields.append(self._field(one.name, annotation_of(one.kind), names, default))
        return fields

    def _field(self, name: str, annotation: str, names: Names, default: str = "") -> str:
        written = f" = {default}" if default else ""
        attribute_name = names.take(attribute(name))
        if attribute_name != name:
            given = f"default={default}, " if default else ""
            written = f" = Field({given}alias={quoted(name)})"
        return self._fill("field.py", name=attribute_name, annotation=annotation, default=written)

    def _chain(self, chain: Chain) -> str:
        takes = self._taking.of(chain)
        name = self.arguments["chain", chain.name] = self._names.take(f"{camel(chain.name)}Input")
        key = quoted(chain.input_key)
        names = key if chain.input_key == "input" else f'{key}, "input"'
        choices = f"validation_alias=AliasChoices({names})"
        alias = f" = Field(\n        {choices},\n        serialization_alias={key},\n    )"
        own = Names()
        called = own.take("input_")
        fields = [self._fill("field.py", name=called, annotation="str", default=alias)]
        fields += self._arguments(takes.fields, own)
        steps = [
            self._fill(
                "step.py",
                name=quoted(step.name),
                target=self._target(step.kind, step.target),
                takes=_takes(taken),
            )
            for step, taken in zip(chain.steps, takes.steps, strict=True)
        ]
        return self._class(name, "Arguments", fields) + self._fill(
            "chain.py",
            constant=self.constants["chain", chain.name],
            input_key=key,
            steps="".join(steps),
        )

    def _target(self, kind: str, name: str) -> str:
        return f"settings.{self._llms[name]}" if kind == "llm" else self.constants[kind, name]

    def _ordered(self) -> list[Chain]:
        """A chain behind those that it has for steps."""
        found: dict[str, Chain] = {}
        waiting = [*self._app.chains]
        while waiting:
            chain = waiting.pop(0)
            inner = [step.target for step in chain.steps if step.kind == "chain"]
            if all(name in found for name in inner):
                found[chain.name] = chain
            else:
                waiting.append(chain)
        return [*found.values()]


def _takes(taken: dict[str, str]) -> str:
    pairs = [
        f"{quoted(name)}: {'PREVIOUS' if source == PREVIOUS else quoted(source)}"
        for name, source in taken.items()
    ]
    return "{" + ", ".join(pairs) + "}"
