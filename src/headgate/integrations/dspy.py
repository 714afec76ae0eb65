"""DSPy: its cache of answers, kept where headgate keeps its own, in place of a folder of pickles.

It has the methods that DSPy calls, and imports nothing of it: DSPy brings LiteLLM, on which
headgate never depends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from headgate.runtime import Runtime
from headgate.shelf import Shelf

NAMESPACE = "dspy"


class Keys(Protocol):
    """Whatever makes DSPy's keys: one of its own caches, which need hold nothing."""

    def cache_key(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> str:
        """A digest of the request. Raises where it has none."""


class HeadgateCache:
    """`dspy.cache = HeadgateCache(runtime, Cache(False, False, None))`, `Cache` of
    `dspy.clients.cache`: DSPy's own keys, over the runtime's tiers under `namespace`.

    What DSPy stores as plain data, as its own clients do, is kept on the disk, too; objects of
    other libraries in memory only. Usable from any thread.
    """

    def __init__(self, runtime: Runtime, keys: Keys, namespace: str = NAMESPACE) -> None:
        self._shelf = Shelf(runtime, namespace)
        self._keys = keys

    def cache_key(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> str:
        """DSPy's own key."""
        return self._keys.cache_key(request, ignored_args_for_cache_key)

    def get(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> Any:
        """A copy of the stored answer, or None; may wait for the disk, also in an event loop."""
        found = self._shelf.value(self._key(request, ignored_args_for_cache_key))
        if hasattr(found, "usage"):
            # As DSPy marks its own hits: nothing was used, and models of pydantic refuse new names.
            found.usage = {}
            object.__setattr__(found, "cache_hit", True)
        return found

    def put(
        self,
        request: dict[str, Any],
        value: Any,
        ignored_args_for_cache_key: list[str] | None = None,
        enable_memory_cache: bool = True,
    ) -> None:
        """Keeps a copy; the disk is written to behind it. The tiers are the runtime's affair, so
        `enable_memory_cache` means nothing."""
        key = self._key(request, ignored_args_for_cache_key)
        self._shelf.put(key, model_of(request), value)

    def reset_memory_cache(self) -> None:
        """Forgets every answer of this namespace, those on the disk, too."""
        self._shelf.clear()

    def _key(self, request: dict[str, Any], ignored: list[str] | None) -> bytes:
        try:
            return self._shelf.key(self._keys.cache_key(request, ignored), NAMESPACE, None)
        except (TypeError, ValueError, AttributeError):  # objects that DSPy cannot spell
            return b""


def model_of(request: Mapping[str, Any]) -> str:
    """The model that a request names; "dspy" where it names none."""
    model = request.get("model")
    return model if isinstance(model, str) else NAMESPACE
