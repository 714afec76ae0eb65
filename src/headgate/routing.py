"""Where a model name leads: the targets of a call, in the order in which they may be asked.

`provider/model`, or with a weight `provider/model=3`. Settings were checked when they were read; a
name that nobody configured is refused here.
"""

from __future__ import annotations

import difflib
import math
import re

from headgate.config import Config
from headgate.errors import UnknownModel
from headgate.providers.settings import DEFAULT_BASE_URLS, ModelConfig
from headgate.types import CONTENT, CONTEXT, FALLBACK, TARGET, Route, Target

_SPEAKS = {"openai": {"chat", "completions", "responses", "embeddings"},
           "anthropic": {"messages", "count_tokens"}}  # fmt: skip

_NUMBER = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")

Written = tuple[str, str, float]
"""A target as the configuration spells it: provider, model, weight (0: none given)."""


def read_target(text: str) -> Written | None:
    """The parts of `provider/model` or `provider/model=WEIGHT`; None if it is neither."""
    provider, slash, model = text.partition("/")
    name, equals, number = model.rpartition("=")
    weight = 0.0
    if equals and _NUMBER.fullmatch(number):
        model, weight = name, float(number)
        if not 0 < weight < math.inf:
            return None
    is_whole = slash and provider and model and model == model.strip()
    return (provider, model, weight) if is_whole else None


class Routes:
    """Resolves names under one configuration. Safe from any thread."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def resolve(self, name: str, operation: str) -> tuple[str, tuple[Route, ...]]:
        """The model's own name (without a provider prefix), and its routes: targets first, in
        their order, then what may stand in for them. Several keys of a provider are several routes.

        Raises UnknownModel naming what is configured.
        """
        config = self._config
        listed = config.models.get(name)
        model, targets = self._targets(name, operation)
        routes = self._routes("" if name == model or listed is None else name, targets, TARGET)
        if listed is not None:
            for role, others in _stand_ins(listed):
                for other in others:
                    routes += self._routes(*self._stand_in(other, operation), role)
        return model, self._of_one_client(routes)

    def _targets(self, name: str, operation: str) -> tuple[str, list[Written]]:
        config = self._config
        listed = config.models.get(name)
        if listed is not None and listed.targets:
            written = [target for text in listed.targets if (target := read_target(text))]
            speaking = [target for target in written if self._speaks(target[0], operation)]
            if not speaking:
                raise UnknownModel(self._speechless(written[0][0], name, operation))
            return name, speaking
        provider, slash, rest = name.partition("/")
        if slash and provider in config.providers:
            if not self._speaks(provider, operation):
                raise UnknownModel(self._speechless(provider, name, operation))
            return rest, [(provider, rest, 0.0)]
        answering = [other for other in config.providers if self._speaks(other, operation)]
        if len(answering) == 1:
            return name, [(answering[0], name, 0.0)]
        raise UnknownModel(self._unknown(name, operation, answering))

    def _stand_in(self, name: str, operation: str) -> tuple[str, list[Written]]:
        """Name and targets of another model; none where it does not answer calls of this kind."""
        try:
            return name, self._targets(name, operation)[1]
        except UnknownModel:
            return name, []

    def _routes(self, name: str, targets: list[Written], role: str) -> tuple[Route, ...]:
        return tuple(
            Route(Target(provider, model, alias), weight / len(aliases), role, name)
            for provider, model, weight in targets
            for aliases in [self._credentials(provider)]
            for alias in aliases
        )

    def _of_one_client(self, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        """The routes without those that would send what the client sends to a second place: its
        credential is meant for one. The first provider without a key of its own says which."""
        places = {name: place for name in _providers(routes) if (place := self._keyless_at(name))}
        if len(set(places.values())) < 2:
            return routes
        meant = next(iter(places.values()))
        return tuple(r for r in routes if places.get(r.target.provider, meant) == meant)

    def _keyless_at(self, provider: str) -> str:
        """Where a provider without a key of its own is; "" for one that has a key."""
        settings = self._config.providers[provider]
        return "" if settings.has_key else settings.base_url or DEFAULT_BASE_URLS[settings.kind]

    def _credentials(self, provider: str) -> list[str]:
        count = len(self._config.providers[provider].api_keys)
        return [f"key-{number}" for number in range(1, count + 1)] or [""]

    def _speaks(self, provider: str, operation: str) -> bool:
        settings = self._config.providers.get(provider)
        if settings is None:
            return False
        return settings.kind == "fake" or operation in _SPEAKS[settings.kind]

    def _speechless(self, provider: str, name: str, operation: str) -> str:
        kind = self._config.providers[provider].kind
        return (
            f"model {name!r} is served by provider {provider!r} of kind {kind!r}, "
            f"which does not answer {operation} calls"
        )

    def _unknown(self, name: str, operation: str, speaking: list[str]) -> str:
        models = sorted(self._config.models)
        text = f"model {name[:200]!r} is not configured"
        near = difflib.get_close_matches(name, models, n=1)
        if near:
            text += f"; did you mean {near[0]!r}?"
        if models:
            text += f"; configured models: {', '.join(models[:20])}"
        if speaking:
            prefixes = ", ".join(f"{provider}/MODEL" for provider in speaking)
            return f"{text}; or name the provider: {prefixes}"
        return f"{text}; no configured provider answers {operation} calls"


def _providers(routes: tuple[Route, ...]) -> list[str]:
    return list(dict.fromkeys(route.target.provider for route in routes))


def _stand_ins(model: ModelConfig) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        (FALLBACK, model.fallbacks),
        (CONTEXT, model.context_fallbacks),
        (CONTENT, model.content_fallbacks),
    )
