"""From what stands in a source to the typed model of an app. Everything that is wrong is found, not
only the first thing, each with its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headgate.config_file_seed import from_runtime_settings
from headgate.config_file_text import dotted
from headgate.core.template import Template
from headgate.errors import ConfigError
from headgate.generate.blocks import Block
from headgate.generate.hints import near
from headgate.generate.kinds import TEXT, Kind, read_argument, read_kind
from headgate.generate.linking import linked
from headgate.generate.model import (
    App,
    Argument,
    Chain,
    Declaration,
    Finding,
    Llm,
    Node,
    Place,
    Prompt,
    Source,
    Step,
)

PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "fake": "openai"}
"""Providers that need no address, and the dialect they are asked in."""
NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2), "top_p": (0, 1), "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}  # fmt: skip
WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "max_tokens": (1, 10_000_000), "max_completion_tokens": (1, 10_000_000), "top_k": (1, 100_000),
    "seed": (-(2**63), 2**63 - 1),
}  # fmt: skip
_NOT_OF = {
    "anthropic": frozenset(
        ("frequency_penalty", "presence_penalty", "max_completion_tokens", "seed")
    ),
    "openai": frozenset(("top_k",)),
}
_STEP_KINDS = ("prompt", "llm", "chain")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,99}", re.ASCII)
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_PROVIDER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}", re.ASCII)
_BRACES = re.compile(r"\{\{([^{}]{0,200})\}\}")
REPAIRS_MAX = 5
PLACES_MAX = 20
"""So many mistakes of a kind are looked for in the text of one template."""


def build(source: Source, fallback_name: str) -> tuple[App, list[Finding]]:
    """The app and what is wrong with it: then the app is not to be used. `fallback_name` is the
    name of an app that says none."""
    builder = _Builder(source)
    apps = [one for one in source.declarations if one.kind == "app"]
    for other in apps[1:]:
        builder.wrong(other.at, f"a second app: the first one is in line {apps[0].at.line}")
    app = builder.app(apps[0]) if apps else App("")
    for kind in ("llm", "prompt", "chain"):
        builder.unique([one for one in source.declarations if one.kind == kind])
    app = App(
        app.name or fallback_name,
        app.description,
        app.runtime,
        app.models,
        tuple(builder.llm(one) for one in source.declarations if one.kind == "llm"),
        tuple(builder.prompt(one) for one in source.declarations if one.kind == "prompt"),
        tuple(builder.chain(one) for one in source.declarations if one.kind == "chain"),
    )
    if not source.findings and not (app.llms or app.prompts):
        builder.wrong(Place(1, 0), "nothing to generate: no llm and no prompt is declared")
    return app, [*builder.findings, *linked(app, source)]


class _Builder:
    def __init__(self, source: Source) -> None:
        self.findings: list[Finding] = []
        self._lines = source.text.split("\n")

    def wrong(self, at: Place, message: str) -> None:
        self.findings.append(Finding(at, message))

    def unique(self, declared: list[Declaration]) -> None:
        seen: dict[str, Declaration] = {}
        for one in declared:
            if not _NAME.fullmatch(one.name) or one.name != one.name.strip():
                self.wrong(
                    one.at,
                    f"{one.kind} {one.name[:60]!r}: a name is letters, digits, _, - and spaces, "
                    "and begins with a letter: it is part of an address",
                )
            first = seen.setdefault(one.name, one)
            if first is not one:
                self.wrong(
                    one.at,
                    f"{one.kind} {one.name!r} is declared twice: first in line {first.at.line}",
                )

    def app(self, declared: Declaration) -> App:
        block = Block(declared, self.findings)
        runtime, models = block.table("runtime"), block.table("models")
        description = block.text("description")
        block.end()
        runtime_node, models_node = (declared.fields.get(name) for name in ("runtime", "models"))
        try:
            from_runtime_settings(runtime, models)
        except ConfigError as error:
            places = {**_places(runtime_node, ()), **_places(models_node, ("models",))}
            for problem in error.problems:
                at = places.get(problem.key, declared.at)
                self.wrong(at, f"{problem.key}: {problem.message}")
        return App(declared.name, description, runtime, models)

    def llm(self, declared: Declaration) -> Llm:
        block = Block(declared, self.findings)
        provider = block.text("provider", needed=True)
        model = block.text("model", needed=True)
        base_url = block.text("base_url")
        system_prompt = block.text("system_prompt")
        block.text("description")
        cache = block.table("cache")
        params: dict[str, Any] = {}
        for name in declared.fields:
            if name in NUMBERS:
                params[name] = block.number(name, NUMBERS[name])
            elif name in WHOLE_NUMBERS:
                params[name] = block.whole_number(name, WHOLE_NUMBERS[name])
            elif name == "stop":
                params[name] = block.texts(name)
        params |= block.table("params")
        block.end((*NUMBERS, *WHOLE_NUMBERS, "stop"))
        if provider:
            self._provider(block, provider, base_url, params)
        if cache:
            self._cache(block, model, cache)
        return Llm(declared.name, provider, model, system_prompt, params, cache, base_url)

    def _provider(
        self, block: Block, provider: str, base_url: str, params: Mapping[str, Any]
    ) -> None:
        if not base_url and provider not in PROVIDERS:
            message = f"unknown provider {provider[:40]!r}{near(provider, PROVIDERS)}; known: "
            message += ", ".join(PROVIDERS)
            message += "; any other that speaks OpenAI's dialect needs a base_url"
            block.wrong("provider", message)
        elif not _PROVIDER.fullmatch(provider):
            block.wrong("provider", "a provider's name is letters, digits, _ and -")
        if base_url and not re.fullmatch(r"https?://[^\s\"'\\]+", base_url):
            block.wrong("base_url", "expected an address such as https://host/v1")
        dialect = PROVIDERS.get(provider, "openai")
        for name in params:
            if name in _NOT_OF[dialect]:
                block.wrong(name, f"{dialect} has no {name}")

    def _cache(self, block: Block, model: str, cache: Mapping[str, Any]) -> None:
        try:
            from_runtime_settings({}, {model or "m": cache})
        except ConfigError as error:
            for problem in error.problems:
                key = problem.key.rpartition(".")[2]
                block.wrong("cache", f"cache.{key}: {problem.message}", key)

    def prompt(self, declared: Declaration) -> Prompt:
        block = Block(declared, self.findings)
        llm = block.text("model", needed=True)
        template = block.text("template", needed=True)
        description = block.text("description")
        repairs = block.whole_number("repair_attempts", (0, REPAIRS_MAX), default=1)
        if "args" in declared.fields and "input" in declared.fields:
            block.wrong("input", "args and input are two names of one thing")
        args = self._arguments(block, "input" if "input" in declared.fields else "args")
        output = self._output(block)
        block.end(("args", "input", "output_schema"))
        self._template(block, template, args)
        return Prompt(declared.name, llm, template, args, output, repairs, description)

    def _arguments(self, block: Block, key: str) -> tuple[Argument, ...]:
        node = block.node(key)
        if node is None:
            return ()
        if isinstance(node.value, tuple):
            # A list of names alone: each is a text.
            named = [(item.value, Node("string", item.at, item.at)) for item in node.value]
        elif isinstance(node.value, dict):
            named = [*node.value.items()]
        else:
            self.wrong(node.at, f"{key}: expected a table of names and types, or a list of names")
            return ()
        found: dict[str, Argument] = {}
        for name, kind in named:
            if not isinstance(name, str) or not _ARGUMENT.fullmatch(name):
                self.wrong(kind.key_at, "the name of an argument is letters, digits and _")
            elif name in found:
                self.wrong(kind.key_at, f"the argument {name!r} stands twice")
            else:
                found[name] = self._argument(name, kind)
        return tuple(found.values())

    def _argument(self, name: str, node: Node) -> Argument:
        try:
            if not isinstance(node.value, str):
                raise ValueError("expected a type such as string, int or list[string]")
            return Argument(name, *read_argument(node.value))
        except ValueError as error:
            self.wrong(node.at, f"{name}: {error}")
            return Argument(name, TEXT)

    def _output(self, block: Block) -> Kind | None:
        node = block.node("output_schema")
        if node is None:
            return None
        if not isinstance(node.value, dict) or not node.value:
            self.wrong(node.at, "output_schema: expected a table of names and types")
            return None
        return self._kind("output_schema", node)

    def _kind(self, name: str, node: Node) -> Kind:
        value = node.value
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                if not _ARGUMENT.fullmatch(key):
                    self.wrong(inner.key_at, "the name of a field is letters, digits and _")
            return Kind(
                "object", fields=tuple((key, self._kind(key, one)) for key, one in value.items())
            )
        if isinstance(value, tuple) and len(value) == 1:
            return Kind("array", self._kind(name, value[0]))
        try:
            if not isinstance(value, str):
                raise ValueError("expected a type such as string, a table, or a list of one type")
            return read_kind(value)
        except ValueError as error:
            self.wrong(node.at, f"{name}: {error}")
            return TEXT

    def _template(self, block: Block, template: str, args: tuple[Argument, ...]) -> None:
        names = {argument.name: None for argument in args}
        used = dict.fromkeys(Template(template).names)
        node = block.node("template") or Node("", Place(1, 0))
        unknown = [name for name in used if name not in names]
        for name in unknown[:PLACES_MAX]:
            message = f"the template uses {name!r}, which is not among the arguments"
            self.wrong(self._where(node, "{{", name), message + near(name, names))
        strange = [
            found[0]
            for found in _BRACES.finditer(template)
            if not _ARGUMENT.fullmatch(found[1].strip())
        ]
        for written in strange[:PLACES_MAX]:
            message = f"{written[:40]!r}: only the name of an argument may stand in {{{{...}}}}"
            self.wrong(self._where(node, written, ""), message)
        for argument in args:
            if argument.name not in used:
                message = f"the template does not use {argument.name!r}"
                block.wrong_at(("args", "input"), argument.name, message)

    def _where(self, node: Node, opening: str, name: str) -> Place:
        """Where `{{name}}` stands in a text that begins at `node`."""
        written = re.compile(re.escape(opening) + r"\s*" + re.escape(name))
        last = node.at.line + 1 + str(node.value).count("\n")
        for line in range(node.at.line, min(last, len(self._lines)) + 1):
            found = written.search(self._lines[line - 1])
            if found:
                return Place(line, found.start() + 1)
        return node.at

    def chain(self, declared: Declaration) -> Chain:
        block = Block(declared, self.findings)
        input_key = block.text("input_key") or "input"
        if not _ARGUMENT.fullmatch(input_key):
            block.wrong("input_key", "an input_key is letters, digits and _")
        description = block.text("description")
        if "steps" in declared.fields and "step" in declared.fields:
            block.wrong("step", "steps are either a list or blocks, not both")
        listed = block.node("steps") or block.node("step")
        block.end(("steps", "step"))
        items = listed.value if listed is not None and isinstance(listed.value, tuple) else ()
        if not items:
            self.wrong(
                listed.at if listed else declared.at, f"chain {declared.name!r} has no steps"
            )
        steps = [self._step(item, number) for number, item in enumerate(items, 1)]
        return Chain(declared.name, tuple(filter(None, steps)), input_key, description)

    def _step(self, node: Node, number: int) -> Step | None:
        if isinstance(node.value, str):
            kind, colon, target = (part.strip() for part in node.value.partition(":"))
            if not colon:
                kind, target = "prompt", kind
            name = target
        elif isinstance(node.value, dict):
            block = Block(Declaration("step", "", node.at, node.value), self.findings)
            kind, target = block.text("kind") or "prompt", block.text("target", needed=True)
            name = block.text("name") or target or f"step{number}"
            block.end()
        else:
            self.wrong(node.at, 'expected a step such as "prompt:summarise"')
            return None
        if kind not in _STEP_KINDS:
            self.wrong(
                node.at, f"unknown kind of step {kind[:40]!r}; known: {', '.join(_STEP_KINDS)}"
            )
            return None
        return Step(name, kind, target)


def _places(node: Node | None, path: tuple[str, ...]) -> dict[str, Place]:
    """Where each key below a node stands, by its name in messages."""
    places = {}
    if node is not None and isinstance(node.value, dict):
        for key, inner in node.value.items():
            places[dotted((*path, key))] = inner.at
            places |= _places(inner, (*path, key))
    return places
