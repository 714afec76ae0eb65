"""Answers of a runtime's tiers by hand, without a call: what `headgate.n3` and the caches of other
frameworks look up and put.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.core.freshness import is_fresh
from headgate.invocation import Keys
from headgate.runtime import Runtime
from headgate.stream import UNCOPIED, Value, entry_value
from headgate.types import NO_CONTROLS, Entry


class Shelf:
    """The answers of one `namespace` in a runtime's tiers; they are those of `cached_llm_call`.
    Safe from any thread."""

    __slots__ = ("_keys", "_namespace", "runtime")

    def __init__(self, runtime: Runtime, namespace: str = "") -> None:
        self.runtime = runtime
        self._namespace = namespace
        self._keys = Keys(runtime.config)

    def key(self, prompt: Any, model: str, params: Mapping[str, Any] | None) -> bytes:
        """Of a question; b"" where it is not JSON or the model's cache is switched off."""
        return self._keys.of_prompt(prompt, model, params, self._namespace)

    def in_memory(self, key: bytes) -> Entry | None:
        """The entry in memory; counted there as a hit or a miss."""
        if not key:
            return None
        now_s = self.runtime.clock.epoch()
        return self.runtime.tiers.memory.get(key, self._keys.scope, now_s)

    def on_disk(self, key: bytes) -> Entry | None:
        """The entry in the disk tier, copied up to memory; waits for the disk."""
        tiers = self.runtime.tiers
        if not key or tiers.below is None:
            return None
        now_s, generation = self.runtime.clock.epoch(), tiers.generation
        entry = tiers.below.get(key, self._keys.scope, now_s)
        if entry is None or not is_fresh(entry, NO_CONTROLS, now_s):
            return None
        if generation == tiers.generation:
            tiers.memory.put(entry, now_s)
        return entry

    def value(self, key: bytes) -> Any:
        """A copy of what was put, from memory or else from the disk, which it may wait for; None
        where there is nothing."""
        found = _copy(self.in_memory(key))
        return _copy(self.on_disk(key)) if found is None else found

    async def avalue(self, key: bytes) -> Any:
        """As `value`; nobody but this task waits for the disk."""
        found = _copy(self.in_memory(key))
        if found is not None or self.runtime.tiers.below is None:
            return found
        return _copy(await self.runtime.off_loop(lambda: self.on_disk(key)))

    def put(self, key: bytes, model: str, response: Any, ttl_s: float | None = None) -> None:
        """Keeps a copy of `response`, in place of an older one, for `ttl_s` or else the model's
        time to live; not where it refuses to be copied."""
        value = Value.of(response)
        if not key or value.loose:
            return
        entry = Entry(
            key=key,
            scope=self._keys.scope,
            model=model,
            operation="function",
            namespace=self._namespace,
            created_s=self.runtime.clock.epoch(),
            ttl_s=self._keys.ttl_s(model) if ttl_s is None else ttl_s,
            content=value.content or b"",
            kind="object" if value.content is None else "value",
            held=value.held,
        )
        self.runtime.tiers.put(entry)

    def clear(self) -> int:
        """Removes every answer of its namespace, from every tier; how many there were."""
        return self.runtime.clear(namespace=self._namespace)

    def forget(self) -> None:
        """Lets go of remembered keys; they stay the same."""
        self._keys.forget()


def _copy(entry: Entry | None) -> Any:
    held = None if entry is None else entry_value(entry)
    return None if held is UNCOPIED else held
