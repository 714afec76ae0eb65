"""From a library call to what the stack needs: its key, and a way to run the callable at home."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from hashlib import sha256
from marshal import dumps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from headgate.config import Config
from headgate.core.canonical import canonical, is_json
from headgate.core.fingerprint import SCHEMA, digest, scope_of
from headgate.portal import CallerLoop, CallerThread
from headgate.types import Invocation

_HELD_KEYS: ContextVar[frozenset[bytes]] = ContextVar("headgate_held_keys", default=frozenset())
_KNOWN_MAX = 2_000
_PARTS_BYTES_MAX = 2_000
_PROMPT_CHARS_MAX = 1_000
"""Python hashes a string to find it again, which takes as long as SHA-256 once it is long."""
K = TypeVar("K")
_TEXT, _JSON = b"s", b"j"
_REST = inspect.Parameter.VAR_POSITIONAL


class Keys:
    """Keys of library calls under one configuration. Safe from any thread.

    A key is the SHA-256 over a head (scope, model, namespace, canonical params) and the prompt.
    Heads, and the keys of short prompts, are remembered under what `marshal` makes of the other
    arguments: it takes exact built-in types only and spells different values differently, so what
    is found again was checked and digested before. Anew it costs 1.5 us more.
    """

    def __init__(self, config: Config) -> None:
        self._cache = config.cache
        self.scope = scope_of(b"library", b"")
        self._heads: dict[bytes, bytes] = {}
        self._known: dict[tuple[bytes, str], bytes] = {}

    def of_prompt(
        self, prompt: Any, model: str, params: Mapping[str, Any] | None, namespace: str
    ) -> bytes:
        """SHA-256 over scope, model, namespace, canonical params and prompt, all of them entire;
        b"" if the call cannot be cached: caching is off, or something in it is not JSON."""
        try:
            parts = dumps((model, namespace, params))  # type: ignore[arg-type]
        except ValueError:  # not built-in types throughout
            return _digest(self._head(model, namespace, params), prompt)
        short = type(prompt) is str and len(prompt) <= _PROMPT_CHARS_MAX
        if short:
            key = self._known.get((parts, prompt))
            if key is not None:
                return key
        head = self._heads.get(parts)
        if head is None:
            head = self._head(model, namespace, params)
            if len(parts) <= _PARTS_BYTES_MAX:
                _remember(self._heads, parts, head)
        key = _digest(head, prompt)
        if short and len(parts) <= _PARTS_BYTES_MAX:
            _remember(self._known, (parts, prompt), key)
        return key

    def forget(self) -> None:
        """Lets go of everything remembered; keys stay the same."""
        self._heads.clear()
        self._known.clear()

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

    def _head(self, model: str, namespace: str, params: Mapping[str, Any] | None) -> bytes:
        """32 bytes and the mark of a text prompt; b"" if the call is not to be cached."""
        if not (isinstance(model, str) and isinstance(namespace, str)):
            raise TypeError("model and namespace must be strings")
        if not (params is None or isinstance(params, Mapping)):
            return b""
        settings = dict(params or {})
        if not (self._enabled(model) and is_json(settings)):
            return b""
        try:
            scope = scope_of(b"library", b"", namespace)
            return digest(SCHEMA, b"function", scope, model.encode(), canonical(settings)) + _TEXT
        except UnicodeEncodeError:
            return b""


class Names:
    """Names of decorated functions, by which their keys differ. Safe from any thread.

    A qualified name alone would let closures of one factory, lambdas, methods of two objects and a
    function defined anew answer for one another.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
        self._many: Counter[str] = Counter()
        self._lock = threading.Lock()

    def of(self, function: Callable[..., Any]) -> str:
        """The qualified name; with a number from the second function of that name on. Raises
        TypeError for a callable without a name."""
        name = getattr(function, "__qualname__", None)
        if name is None:
            raise TypeError(f"{function!r} has no name of its own: decorate a function")
        name = f"{function.__module__}.{name}"
        with self._lock:
            known = self._known.get(function)
            if known is None:
                self._many[name] += 1
                known = name if self._many[name] == 1 else f"{name}#{self._many[name]}"
                self._known[function] = known
        return known


def _digest(head: bytes, prompt: Any) -> bytes:
    """The key of `prompt` under `head`; b"" if there is no head or the prompt is not JSON."""
    try:
        if head and type(prompt) is str:
            key = sha256(head)
            key.update(prompt.encode())
            return key.digest()
        if head and is_json(prompt):
            return sha256(head[:-1] + _JSON + canonical(prompt)).digest()
    except UnicodeEncodeError:
        pass  # a lone surrogate: not JSON
    return b""


def _remember(known: dict[K, bytes], what: K, digest: bytes) -> None:
    if len(known) >= _KNOWN_MAX:
        known.clear()
    known[what] = digest


def caller_thread(
    key: bytes, call_func: Callable[[], Any], question: Any = None
) -> tuple[CallerThread, Invocation]:
    """The waiting thread of a synchronous caller, and the call that runs in it; `question` is what
    the key was made of."""
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

    own_id = threading.get_ident()
    return thread, Invocation(lambda: thread.run(work), own_id, True, held, question)


def caller_loop(key: bytes, call_func: Callable[[], Any], question: Any = None) -> Invocation:
    """A call that runs in the caller's event loop, in a copy of the caller's context."""
    held = _HELD_KEYS.get()
    token = _HELD_KEYS.set(held | {key})
    try:
        loop = CallerLoop()
    finally:
        _HELD_KEYS.reset(token)
    own_id = threading.get_ident()
    return Invocation(lambda: loop.run(call_func), own_id, False, held, question)


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
