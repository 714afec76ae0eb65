"""The names an N3 app knows, with the same meaning: a thin room over `Runtime` and `Metrics`.

Generated backends hold a cache and metrics at the level of a module, so this file alone has state:
`_llm_cache` and `_llm_metrics` look at the one runtime that `cached_llm_call` uses. Where the
seed's sketch was wrong: docs/decisions/0004-n3-names.md. How a backend that N3 built is joined:
`bind`, in n3_bind.py.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

from headgate.circuitbreaker import CircuitBreaker
from headgate.clock import Clock, SystemClock
from headgate.config import Config
from headgate.errors import BreakerOpen as CircuitBreakerError
from headgate.layers.settings import CacheConfig
from headgate.metrics import Metrics
from headgate.n3_batching import TIMEOUT_S, Batcher
from headgate.n3_breakers import Breakers, CircuitState, is_error
from headgate.runtime import Runtime
from headgate.shelf import Shelf
from headgate.stream import UNCOPIED, entry_value
from headgate.types import Usage

Params = Mapping[str, Any] | None
Settings = Mapping[str, Any]

logger = logging.getLogger("headgate.n3")


class _Engine:
    """A runtime and what an app holds beside it; `configure` replaces all of it in one step."""

    __slots__ = ("_asking", "_lock", "batcher", "breakers", "runtime", "shelf")

    def __init__(self, config: Config, clock: Clock, settings: Settings | None = None) -> None:
        self.runtime = Runtime(config, clock=clock)
        self.shelf = Shelf(self.runtime)
        self.breakers = Breakers((settings or {}).get("circuit_breaker", {}), clock)
        batch = (settings or {}).get("llm_batch", {})
        numbers = {name: value for name, value in batch.items() if name != "enabled"}
        self.batcher = Batcher(self.ask, **numbers)
        self._lock = threading.Lock()
        self._asking: Any = None

    @property
    def asking(self) -> Any:
        """Asks the providers of the runtime. Made at the first use: most apps bring callables."""
        with self._lock:
            if self._asking is None:
                self._asking = importlib.import_module("headgate.n3_llms").Llms(self.runtime)
            return self._asking

    def ask(self, prompt: Any, model: str, params: Params, timeout_s: float) -> Any:
        """The text of the answer."""
        return self.asking.text(prompt, model, params, timeout_s)


class _ErrorAnswer(Exception):
    """An answer that N3 calls an error, on its way past the cache."""

    code = "error_answer"

    def __init__(self, result: Any) -> None:
        super().__init__(str(result.get("error", "the call says that it failed"))[:500])
        self.result = result


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
        shelf = self._engine.shelf
        key = shelf.key(prompt, model, params)
        entry = shelf.in_memory(key) or shelf.on_disk(key)
        answer = UNCOPIED if entry is None else entry_value(entry)
        return None if answer is UNCOPIED else answer

    def put(self, prompt: Any, model: str, params: Params, response: Any) -> None:
        """Stores a copy of `response`, in place of an older one.

        Nothing is stored where the question is not JSON, the response refuses to be copied, or
        the model's cache is switched off.
        """
        shelf = self._engine.shelf
        shelf.put(shelf.key(prompt, model, params), model, response)

    def clear(self) -> None:
        """Forgets every answer; the counters stay. Calls under way now are not stored."""
        engine = self._engine
        engine.runtime.clear()
        engine.shelf.forget()

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
        shelf = self._engine.shelf
        runtime = shelf.runtime
        started_s = runtime.clock.monotonic()
        entry = shelf.in_memory(shelf.key(prompt, model, params))
        answer = UNCOPIED if entry is None else entry_value(entry)
        if answer is UNCOPIED:
            return runtime.cached_llm_call(prompt, model, params, _raising(call_func))
        runtime.metrics.record_hit(model, (runtime.clock.monotonic() - started_s) * 1000)
        return answer

    def _replace(self, config: Config, settings: Settings) -> _Engine:
        """From now on a runtime of this configuration. Raises what `Runtime` raises, and then
        nothing has changed."""
        previous, self._engine = self._engine, _Engine(config, SystemClock(), settings)
        previous.runtime.close()
        _llm_metrics._look_at(self._engine.runtime.metrics)
        return self._engine

    def _close(self) -> None:
        self._engine.runtime.close()


def _raising(call_func: Callable[[], Any]) -> Callable[[], Any]:
    """As `call_func`, but what N3 calls an error is raised, so that it is counted and not kept."""

    def call() -> Any:
        result = call_func()
        if is_error(result):
            raise _ErrorAnswer(result)
        return result

    return call


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
    `errors`, and it propagates. An answer with `"status": "error"`, which N3 returns where it means
    an exception, is counted as one, and handed on without being kept.
    """
    try:
        return _llm_cache._ask(prompt, model, params, call_func)
    except _ErrorAnswer as error:
        return error.result


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
    _llm_cache._replace(config, runtime_settings)


def bind(package: str, config: Config | None = None) -> tuple[Any, Callable[[Any], None]]:
    """`router, setup` for the file `custom/routes/custom_api.py` of a backend that N3 built:
    `setup(app)` makes every model of it ask through headgate, and `router` has the two routes that
    N3 does not generate. `package` is the file's `__package__`; `config` has providers, keys and
    whatever else the backend's own settings do not say. What goes wrong is logged, then raised.
    """
    bound: tuple[Any, Callable[[Any], None]] = importlib.import_module("headgate.n3_bind").bound(
        package, config, _llm_cache._replace
    )
    return bound


# One line each: what generated backends call around the two objects.


def get_llm_cache() -> LLMCache:
    """The one cache, always the same object."""
    return _llm_cache


def clear_llm_cache() -> dict[str, Any]:
    """Forgets every answer; returns the cache's numbers of before."""
    numbers = _llm_cache.get_stats()
    _llm_cache.clear()
    return numbers


def get_llm_metrics() -> LLMMetrics:
    """The one set of numbers, always the same object."""
    return _llm_metrics


def record_llm_metrics(
    model: str,
    latency_ms: float,
    tokens: int | None = None,
    cached: bool = False,
    error: str | None = None,
) -> None:
    """One call that ended, or with `error` one that failed so: that is a call, too."""
    _llm_metrics.record_call(model, latency_ms, tokens or 0, cached)
    if error:
        _llm_metrics.record_error(model, error)


def get_llm_stats() -> dict[str, Any]:
    """What `_llm_metrics.get_stats` tells."""
    return _llm_metrics.get_stats()


def reset_llm_metrics() -> None:
    """Forgets every number."""
    _llm_metrics.reset()


class LLMBatcher(Batcher):
    """Asks the providers of the runtime that `bind` made, each prompt with its own parameters."""

    def __init__(self, max_batch_size: int = 10, batch_timeout_ms: float = 50.0) -> None:
        super().__init__(_ask_providers, max_batch_size, batch_timeout_ms)


def _ask_providers(prompt: Any, model: str, params: Params, timeout_s: float) -> Any:
    return _llm_cache._engine.ask(prompt, model, params, timeout_s)


def get_llm_batcher() -> Batcher:
    """The one batcher since `configure` or `bind`."""
    return _llm_cache._engine.batcher


def batched_llm_call(prompt: Any, model: str, params: Params, timeout: float = TIMEOUT_S) -> Any:
    """The text of the model's answer, within `timeout` seconds."""
    return get_llm_batcher().add_request(prompt, model, params, timeout)


def get_batch_stats() -> dict[str, Any]:
    """What the one batcher has counted."""
    return get_llm_batcher().get_stats()


def get_circuit_breaker(model: str) -> CircuitBreaker:
    """The breaker of `model` since `configure` or `bind`, always the same."""
    return _llm_cache._engine.breakers.of(model)


def protected_llm_call(model: str, call_func: Callable[[], Any]) -> Any:
    """What `call_func()` returns, or awaits to; raises CircuitBreakerError while it keeps
    failing. An answer with `"status": "error"` is a failure."""
    return get_circuit_breaker(model).call(call_func)


def get_circuit_breaker_stats(model: str | None = None) -> dict[str, dict[str, Any]]:
    """The numbers of one breaker, or of all, by model."""
    return _llm_cache._engine.breakers.numbers(model)


def reset_circuit_breaker(model: str) -> None:
    """Closes the breaker of `model`."""
    get_circuit_breaker(model).reset()


def record_event(component: str, event: str, level: str, details: Any = None) -> None:
    """One line in the log `headgate.n3`; an unknown level is "info"."""
    number = logging.getLevelNamesMapping().get(str(level).upper(), logging.INFO)
    logger.log(number, "%s.%s %s", component, event, details)


_llm_cache = LLMCache()
_llm_metrics = LLMMetrics()
_llm_metrics._look_at(_llm_cache._engine.runtime.metrics)
# A disk tier that `configure` opened is flushed when the program ends.
atexit.register(_llm_cache._close)


# As generated backends spell them.
_CircuitBreaker = CircuitBreaker
_CircuitBreakerError = CircuitBreakerError
_CircuitState = CircuitState
_LLMBatcher = LLMBatcher
_LLMCache = LLMCache
_LLMMetrics = LLMMetrics
_batched_llm_call = batched_llm_call
_cached_llm_call = cached_llm_call
_clear_llm_cache = clear_llm_cache
_configure = configure
_get_batch_stats = get_batch_stats
_get_circuit_breaker = get_circuit_breaker
_get_circuit_breaker_stats = get_circuit_breaker_stats
_get_llm_batcher = get_llm_batcher
_get_llm_cache = get_llm_cache
_get_llm_metrics = get_llm_metrics
_get_llm_stats = get_llm_stats
_protected_llm_call = protected_llm_call
_record_event = record_event
_record_llm_metrics = record_llm_metrics
_reset_circuit_breaker = reset_circuit_breaker
_reset_llm_metrics = reset_llm_metrics
