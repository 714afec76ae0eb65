"""LiteLLM: its cache of answers, kept where headgate keeps its own.

It has the methods that LiteLLM calls, and imports nothing of it: headgate never depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headgate.runtime import Runtime
from headgate.shelf import Shelf

NAMESPACE = "litellm"


class HeadgateCache:
    """`litellm.cache = Cache(type="local")`, then `litellm.cache.cache = HeadgateCache(runtime)`.

    Answers live in the runtime's tiers under `namespace`. LiteLLM makes the keys; it hands every
    argument of its caller on, of which `model` and `ttl` (seconds) count. Usable from any thread
    and event loop.
    """

    def __init__(self, runtime: Runtime, namespace: str = NAMESPACE) -> None:
        self._shelf = Shelf(runtime, namespace)

    def get_cache(self, key: str, **said: Any) -> Any:
        """The stored value, or None; may wait for the disk."""
        return self._shelf.value(self._key(key))

    async def async_get_cache(self, key: str, **said: Any) -> Any:
        """As `get_cache`; nobody but this task waits for the disk."""
        return await self._shelf.avalue(self._key(key))

    def set_cache(self, key: str, value: Any, **said: Any) -> None:
        """Keeps a copy; the disk is written to behind it."""
        model, ttl = said.get("model"), said.get("ttl")
        named = model if isinstance(model, str) else NAMESPACE
        self._shelf.put(self._key(key), named, value, None if ttl is None else float(ttl))

    async def async_set_cache(self, key: str, value: Any, **said: Any) -> None:
        """As `set_cache`."""
        self.set_cache(key, value, **said)

    async def async_set_cache_pipeline(
        self, cache_list: Iterable[tuple[str, Any]], **said: Any
    ) -> None:
        """As `set_cache`, of several: the parts of one request for embeddings."""
        for key, value in cache_list:
            self.set_cache(key, value, **said)

    async def batch_cache_write(self, key: str, value: Any, **said: Any) -> None:
        """As `set_cache`."""
        self.set_cache(key, value, **said)

    async def delete_cache_keys(self, keys: Sequence[str]) -> None:
        """Forgets some answers; nobody but this task waits for the disk."""
        clear = self._shelf.runtime.clear
        for key in filter(None, map(self._key, keys)):
            await self._shelf.runtime.off_loop(lambda key=key: clear(key=key))  # type: ignore[misc]

    def flush_cache(self) -> None:
        """Forgets every answer of this namespace."""
        self._shelf.clear()

    async def ping(self) -> bool:
        """There is nobody to reach."""
        return True

    async def disconnect(self) -> None:
        """Nothing to let go of: the runtime is closed by whoever opened it."""

    def _key(self, key: str) -> bytes:
        return self._shelf.key(key, NAMESPACE, None)
