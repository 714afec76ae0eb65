"""Joins a backend that N3 built: every model of it asks through headgate, and the two routes that
N3 does not generate are there.

N3's main.py imports the file of its user and swallows what goes wrong there. So whatever goes wrong
here is logged before it is raised.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from headgate.backend.declared import Llm
from headgate.backend.served import refused
from headgate.backend.service import Backend
from headgate.config import Config, ServerConfig
from headgate.config_file_seed import with_runtime_settings
from headgate.errors import Closed, ConfigError, HeadgateError, Problem, UpstreamFailed
from headgate.n3_llms import SENT, Calls, Llms, Names, Voice, names_of
from headgate.providers.settings import ProviderConfig
from headgate.types import Secret

logger = logging.getLogger("headgate.n3")
MISSING_ROUTES = ("/api/metrics/llm", "/api/admin/clear-cache")
_SECTIONS = ("llm_cache", "llm_batch", "circuit_breaker")
_OLLAMA = "http://localhost:11434"
_NOT_A_WORD = re.compile(r"\W+")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
Setup = Callable[[Any], None]


def bound(
    package: str, config: Config | None, replace: Callable[[Config, Mapping[str, Any]], Any]
) -> tuple[Any, Setup]:
    """`router` and `setup`; `replace` starts the engine of `headgate.n3` anew."""
    with _Loud(f"bind({package!r})"):
        fastapi = importlib.import_module("headgate.integrations.fastapi")
        joint = _Joint(package, config, replace, fastapi)
        return fastapi.router(MISSING_ROUTES, joint.backend), joint.setup


class _Loud:
    """Logs what its block raises."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            logger.critical(
                "headgate.n3 %s failed: this backend asks its models WITHOUT headgate",
                self._place,
                exc_info=error,
            )


class _Joint:
    """One backend of N3 and the engine behind it."""

    def __init__(self, package: str, config: Config | None, replace: Any, fastapi: Any) -> None:
        self._package = package
        self._config = config
        self._replace = replace
        self._fastapi = fastapi
        self._backend: Backend | None = None

    def setup(self, app: Any) -> None:
        """Replaces the models of the backend. Raises what `Config` and `Runtime` raise."""
        with _Loud(f"setup of {self._package!r}"):
            module = generated_runtime(self._package)
            said = getattr(module, "RUNTIME_SETTINGS", {})
            settings = {name: said[name] for name in _SECTIONS if name in said}
            specs = getattr(module, "LLM_REGISTRY", {})
            config, placed = configured(specs, self._config)
            config = with_runtime_settings(
                config, settings, getattr(module, "MODEL_CACHE_CONFIG", {})
            )
            if "circuit_breaker" in settings:
                guarded = dataclasses.replace(config.breaker, callables=True)
                config = dataclasses.replace(config, breaker=guarded)
            objects = getattr(module, "_LLM_INSTANCES", {})
            names = names_of(iter(objects.values()), module)
            if specs and names is None:
                raise ConfigError([Problem(module.__name__, "found no BaseLLM of N3")])
            engine = self._replace(config, settings)
            engine.runtime.use_price_list()
            self._backend = Backend(engine.runtime)
            if names is not None:
                replace_models(module, placed, engine.asking, names)
                self._answer_errors(app, names)
            logger.info("headgate.n3: %d of %d models joined", len(placed), len(specs))

    async def backend(self, request: Any) -> Backend:
        """Of a request to the two routes."""
        if self._backend is None:
            raise Closed("setup(app) has not run, or failed: see the log")
        return self._backend

    def _answer_errors(self, app: Any, names: Names) -> None:
        async def answer(request: Any, error: Exception) -> Any:
            cause = getattr(error, "original_error", error)
            if not isinstance(cause, HeadgateError):
                cause = UpstreamFailed(str(error)[:500])
            return self._fastapi.respond(refused(cause))

        for kind in filter(None, (HeadgateError, names.error)):
            app.add_exception_handler(kind, answer)


def generated_runtime(package: str) -> Any:
    """The module `generated.runtime` beside or above `package`; main.py has imported it before.
    Raises ConfigError where it is not loaded."""
    parts = package.split(".") if package else []
    for count in range(len(parts), -1, -1):
        found = sys.modules.get(".".join([*parts[:count], "generated", "runtime"]))
        if found is not None:
            return found
    message = "no generated.runtime is loaded beside it: call bind(__package__) in custom_api.py"
    raise ConfigError([Problem(package, message)])


def configured(
    specs: Mapping[str, Any], config: Config | None
) -> tuple[Config, dict[str, tuple[str, str, Mapping[str, Any]]]]:
    """The configuration with a provider for each model of `LLM_REGISTRY`; and for each model that
    has one: what its name leads to, the dialect, and its spec. The others are named in the log."""
    token = os.environ.get("HEADGATE_ADMIN_TOKEN", "")
    config = config or Config(server=ServerConfig(admin_token=Secret(token)))
    providers = dict(config.providers)
    placed: dict[str, tuple[str, str, Mapping[str, Any]]] = {}
    for name, spec in specs.items():
        own = dict(spec.get("config") or {})
        flat = {**own, **{key: value for key, value in spec.items() if key != "config"}}
        provider = _provider(flat, config, providers)
        if provider is None or not flat.get("model"):
            logger.error(
                "headgate.n3: model %r (provider %r) is left as N3 made it: give bind() a Config "
                "that has this provider",
                name,
                flat.get("provider"),
            )
            continue
        leads_to = name if name in config.models else f"{provider}/{flat['model']}"
        dialect = "anthropic" if providers[provider].kind == "anthropic" else "openai"
        placed[name] = leads_to, dialect, flat
    return dataclasses.replace(config, providers=providers), placed


def _provider(
    spec: Mapping[str, Any], config: Config, providers: dict[str, ProviderConfig]
) -> str | None:
    """The name of the model's provider, which is added where it is not there yet."""
    name = _NOT_A_WORD.sub("-", str(spec.get("provider", ""))).strip("-").lower()
    if name in config.providers:
        return name
    settings = _settings(name, spec)
    if settings is None:
        return None
    known = [other for other, there in providers.items() if _place(there) == _place(settings)]
    if not known:
        known = [name if name not in providers else f"{name}-{len(providers)}"]
        providers[known[0]] = settings
    return known[0]


def _place(settings: ProviderConfig) -> tuple[str, str, str]:
    return settings.kind, settings.base_url, settings.api_key.reveal()


def _settings(name: str, spec: Mapping[str, Any]) -> ProviderConfig | None:
    variable = _NOT_A_WORD.sub("_", name).upper()
    base_url = _written(spec.get("base_url")) or os.environ.get(f"{variable}_BASE_URL", "")
    if name == "ollama":
        base_url = (base_url or _OLLAMA).rstrip("/").removesuffix("/v1") + "/v1"
    if name not in ("openai", "anthropic") and not (base_url and name):
        return None
    key = _written(spec.get("api_key")) or os.environ.get(f"{variable}_API_KEY", "")
    return ProviderConfig(
        kind="anthropic" if name == "anthropic" else "openai",
        base_url=base_url,
        api_key=Secret(key),
    )


def _written(value: Any) -> str:
    """A text of the app's definition; `${NAME}` in it is taken from the environment."""
    if not isinstance(value, str):
        return ""
    return _VARIABLE.sub(lambda found: os.environ.get(found[1], ""), value)


def replace_models(
    module: Any,
    placed: Mapping[str, tuple[str, str, Mapping[str, Any]]],
    llms: Llms,
    names: Names,
) -> None:
    """Puts objects of a subclass of N3's `BaseLLM` in the place of the module's own, also where N3
    could not make one; its own registry of them is told."""
    joined: Any = type("HeadgateLLM", (Calls, names.base), {"__module__": __name__})
    objects = module._LLM_INSTANCES
    registry = getattr(module, "get_llm_registry", None)
    for name, (leads_to, dialect, spec) in placed.items():
        system_prompt = str(spec.get("system_prompt") or spec.get("system") or "")
        params = {key: spec[key] for key in SENT if spec.get(key) is not None}
        llm = Llm(leads_to, dialect, system_prompt, params)
        llms.declare(name, llm)
        before = objects.get(name)
        if before is None:
            made = joined(name, spec["model"], dict(spec))
        else:
            made = joined.__new__(joined)
            vars(made).update(vars(before))
        made.model = spec["model"]
        provider = str(spec.get("provider", ""))
        made._headgate = Voice(llm, llms, names, provider, str(spec["model"]))
        objects[name] = made
        if registry is not None:
            registry().update(made)
