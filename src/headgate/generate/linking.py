"""What the parts of an app say about each other: names that lead nowhere, chains that come back to
themselves, one model with two settings.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.generate.hints import near
from headgate.generate.model import App, Chain, Declaration, Finding, Llm, Place, Source

LEVELS_MAX = 8
"""How deep chains may stand in chains."""
STEPS_MAX = 100
"""How many steps one call of a chain may take, those of chains inside it included."""


def linked(app: App, source: Source) -> Iterator[Finding]:
    """Everything that is wrong between the parts of `app`."""
    places = _Places(source)
    yield from _llms(app, places)
    llms = {llm.name: None for llm in app.llms}
    for prompt in app.prompts:
        if prompt.llm and prompt.llm not in llms and prompt.llm not in source.unread:
            message = f"prompt {prompt.name!r}: no llm is called {prompt.llm[:60]!r}"
            yield Finding(
                places.of("prompt", prompt.name, "model"), message + near(prompt.llm, llms)
            )
    yield from _chains(app, source, places)


class _Places:
    def __init__(self, source: Source) -> None:
        self._declared: dict[tuple[str, str], Declaration] = {}
        for one in source.declarations:
            self._declared.setdefault((one.kind, one.name), one)

    def of(self, kind: str, name: str, *keys: str) -> Place:
        """Where the first of these fields stands that a declaration has, else where it begins."""
        declared = self._declared[kind, name]
        nodes = [declared.fields[key] for key in keys if key in declared.fields]
        return nodes[0].at if nodes else declared.at


def _llms(app: App, places: _Places) -> Iterator[Finding]:
    """One provider has one address, and one model one cache."""
    providers: dict[str, Llm] = {}
    cached: dict[str, Llm] = {}
    for llm in app.llms:
        first = providers.setdefault(llm.provider, llm)
        if first.base_url != llm.base_url:
            message = f"provider {llm.provider!r} has another base_url in llm {first.name!r}"
            yield Finding(places.of("llm", llm.name, "base_url"), f"llm {llm.name!r}: {message}")
        if llm.cache:
            first = cached.setdefault(llm.model, llm)
            if first.cache != llm.cache:
                message = f"model {llm.model!r} has other cache settings in llm {first.name!r}"
                yield Finding(places.of("llm", llm.name, "cache"), f"llm {llm.name!r}: {message}")


def _chains(app: App, source: Source, places: _Places) -> Iterator[Finding]:
    known = {
        "llm": {llm.name: None for llm in app.llms},
        "prompt": {prompt.name: None for prompt in app.prompts},
        "chain": {chain.name: None for chain in app.chains},
    }
    for chain in app.chains:
        for step in chain.steps:
            is_known = step.target in known[step.kind] or step.target in source.unread
            if step.target and not is_known:
                message = f"chain {chain.name!r}: no {step.kind} is called {step.target[:60]!r}"
                message += near(step.target, known[step.kind])
                yield Finding(places.of("chain", chain.name, "steps", "step"), message)
    chains = {chain.name: chain for chain in app.chains}
    sizes = _sizes(chains)
    for chain in chains.values():
        at = places.of("chain", chain.name, "steps", "step")
        size = sizes.get(chain.name)
        if size is None:
            yield Finding(at, f"chain {chain.name!r} leads back to itself{_circle(chain, chains)}")
        elif size > STEPS_MAX:
            yield Finding(at, f"chain {chain.name!r} takes more than {STEPS_MAX} steps")


def _sizes(chains: dict[str, Chain]) -> dict[str, int]:
    """How many steps each chain takes; none for one in a circle, or too deep."""
    sizes: dict[str, int] = {}
    for _ in range(LEVELS_MAX):
        found = {}
        for name, chain in chains.items():
            inner = [step.target for step in chain.steps if step.kind == "chain"]
            if name not in sizes and all(one in sizes or one not in chains for one in inner):
                total = len(chain.steps) + sum(sizes.get(one, 0) for one in inner)
                found[name] = min(total, STEPS_MAX + 1)
        sizes |= found
    return sizes


def _circle(chain: Chain, chains: dict[str, Chain]) -> str:
    """The way from a chain to where it has been before."""
    way = [chain.name]
    while len(way) <= LEVELS_MAX:
        here = chains.get(way[-1])
        inner = [step.target for step in here.steps if step.kind == "chain"] if here else []
        following = next((one for one in inner if one in way), inner[0] if inner else "")
        if not following:
            break
        way.append(following)
        if way.count(following) > 1:
            return ": " + " -> ".join(way)
    return f", or through more than {LEVELS_MAX} chains"
