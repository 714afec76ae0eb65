"""The engine a program holds: one per process, one door for each kind of caller.

A hit is answered here, before any event loop is entered: memory is looked at in the caller's own
thread. Everything else goes down the stack of `pipeline.py`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar, Unpack

from headgate import pipeline
from headgate.admission import Admission, Plan
from headgate.admission_head import Head
from headgate.batching import BatchOptions, execute
from headgate.clock import Clock, SystemClock
from headgate.config import Config
from headgate.decorating import decorated
from headgate.guard_numbers import guard_numbers, left_alone
from headgate.guards import Guards
from headgate.invocation import Keys, Names, caller_loop, caller_thread
from headgate.lanes import Lanes
from headgate.layers.fill import Fill
from headgate.metrics import Metrics
from headgate.monitor import EVERY_S, Monitor, settings_of
from headgate.portal import Portal, result_of
from headgate.runtime_numbers import cache_numbers
from headgate.runtime_parts import Parts, open_parts, release, spans_of
from headgate.stream import UNCOPIED, entry_value, within
from headgate.types import (
    NO_CONTROLS,
    Call,
    Controls,
    Entry,
    Invocation,
    Reply,
    Selection,
    Target,
    WireRequest,
)

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_FUNCTION = Target(pipeline.FUNCTION, "callable")


class Runtime:
    """Never asks a model twice for the same answer.

    `Runtime()` needs nothing: answers are kept in memory only. Usable from any number of threads
    and event loops at once. Close it, or use it as a (sync or async) context manager, so that a
    disk tier is flushed. `telemetry`, a `headgate.telemetry.Telemetry`, is where spans go.

    >>> runtime = Runtime()
    >>> runtime.cached_llm_call("2 + 2?", "gpt-4o", {}, lambda: "4")
    '4'
    """

    def __init__(
        self, config: Config | None = None, *, clock: Clock | None = None,
        before: Runtime | None = None, telemetry: Any = None,
    ) -> None:  # fmt: skip
        self.config = config or Config()
        self.clock = clock = clock or SystemClock()
        cache = self.config.cache
        self.metrics: Metrics = Metrics() if before is None else before.metrics
        self.metrics.reserve({*self.config.models, *cache.models})
        parts = None if before is None else before._parts
        self._parts: Parts = open_parts(self.config, self.clock, parts, telemetry)
        self.tiers = self._parts.tiers
        largest, fill = cache.entry_max_bytes, None if before is None else before.fill
        self.fill: Fill = Fill(self.tiers, self.clock, self.metrics, largest, fill)
        told = functools.partial(left_alone, self._parts.resilience.guards)
        self.ledger, self.calls = self._parts.ledger, self._parts.calls
        self.checks: list[Callable[[], str]] = [self.tiers.problem, self.ledger.problem, told]
        """Each says what is wrong just now, for people, "" if nothing is; none may wait."""
        self.admission = Admission(self.config)
        self.portal: Portal = Portal() if before is None else before.portal
        self._keys, self._names = Keys(self.config), Names()
        # Bound once: a hit takes 2 us, and each look-up of an attribute on its way 0.02.
        self._monotonic, self._peek = self.clock.monotonic, self.tiers.memory.peek
        self._record_hit, self._book_hit = self.metrics.record_hit, self.ledger.record_hit
        self._log_hit = self.calls.hit
        self._spans = spans_of(self._parts, self.metrics)
        self._count_hit = pipeline.told_hits(self._record_hit, self._spans)
        self._lock = threading.Lock()
        self._sdks: Any = None
        self._replay_pause_s = cache.replay_pause
        self._epoch_offset_s = self.clock.epoch() - self.clock.monotonic()
        self._providers = pipeline.providers(self.config, self._parts.wires, clock)
        limits = pipeline.limits(self._parts.limiting, clock)
        seen = pipeline.observed(self.metrics, self.ledger, clock, self.calls)
        plain = pipeline.front(cache, self.tiers, self.fill, clock, seen, limits.throttle)
        front = pipeline.batched(plain, self.config, self.tiers, self.metrics, clock)
        guarded = pipeline.per_target(self.config, self._parts.resilience, clock, limits.limit)
        self.layers = pipeline.traced(front + guarded, self._spans)
        self._stack = pipeline.stack(self.layers, pipeline.by_target(self._providers))

    # Callables of the library.

    def cached_llm_call(
        self, prompt: Any, model: str, params: Mapping[str, Any] | None,
        call_func: Callable[[], Any], *, namespace: str = "", ttl: float | None = None,
    ) -> Any:  # fmt: skip
        """The stored answer to (`prompt`, `model`, `params`), else what `call_func()` returns.

        `prompt` is a string or any JSON value (a list of messages, say); `params` a JSON object.
        Something that is not JSON in either makes the call uncacheable: `call_func` runs and the
        skip is counted. `ttl` in seconds shortens the configured time to live. Any result is
        kept, None and other falsy ones included; an exception is never kept and propagates.
        Identical calls under way at the same time run `call_func` once.
        """
        started_s = self._monotonic()
        key = self._keys.of_prompt(prompt, model, params, namespace)
        if key and ttl is None:
            entry = self._peek(key, started_s + self._epoch_offset_s)
            answer = UNCOPIED if entry is None else entry_value(entry)
            if answer is not UNCOPIED:
                self._count_hit(model, (self._monotonic() - started_s) * 1000)
                return answer
            if entry is not None:
                self.clear(key=key)
        if self.portal.is_home():
            raise RuntimeError("this call would wait for its own event loop: use acached_llm_call")
        thread, request = caller_thread(key, call_func, (prompt, params))
        call = self._call(key, model, namespace, ttl, request)
        return result_of(thread.wait(self.portal.submit(self._stack, call)))

    async def acached_llm_call(
        self, prompt: Any, model: str, params: Mapping[str, Any] | None,
        call_func: Callable[[], Awaitable[Any]], *, namespace: str = "", ttl: float | None = None,
    ) -> Any:  # fmt: skip
        """As `cached_llm_call` for an async `call_func`, which runs in the caller's event loop."""
        started_s = self._monotonic()
        key = self._keys.of_prompt(prompt, model, params, namespace)
        if key and ttl is None:
            entry = self._peek(key, started_s + self._epoch_offset_s)
            answer = UNCOPIED if entry is None else entry_value(entry)
            if answer is not UNCOPIED:
                self._count_hit(model, (self._monotonic() - started_s) * 1000)
                return answer
            if entry is not None:
                self.clear(key=key)
        request = caller_loop(key, call_func, (prompt, params))
        call = self._call(key, model, namespace, ttl, request)
        return result_of(await self.portal.wait(self.portal.submit(self._stack, call)))

    async def batch_execute(
        self, prompts: Iterable[Any], model: str, call_func: Callable[[Any], Awaitable[Any]],
        params: Mapping[str, Any] | None = None, **options: Unpack[BatchOptions],
    ) -> list[Any]:  # fmt: skip
        """Asks every prompt as `acached_llm_call(prompt, model, params, lambda: call_func(prompt))`
        does, at most `concurrency` (16) at a time. The answers stand in the order of the prompts;
        in the place of one that failed stands its exception.

        Keywords: those of `BatchOptions`, in batching.py. Cancelled, it cancels what is under way.
        """
        return await execute(self, prompts, model, call_func, params, **options)

    def cached(
        self, *, model: str = "", namespace: str = "", ttl: float | None = None
    ) -> Callable[[F], F]:
        """Decorator: the function's arguments are the prompt, its name is part of the key.

        For sync and async functions; `model` (default: the function's name) is what metrics and
        per-model settings go by. Arguments that are not JSON make that call uncacheable. Two
        functions of one name do not share answers.
        """

        def decorate(function: F) -> F:
            name = self._names.of(function)
            return decorated(self, function, name, model, namespace=namespace, ttl=ttl)

        return decorate

    # Calls that are HTTP requests; on the home loop where nothing else is said.

    def find(
        self, operation: str, head: Head, body: bytes, query: bytes,
        admission: Admission | None = None,
    ) -> tuple[Plan, Entry | None]:  # fmt: skip
        """The plan to `forward` a request by, and the stored reply where memory has it in the shape
        that is wanted: then there is nothing to forward. From any thread.

        `head` comes from `admission.head`; `admission` replaces the runtime's own. Raises
        BadRequest and UnknownModel.
        """
        started_s = self._monotonic()
        plan = (admission or self.admission).plan(operation, head, body, query)
        if plan.bypass or head.controls is not NO_CONTROLS:
            return plan, None
        entry = self._peek(plan.key, started_s + self._epoch_offset_s)
        if entry is None:
            return plan, None
        is_stream = entry.kind == "stream"
        if is_stream != plan.streamed or (is_stream and self._replay_pause_s):
            return plan, None
        ended_s = self._monotonic()
        self._record_hit(plan.model, (ended_s - started_s) * 1000)
        self._book_hit(entry, plan.client)
        self._log_hit(plan, entry, started_s, ended_s)
        if self._spans is not None:
            self._spans.hit(plan, head.forwarded, started_s, ended_s)
        return plan, entry

    def now_s(self) -> float:
        """Seconds since 1970, as entries are stamped."""
        return self._monotonic() + self._epoch_offset_s

    async def forward(self, path: str, head: Head, body: bytes, plan: Plan) -> Reply:
        """Puts a request that `find` had no reply for through the stack.

        `path` is relative to the API root and carries the query string. Raises HeadgateError for
        whatever has no reply.
        """
        return await self.put_through(self.admission.call(path, head, body, plan))

    async def put_through(self, call: Call) -> Reply:
        """The reply of the stack, on the home loop; it and its stream end at the deadline that the
        caller set."""
        deadline_s = call.controls.deadline_s
        if deadline_s is None:
            return await self._stack(call)
        return await within(deadline_s, self._stack(call))

    # SDKs of this process.

    def http_client(self, asynchronous: bool = False, library: str = "httpx2") -> Any:
        """A client for the `http_client=` of an official SDK: what the SDK asks through it is
        cached, joined and counted, everything else passes.

        An `httpx2.Client`, or `AsyncClient` if `asynchronous`, with the SDKs' own settings; with
        `library="httpx"` those of the library that openai before 3 and anthropic before 1 take.
        Close it as any other; the runtime stays open. Raises ValueError for another library, and
        ModuleNotFoundError where it is not installed.
        """
        return self._sdk_side().client(asynchronous, library)

    def transport(self) -> Any:
        """What stands below `http_client`: the `transport=` of a client of your own, of either
        library, sync and async."""
        return self._sdk_side().transport()

    def _sdk_side(self) -> Any:
        """Made at the first use: its import would double that of headgate."""
        with self._lock:
            if self._sdks is None:
                surface = importlib.import_module("headgate.surfaces.transport")
                self._sdks = surface.Sdks(self)
            return self._sdks

    async def ask(self, provider: str, method: str, path: str, head: Head) -> Reply:
        """One request to `provider` that is no call: never cached, never counted as one."""
        request = WireRequest(path, b"", head.forwarded, head.credential, method)
        target = Target(provider, "")
        call = Call("models", "", request, b"", b"", target, bypass="not_cacheable")
        return await self._providers[provider](call)

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Runs `work`, which may wait for a disk, without stopping the event loop."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Makes a server's running loop the one in which this runtime's stack runs. A server's
        process has the list of prices, too: see `use_price_list`."""
        self.portal.adopt(loop)
        self.use_price_list()

    def use_price_list(self) -> None:
        """Prices models by the built-in list, loaded by a thread when it is needed. Not done by
        itself: it imports an HTTP library, and openai 2 fails while another thread does that."""
        self.ledger.prices.uses_list = True

    # Looking and clearing.

    def stats(self) -> dict[str, Any]:
        """Objects `cache`, `metrics`, `breakers`, `batching` and `cost`, with the seed's keys."""
        numbers = self.metrics.snapshot()
        cache = cache_numbers(self.config.cache, numbers, self.tiers.stats(), self.fill.skipped())
        breakers = guard_numbers(self.guards, self._monotonic())
        parts = {"cache": cache, "metrics": numbers, "breakers": breakers}
        return {**parts, "batching": self.metrics.batches.numbers(), "cost": self.ledger.numbers()}

    def monitor(self, every_s: float = EVERY_S, **settings: Any) -> Monitor:
        """Sums up each `every_s` seconds and warns of high error and low hit rates, from a thread
        of its own, until `stop`. Keywords: those of `Settings`, and `sink`; see docs/monitoring.md.
        """
        return self._monitor(every_s, **settings).start()

    async def amonitor(self, every_s: float = EVERY_S, **settings: Any) -> None:
        """As `monitor`, in this task until it is cancelled."""
        await self._monitor(every_s, **settings).run()

    def _monitor(self, every_s: float, sink: Any = None, **settings: Any) -> Monitor:
        chosen = settings_of(every_s, **settings)
        return Monitor(self.stats, chosen, sink=sink, clock=self.clock)

    @property
    def guards(self) -> Guards:
        """Breakers and gates of every target."""
        return self._parts.resilience.guards

    @property
    def lanes(self) -> Lanes:
        """The places of every target; they belong to the home loop."""
        return self._parts.limiting.lanes

    def clear(
        self, model: str | None = None, namespace: str | None = None, *,
        tag: str | None = None, older_than: float | None = None,
        key: bytes | None = None, dry_run: bool = False,
    ) -> int:  # fmt: skip
        """Removes stored answers from every tier: all, or those that every given condition selects.
        `older_than` in seconds; `key` 32 bytes. With `dry_run` they are only counted.

        Returns how many there were; one that stood in memory and on disk counts once. Calls under
        way when this is called are not stored.
        """
        self._keys.forget()
        selection = Selection(
            model=model, namespace=namespace, tag=tag, older_than_s=older_than, key=key
        )
        return self.tiers.remove(selection, dry_run=dry_run)

    def close(self) -> None:
        """Ends running calls, flushes the disk tier, closes connections. May be called twice.

        On a server's own event loop call `aclose` instead.
        """
        self.portal.close(self._close_wires())
        self.tiers.close()
        self.ledger.close()

    async def aclose(self) -> None:
        """As `close`, from any event loop."""
        if self.portal.is_home():
            await self._close_wires()
            await asyncio.to_thread(self.tiers.close)
            await asyncio.to_thread(self.ledger.close)
        else:
            await asyncio.to_thread(self.close)

    async def _close_wires(self) -> None:
        for wire in self._parts.wires.values():
            await wire.aclose()
        if self._sdks is not None:
            await self._sdks.aclose()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # A change of configuration.

    def successor(self, config: Config) -> Runtime:
        """A runtime under `config` that goes on where this one is: with its numbers and its home
        loop, and with those of its stores and connections whose settings are the same. May wait
        for a disk.

        Both answer until `retire` is called on this one.
        """
        return Runtime(config, clock=self.clock, before=self)

    async def retire(self, successor: Runtime) -> None:
        """Lets go of everything that `successor` has not taken over; on the home loop, when the
        calls of this one, and of those before it, have ended."""
        await release(self._parts, successor._parts)

    # How a miss of the library enters the stack.

    def _call(
        self, key: bytes, model: str, namespace: str, ttl: float | None, request: Invocation
    ) -> Call:
        policy_s = self._keys.ttl_s(model)
        return Call(
            operation=pipeline.FUNCTION,
            model=model,
            request=request,
            key=key,
            scope=self._keys.scope,
            target=_FUNCTION,
            controls=Controls(namespace=namespace, ttl_s=ttl),
            ttl_s=policy_s if ttl is None else min(policy_s, ttl),
            bypass="" if key else self._keys.bypass(model),
        )
