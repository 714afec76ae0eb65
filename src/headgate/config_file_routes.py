"""What can be wrong with where a model leads: targets, stand-ins, whose credential goes where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headgate.config_file_kinds import shown
from headgate.config_file_text import Path, Tree, tables
from headgate.routing import read_target

_MEANT_AS_WEIGHT = re.compile(
    r"\s*[-+]?(nan|inf(inity)?|0x[0-9a-f]*|[0-9][0-9_.,]*(e[-+]?[0-9]*)?)?\s*%?\s*", re.IGNORECASE
)
_STAND_INS = ("fallbacks", "context_fallbacks", "content_fallbacks")


def broken_routes(tree: Tree) -> Iterator[tuple[Path, str]]:
    """(path, message) of every model that leads nowhere, or where it must not."""
    providers = dict(tables(tree, "providers"))
    models = dict(tables(tree, "models"))
    for name, model in models.items():
        for message in _broken_targets(model.get("targets", ()), list(providers)):
            yield ("models", name, "targets"), message
        for key in _STAND_INS:
            for message in _broken_stand_ins(name, _texts(model.get(key)), providers, models):
                yield ("models", name, key), message
            for message in _repeated(model.get(key)):
                yield ("models", name, key), message
            if cycle := _cycle(name, key, models):
                yield ("models", name, key), f"leads back to itself: {' -> '.join(cycle)}"
        if message := _shared_credential(name, providers, models):
            yield ("models", name), message


def _broken_targets(targets: Any, providers: list[str]) -> Iterator[str]:
    if targets in ((), []):
        yield "names no target: write PROVIDER/MODEL"
    for target in _texts(targets):
        written = read_target(target)
        if written is None or _is_miswritten(written[1]):
            yield f"expected PROVIDER/MODEL, got {shown(target)}; a weight is PROVIDER/MODEL=3"
        elif written[0] not in providers:
            known = ", ".join(providers) or "none"
            yield f"no provider for {shown(target)}; configured: {known}"
    yield from _repeated(targets)


def _repeated(names: Any) -> Iterator[str]:
    """What is named twice would be asked twice, or have another share than is written there."""
    seen: set[tuple[str, ...]] = set()
    for name in _texts(names):
        written = read_target(name)
        known = (name,) if written is None else written[:2]
        if known in seen:
            yield f"names {shown(name)} more than once"
        seen.add(known)


def _is_miswritten(model: str) -> bool:
    """Whether a model's name ends in what was meant for a weight: `=nan`, `=-1`, `=1e3`, `=0,5`."""
    _, equals, number = model.rpartition("=")
    return bool(equals) and _MEANT_AS_WEIGHT.fullmatch(number) is not None


def _broken_stand_ins(
    name: str, others: list[str], providers: dict[str, Tree], models: dict[str, Tree]
) -> Iterator[str]:
    for other in others:
        written = read_target(other)
        is_known = other in models or (written is not None and written[0] in providers)
        if other == name:
            yield "names the model itself"
        elif other not in models and written and (written[2] or _is_miswritten(written[1])):
            yield f"only targets have weights, and {shown(other)} is none"
        elif not is_known:
            known = ", ".join(sorted(models)) or "none"
            yield f"no such model: {shown(other)}; configured: {known}, or write PROVIDER/MODEL"


def _cycle(name: str, key: str, models: dict[str, Tree]) -> list[str]:
    """A way from a model back to it through other models, [] if there is none."""
    ways = [[name, other] for other in _texts(models[name].get(key)) if other != name]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        if way[-1] == name:
            return way
        if way[-1] not in seen:
            seen.add(way[-1])
            further = _texts(models.get(way[-1], {}).get(key))
            ways += [[*way, other] for other in further]
    return []


def _shared_credential(name: str, providers: dict[str, Tree], models: dict[str, Tree]) -> str:
    """What a client sends is meant for one provider: no other may be handed it."""
    keyless = []
    for provider in _providers_of(name, models):
        settings = providers.get(provider, {})
        has_key = settings.get("api_key") or settings.get("api_keys")
        if not has_key and settings.get("kind") != "fake" and provider in providers:
            keyless.append(provider)
    if len(keyless) < 2:
        return ""
    listed = ", ".join(keyless)
    return (
        f"leads to several providers without a key of their own ({listed}): a client's credential "
        "would go to each; set their api_key"
    )


def _providers_of(name: str, models: dict[str, Tree]) -> list[str]:
    model = models[name]
    texts = _texts(model.get("targets"))
    for key in _STAND_INS:
        for other in _texts(model.get(key)):
            texts += _texts(models[other].get("targets")) if other in models else [other]
    written = [read_target(text) for text in texts]
    return list(dict.fromkeys(target[0] for target in written if target is not None))


def _texts(value: Any) -> list[str]:
    """The strings of a list; nothing of what the model will refuse."""
    items = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, str)]
