"""What no single setting can tell: settings that need one another, and settings without effect."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from headgate.config import Config
from headgate.config_file_routes import broken_routes
from headgate.config_file_text import Path, Tree, at, dotted, tables
from headgate.core.microbatch import DELAY_MAX_S
from headgate.core.units import parse_duration
from headgate.layers.settings import BreakerConfig, LimitsConfig, RetryConfig
from headgate.providers.settings import ProviderConfig

_LATER = "not available in this version"
_HERE = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})  # noqa: S104
_FOR_EXAMPLE = "such as https://api.openai.com/v1"


def broken(tree: Tree) -> Iterator[tuple[Path, str]]:
    """(path, message) of every rule that an expanded tree breaks.

    Looks past values of a wrong type, which the model reports, so that one reading of a file finds
    everything.
    """
    if at(tree, "cache", "semantic", "enabled") in (True, "true"):
        yield ("cache", "semantic", "enabled"), f"the semantic cache is {_LATER}"
    if at(tree, "cache", "store"):
        yield ("cache", "store"), f"a shared store is {_LATER}; use persist = true"
    if at(tree, "server", "host") == "":
        yield ("server", "host"), "names no address: 127.0.0.1 is this machine, 0.0.0.0 is all"
    start = _whole(at(tree, "limits", "concurrency_start"), 0)
    most = _whole(at(tree, "limits", "concurrency_max"), LimitsConfig.concurrency_max)
    if start > most:
        message = f"must be at most limits.concurrency_max ({most}), got {start}"
        yield ("limits", "concurrency_start"), message
    yield from _below(tree, ("breaker", "open_max"), ("breaker", "recovery_timeout"), BreakerConfig)
    yield from _below(tree, ("retry", "backoff_max"), ("retry", "backoff"), RetryConfig)
    for name, provider in tables(tree, "providers"):
        yield from _broken_provider(("providers", name), provider)
    for name, price in tables(tree, "prices"):
        for key in ("input", "output"):
            if key not in price:
                yield ("prices", name), f"{key} is not set: nothing is free by omission"
    yield from _broken_batch_apis(tree)
    yield from broken_routes(tree)


def _broken_batch_apis(tree: Tree) -> Iterator[tuple[Path, str]]:
    providers = dict(tables(tree, "providers"))
    for name, said in tables(tree, "batch_api"):
        if providers and name not in providers:
            yield ("batch_api", name), f"there is no provider {name!r}"
        as_of = said.get("as_of", "")
        if isinstance(as_of, str) and as_of and not _is_day(as_of):
            yield ("batch_api", name, "as_of"), "expected a day such as 2026-11-12"


def _is_day(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def warnings(config: Config) -> list[str]:
    """Lines on settings that are accepted and do less than they say."""
    return [f"{key}: {message}" for key, message in _without_effect(config)]


def _without_effect(config: Config) -> Iterator[tuple[str, str]]:
    if config.batch.delay_max > DELAY_MAX_S:
        yield "batch.delay_max", f"nobody waits longer than {DELAY_MAX_S * 1000:g} ms for company"
    if config.server.workers > 1 and config.cache.enabled and not config.cache.persist:
        yield "server.workers", "each process has a cache of its own without cache.persist"
    for name, provider in config.providers.items():
        for key, message in _doubtful_provider(provider, config.server.port):
            yield dotted(("providers", name, key)), message


def _doubtful_provider(provider: ProviderConfig, own_port: int) -> Iterator[tuple[str, str]]:
    if provider.kind != "fake" and provider.latency:
        yield "latency", "has an effect on kind fake only"
    if provider.kind == "fake" or not provider.base_url:
        return
    url = urlsplit(provider.base_url)
    if provider.kind == "anthropic" and url.path.rstrip("/").endswith("/v1"):
        yield "base_url", "ends with /v1, which calls of this kind add by themselves"
    if url.hostname in _HERE and url.port == own_port:
        yield "base_url", f"port {own_port} of this machine is this gateway: it would ask itself"


def _broken_provider(path: Path, provider: Tree) -> Iterator[tuple[Path, str]]:
    name = path[-1]
    if "/" in name or not name:
        yield path, "a provider's name is not empty and has no slash: models are PROVIDER/MODEL"
    base_url = provider.get("base_url")
    if isinstance(base_url, str) and base_url and provider.get("kind") != "fake":
        message = _broken_url(base_url)
        if message:
            yield (*path, "base_url"), message
    if provider.get("api_key") and provider.get("api_keys"):
        yield (*path, "api_keys"), "api_key is set, too: put every key into api_keys"


def _below(tree: Tree, most: Path, least: Path, block: type) -> Iterator[tuple[Path, str]]:
    """A longest duration that was written and is shorter than the one it is the longest of."""
    most_s, least_s = (
        _seconds(at(tree, *most)),
        _seconds(at(tree, *least)) or getattr(block, least[-1]),
    )
    if most_s is not None and most_s < least_s:
        yield most, f"must be at least {dotted(least)} ({least_s:g} s), got {most_s:g} s"


def _seconds(value: Any) -> float | None:
    """A duration as files spell it, None for anything else."""
    try:
        return parse_duration(value)
    except ValueError:
        return None


def _broken_url(text: str) -> str:
    """What is wrong with a base URL, "" if nothing is. Never repeats it: it may hold a password."""
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:
        return f"not a URL {_FOR_EXAMPLE}"
    if url.scheme not in ("http", "https") or not has_host:
        return f"not an http or https URL {_FOR_EXAMPLE}"
    if not text.isprintable() or " " in text:
        return "contains a space or a line break"
    if url.username is not None or url.password is not None:
        return "contains credentials: put the key into api_key"
    if "?" in text or "#" in text:
        return "contains a query or a fragment, which a base URL cannot have"
    return ""


def _whole(value: Any, otherwise: int) -> int:
    """A whole number as files spell it, `otherwise` for anything else."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) else otherwise
