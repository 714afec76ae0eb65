"""The names an N3 app knows, with the same meaning: a thin room over `Runtime` and `Metrics`.

Generated backends hold a cache and metrics at the level of a module, so this file alone has state:
`_llm_cache` and `_llm_metrics` look at the one runtime that `cached_llm_call` uses. Where the
seed's sketch was wrong: docs/decisions/0004-n3-names.md.
"""

from __future__ import annotations

import atexit
import math
from collections.abc import Callable, Mapping
from typing import Any

from headgate.circuitbreaker import CircuitBreaker
from headgate.clock import Clock, SystemClock
from headgate.config import Config
from headgate.core.freshness import is_fresh
from headgate.errors import BreakerOpen as CircuitBreakerError
from headgate.invocation import Keys
from headgate.layers.settings import CacheConfig
from headgate.metrics import Metrics
from headgate.runtime import Runtime
from headgate.stream import UNCOPIED, Value, entry_value
from headgate.types import NO_CONTROLS, Entry, Usage

Params = Mapping[str, Any] | None

_LATER = ("LLMBatcher",)


class _Engine:
    """A runtime and the keys its library calls have; `configure` replaces both in one step."""

    __slots__ = ("keys", "runtime")

    def __init__(self, config: Config, clock: Clock) -> None:
        self.runtime = Runtime(config, clock=clock)
        self.keys = Keys(config)

    def in_memory(self, key: bytes) -> Entry | None:
        """The entry in memory; counted there as a hit or a miss."""
        if not key:
            return None
        now_s = self.runtime.clock.epoch()
        return self.runtime.tiers.memory.get(key, self.keys.scope, now_s)

    def on_disk(self, key: bytes) -> Entry | None:
        """The entry in the disk tier, copied up to memory; waits for the disk."""
        tiers = self.runtime.tiers
        if not key or tiers.below is None:
            return None
        now_s, generation = self.runtime.clock.epoch(), tiers.generation
        entry = tiers.below.get(key, self.keys.scope, now_s)
        if entry is None or not is_fresh(entry, NO_CONTROLS, now_s):
            return None
        if generation == tiers.generation:
            tiers.memory.put(entry, now_s)
        return entry


class LLMCache:
    """Keeps up to `maxsize` answers for `ttl` seconds each, the least recently used out first.

    Safe from any thread. What is handed in is copied and what is handed out is a copy, so neither
    can be changed into the cache. `clock` is for tests. Raises ValueError if `maxsize` < 0.

    >>> cache = LLMCache(maxsize=10, ttl=60)
    >>> cache.put("prompt", "gpt-4", {}, "response")
    >>> cache.get("prompt", "gpt-4", {})
    'response'
    """

    def __init__(
        self, maxsize: int = 1000, ttl: float = 3600, *, clock: Clock | None = None
    ) -> None:
        if maxsize < 0:
            raise ValueError(f"maxsize must be at least 0, not {maxsize}")
        config = Config(cache=CacheConfig(maxsize=maxsize, ttl=ttl, max_stale=0))
        self._engine = _Engine(config, clock or SystemClock())

    def get(self, prompt: Any, model: str, params: Params) -> Any:
        """A copy of the stored answer, else None.

        A stored None looks the same; `cached_llm_call` can tell. A question that is not JSON has
        no answer and counts neither as a hit nor as a miss.
        """
        engine = self._engine
        key = engine.keys.of_prompt(prompt, model, params, "")
        entry = engine.in_memory(key) or engine.on_disk(key)
        answer = UNCOPIED if entry is None else entry_value(entry)
        return None if answer is UNCOPIED else answer

    def put(self, prompt: Any, model: str, params: Params, response: Any) -> None:
        """Stores a copy of `response`, in place of an older one.

        Nothing is stored where the question is not JSON, the response refuses to be copied, or
        the model's cache is switched off.
        """
        engine = self._engine
        key = engine.keys.of_prompt(prompt, model, params, "")
        value = Value.of(response)
        if not key or value.loose:
            return
        entry = Entry(
            key=key,
            scope=engine.keys.scope,
            model=model,
            operation="function",
            created_s=engine.runtime.clock.epoch(),
            ttl_s=engine.keys.ttl_s(model),
            content=value.content or b"",
            kind="object" if value.content is None else "value",
            held=value.held,
        )
        engine.runtime.tiers.put(entry)

    def clear(self) -> None:
        """Forgets every answer; the counters stay. Calls under way now are not stored."""
        engine = self._engine
        engine.runtime.clear()
        engine.keys.forget()

    def get_stats(self) -> dict[str, Any]:
        """`hits`, `misses`, `evictions`, `expirations`, `size`, `maxsize`, `ttl` (seconds) and
        `hit_rate` (0 to 1; 0 before the first question).

        `size`, `evictions` and `expirations` are those of the memory tier. A call that joined an
        identical one under way is a miss.
        """
        runtime = self._engine.runtime
        below = runtime.tiers.below
        # Each hit of the disk tier was a miss of memory before, which must be counted by now.
        found_below = 0 if below is None else below.stats().hits
        memory = runtime.tiers.memory.stats()
        hits, asked = memory.hits + found_below, memory.hits + memory.misses
        return {
            "hits": hits,
            "misses": asked - hits,
            "evictions": memory.evictions,
            "expirations": memory.expirations,
            "size": memory.entries,
            "maxsize": runtime.config.cache.maxsize,
            "ttl": runtime.config.cache.ttl,
            "hit_rate": hits / asked if asked else 0.0,
        }

    def _ask(self, prompt: Any, model: str, params: Params, call_func: Callable[[], Any]) -> Any:
        engine = self._engine
        runtime = engine.runtime
        started_s = runtime.clock.monotonic()
        entry = engine.in_memory(engine.keys.of_prompt(prompt, model, params, ""))
        answer = UNCOPIED if entry is None else entry_value(entry)
        if answer is UNCOPIED:
            return runtime.cached_llm_call(prompt, model, params, call_func)
        runtime.metrics.record_hit(model, (runtime.clock.monotonic() - started_s) * 1000)
        return answer

    def _replace(self, config: Config) -> Metrics:
        """From now on a runtime of this configuration; returns its metrics. Raises what `Runtime`
        raises, and then nothing has changed."""
        previous, self._engine = self._engine, _Engine(config, SystemClock())
        previous.runtime.close()
        return self._engine.runtime.metrics

    def _close(self) -> None:
        self._engine.runtime.close()


class LLMMetrics:
    """Counts calls, tokens, latencies and errors per model, in bounded memory. Safe from any
    thread."""

    def __init__(self) -> None:
        self._metrics = Metrics()

    def record_call(
        self, model: str, latency_ms: float, tokens: int = 0, cached: bool = False
    ) -> None:
        """One finished call. `tokens` are counted as input, because nothing says which they are; an
        answer from the cache was not paid for and adds none. What is no time or no number of tokens
        (negative, as when the system clock was set back, or NaN) counts as 0."""
        latency_ms = latency_ms if 0 <= latency_ms < math.inf else 0.0
        tokens = max(tokens, 0)
        if cached:
            self._metrics.record_hit(model, latency_ms)
        else:
            self._metrics.record_call(model, latency_ms, Usage(tokens))

    def record_error(self, model: str, error_type: str) -> None:
        """One failure of a kind, `rate_limit` for instance. Does not count a call."""
        self._metrics.record_error(model, error_type)

    def get_stats(self) -> dict[str, Any]:
        """`total_calls`, `total_errors`, `cache_hit_rate` (0 to 1), `by_model` (latencies in ms,
        percentiles within 2.05 %) and `errors` (`"model:kind"` to count), among others."""
        return self._metrics.snapshot()

    def reset(self) -> None:
        """Forgets every number."""
        self._metrics.reset()

    def _look_at(self, metrics: Metrics) -> None:
        self._metrics = metrics


_llm_cache = LLMCache()
_llm_metrics = LLMMetrics()
_llm_metrics._look_at(_llm_cache._engine.runtime.metrics)
# A disk tier that `configure` opened is flushed when the program ends.
atexit.register(_llm_cache._close)


def cached_llm_call(prompt: Any, model: str, params: Params, call_func: Callable[[], Any]) -> Any:
    """The stored answer to (`prompt`, `model`, `params`), else what `call_func()` returns.

    As `Runtime.cached_llm_call`, on the runtime that `configure` made. Counts in `_llm_cache` and
    `_llm_metrics`: a hit with the time it took; an exception of `call_func` as a call and under
    `errors`, and it propagates.
    """
    return _llm_cache._ask(prompt, model, params, call_func)


def configure(
    runtime_settings: Mapping[str, Any],
    model_cache_config: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Starts anew with an app's `RUNTIME_SETTINGS` and `MODEL_CACHE_CONFIG`, as they are: memory
    is empty, every number 0.

    Call it before the first question: calls under way end with `errors.Closed`. `_llm_cache` and
    `_llm_metrics` stay the same objects. Raises ConfigError with every problem found, and then
    nothing has changed.
    """
    config = Config.from_runtime_settings(runtime_settings, model_cache_config)
    _llm_metrics._look_at(_llm_cache._replace(config))


def __getattr__(name: str) -> Any:
    if name.removeprefix("_") in _LATER:
        raise AttributeError(f"{__name__}.{name} is not in this version")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# As generated backends spell them.
_CircuitBreaker = CircuitBreaker
_CircuitBreakerError = CircuitBreakerError
_LLMCache = LLMCache
_LLMMetrics = LLMMetrics
_cached_llm_call = cached_llm_call
_configure = configure
