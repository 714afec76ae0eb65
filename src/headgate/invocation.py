"""From a library call to what the stack needs: its key, and a way to run the callable at home."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from hashlib import sha256
from typing import Any

from headgate.config import Config
from headgate.core.canonical import canonical, is_json
from headgate.core.fingerprint import SCHEMA, join, scope_of
from headgate.portal import CallerLoop, CallerThread
from headgate.types import Invocation

_HELD_KEYS: ContextVar[frozenset[bytes]] = ContextVar("headgate_held_keys", default=frozenset())
_PREFIXES_MAX = 4_000
_EXACT = frozenset({str, int, bool, type(None)})
_REST = inspect.Parameter.VAR_POSITIONAL
_NO_PARAMS = (2).to_bytes(8, "big") + b"{}"


class Keys:
    """Keys of library calls under one configuration. Safe from any thread."""

    def __init__(self, config: Config) -> None:
        self._cache = config.cache
        self.scope = scope_of(b"library", b"")
        self._prefixes: dict[tuple[str, str], bytes] = {}

    def of_prompt(
        self, prompt: Any, model: str, params: Mapping[str, Any] | None, namespace: str
    ) -> bytes:
        """SHA-256 over scope, model, namespace, canonical params and prompt, all of them entire;
        b"" if the call cannot be cached: caching is off, or something in it is not JSON."""
        try:
            prefix = self._prefixes.get((model, namespace))
            if prefix is None:
                prefix = self._prefix(model, namespace)
            if not prefix:
                return b""
            settings = _spell_params(params) if params else _NO_PARAMS
            if type(prompt) is str:
                return sha256(prefix + settings + b"s" + prompt.encode()).digest()
            if is_json(prompt):
                return sha256(prefix + settings + b"j" + canonical(prompt)).digest()
        except (UnicodeError, TypeError):
            pass  # a lone surrogate, or params that are no mapping: not JSON
        return b""

    def ttl_s(self, model: str) -> float:
        """Time to live by policy for `model`."""
        own = self._cache.models.get(model)
        return self._cache.ttl if own is None or own.ttl is None else own.ttl

    def bypass(self, model: str) -> str:
        """Why a call of `model` without a key is not cached."""
        return "not_json" if self._enabled(model) else "disabled"

    def _enabled(self, model: str) -> bool:
        own = self._cache.models.get(model)
        return self._cache.enabled if own is None or own.enabled is None else own.enabled

    def _prefix(self, model: str, namespace: str) -> bytes:
        prefix = b""
        if self._enabled(model):
            scope = scope_of(b"library", b"", namespace)
            prefix = join((SCHEMA, b"function", scope, model.encode()))
        if len(self._prefixes) >= _PREFIXES_MAX:
            self._prefixes.clear()
        self._prefixes[(model, namespace)] = prefix
        return prefix


def _spell_params(params: Mapping[str, Any]) -> bytes:
    """Canonical params with their length before them. Raises TypeError if they are not JSON."""
    for name, value in params.items():
        kind = type(value)
        if type(name) is not str or not (
            kind in _EXACT or (kind is float and value - value == 0.0) or is_json(value)
        ):
            raise TypeError(name)
    spelled = canonical(params)
    return len(spelled).to_bytes(8, "big") + spelled


def caller_thread(key: bytes, call_func: Callable[[], Any]) -> tuple[CallerThread, Invocation]:
    """The waiting thread of a synchronous caller, and the call that runs in it."""
    thread = CallerThread()
    held = _HELD_KEYS.get()

    def work() -> Any:
        token = _HELD_KEYS.set(held | {key})
        try:
            result = call_func()
        finally:
            _HELD_KEYS.reset(token)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("call_func returned a coroutine; use acached_llm_call for async code")
        return result

    return thread, Invocation(lambda: thread.run(work), threading.get_ident(), True, held)


def caller_loop(key: bytes, call_func: Callable[[], Any]) -> Invocation:
    """A call that runs in the caller's event loop, in a copy of the caller's context."""
    held = _HELD_KEYS.get()
    token = _HELD_KEYS.set(held | {key})
    try:
        loop = CallerLoop()
    finally:
        _HELD_KEYS.reset(token)
    return Invocation(lambda: loop.run(call_func), threading.get_ident(), False, held)


def bound_arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by parameter name with defaults filled in, so that f(1) and f(x=1) are one call."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return {
        name: list(value) if signature.parameters[name].kind is _REST else value
        for name, value in bound.arguments.items()
    }
