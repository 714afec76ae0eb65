"""A circuit breaker around any callable: `@circuit` and `CircuitBreaker`. Safe from any thread.

A thin room over the pure machine of core/breaker.py: this file holds the lock and reads the clock.
It needs no runtime, and nothing of headgate's own stack uses it.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast, overload

from headgate.clock import Clock, SystemClock
from headgate.core.attribution import of_error
from headgate.core.breaker import RELEASED, Breaker
from headgate.core.breaker_settings import BreakerSettings, simple_settings
from headgate.core.outcome import FAULT, GOOD, IGNORED, OK, OUTCOMES, Outcome, timed
from headgate.core.permits import Event, Permit, Refusal
from headgate.errors import BreakerOpen

P = ParamSpec("P")
R = TypeVar("R")
Judge = Callable[[Any, Exception | None], str | None]
"""`(result, error)` to "ok", "fault", "ignored", or None for the usual judgement; the other of the
two is None."""

_JUDGED: Mapping[str, Outcome] = {
    OK: GOOD,
    FAULT: Outcome(FAULT, "judged"),
    IGNORED: Outcome(IGNORED, "judged"),
}


class CircuitBreaker:
    """Stops calling what keeps failing, and tries a little at a time whether it works again.

    `failure_threshold` failures in a row open it (so does a window of 30 s in which half of at
    least 20 calls failed). While it is open, calls raise `errors.BreakerOpen` with `retry_after_s`
    and nothing is called. After `recovery_timeout` seconds one call at a time goes through:
    `success_threshold` successes close it, a failure opens it for another `recovery_timeout`.

    What is the caller's own fault (HTTP 400, 404, 422), a rate limit (429) or a refused key (401,
    403) is no failure; neither is a call that was cancelled. `judge` may say otherwise, also about
    results. `clock` is for tests. Raises ConfigError for a number that makes no sense.

    >>> breaker = CircuitBreaker(failure_threshold=2, recovery_timeout=60)
    >>> breaker.call(lambda: "Paris")
    'Paris'
    >>> breaker.get_state()
    'closed'
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 2,
        *,
        name: str = "",
        judge: Judge | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = simple_settings(failure_threshold, recovery_timeout, success_threshold)
        self._start(settings, name, judge, clock)

    @classmethod
    def of(
        cls,
        settings: BreakerSettings,
        *,
        name: str = "",
        judge: Judge | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """One with every setting: rates, slow calls, growing and jittered open times."""
        breaker = cls.__new__(cls)
        breaker._start(settings, name, judge, clock)
        return breaker

    def _start(
        self, settings: BreakerSettings, name: str, judge: Judge | None, clock: Clock | None
    ) -> None:
        clock = clock or SystemClock()
        self.name = name or "circuit breaker"
        self._judge = judge
        self._looks_at_success = judge is not None or settings.slow_total_s is not None
        self._monotonic = clock.monotonic
        seed = int(clock.random() * 2**53)
        self._machine = Breaker(settings, clock.monotonic(), seed=seed)
        self._lock = threading.Lock()
        self._unrecorded: deque[tuple[Permit, Outcome, float]] = deque()

    # Calling.

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What `function(*args, **kwargs)` returns. If that is awaitable, what it leads to is what
        counts. Raises BreakerOpen without calling it, and what it raises."""
        with Attempt(self) as attempt:
            attempt.result = result = function(*args, **kwargs)
            if hasattr(result, "__await__"):
                return cast(R, _awaited(attempt.hand_over(), cast(Awaitable[Any], result)))
        return result

    def attempt(self) -> Attempt:
        """A context manager around one call: `with breaker.attempt(): ...`."""
        return Attempt(self)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorates a function, a coroutine function, or a generator function of either kind; a
        generator is one call from its first item to its last. All that one breaker decorates open
        and close together. The breaker stands in the attribute `breaker` of the result."""
        guarded = self._guard(function)
        functools.update_wrapper(guarded, function)
        guarded.breaker = self
        return cast(Callable[P, R], guarded)

    def _guard(self, function: Any) -> Any:
        if inspect.isasyncgenfunction(function):

            async def streamed(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                with self.attempt():
                    async with aclosing(function(*args, **kwargs)) as items:
                        async for item in items:
                            yield item

            return streamed
        if inspect.isgeneratorfunction(function):

            def generated(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                with self.attempt():
                    return (yield from function(*args, **kwargs))

            return generated
        if inspect.iscoroutinefunction(function):

            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self.attempt() as attempt:
                    attempt.result = result = await function(*args, **kwargs)
                return result

            return awaited

        def called(*args: Any, **kwargs: Any) -> Any:
            # As `call`, without a second way through it.
            with Attempt(self) as attempt:
                attempt.result = result = function(*args, **kwargs)
                if hasattr(result, "__await__"):
                    return _awaited(attempt.hand_over(), result)
            return result

        return called

    # Looking, and by hand.

    def get_state(self) -> str:
        """`closed`, `open` or `half_open`; by hand also `forced_open`, `disabled`, `metrics_only`.

        It stays `open` until somebody calls after its time."""
        return self._machine.state

    def get_stats(self) -> dict[str, Any]:
        """Counts since it was made, and how it is now; `success_rate` is 0 to 1 (0 before the first
        call), `retry_after_s` None where a person has opened it."""
        with self._held() as machine:
            counts = machine.counts
            ended = counts.ok + counts.faults
            return {
                "name": self.name,
                "state": machine.state,
                "total_calls": ended + counts.ignored + counts.late + counts.refused,
                "successful_calls": counts.ok,
                "failed_calls": counts.faults,
                "ignored_calls": counts.ignored,
                "late_calls": counts.late,
                "rejected_calls": counts.refused,
                "state_changes": counts.transitions,
                "failure_count": machine.faults_in_row,
                "success_rate": counts.ok / ended if ended else 0.0,
                "retry_after_s": machine.retry_after_s(self._monotonic()),
            }

    def reset(self) -> None:
        """Closes it and forgets the failures; the counts go on."""
        with self._held() as machine:
            machine.reset(self._monotonic())

    def force(self, state: str) -> None:
        """Puts it into a state by hand: `forced_open` refuses until `reset`, `disabled` admits
        everything, `metrics_only` only counts. Raises ValueError for what is none."""
        with self._held() as machine:
            machine.force(state, self._monotonic())

    def take_events(self) -> tuple[Event, ...]:
        """Changes of state since the last time, in order; the latest 64 at most."""
        with self._held() as machine:
            return machine.take_events()

    # The lock.

    @contextmanager
    def _held(self) -> Iterator[Breaker]:
        try:
            with self._lock:
                self._catch_up()
                yield self._machine
        finally:
            self._drain()

    def _admit(self, now_s: float) -> Permit:
        with self._lock:
            if self._unrecorded:
                self._catch_up()
            answer = self._machine.admit(now_s)
        if self._unrecorded:
            self._drain()
        if isinstance(answer, Refusal):
            wait_s = answer.retry_after_s
            when = "" if wait_s is None else f"; try again in {wait_s:.3g} s"
            how = answer.reason.replace("_", " ")
            raise BreakerOpen(f"{self.name} is {how}{when}", retry_after_s=wait_s)
        return answer

    def _record(self, permit: Permit, outcome: Outcome, now_s: float) -> None:
        """Never waits for the lock: the garbage collector may close a forgotten generator, and so
        end its call, in a thread that holds it."""
        if self._lock.acquire(False):
            try:
                self._machine.record(permit, outcome, now_s)
            finally:
                self._lock.release()
        else:
            self._unrecorded.append((permit, outcome, now_s))
        if self._unrecorded:
            self._drain()

    def _drain(self) -> None:
        """Records what came while the lock was held. Whoever held it comes here after letting it
        go, so nothing stays behind."""
        while self._unrecorded and self._lock.acquire(False):
            try:
                self._catch_up()
            finally:
                self._lock.release()

    def _catch_up(self) -> None:
        while self._unrecorded:
            self._machine.record(*self._unrecorded.popleft())

    def _end(
        self, permit: Permit, started_s: float, error: BaseException | None, result: Any
    ) -> None:
        now_s = self._monotonic()
        if error is None and not self._looks_at_success:
            self._record(permit, GOOD, now_s)
            return
        outcome = RELEASED
        try:
            outcome = self._outcome(error, result)
        finally:
            outcome = timed(outcome, now_s - started_s, self._machine.settings.slow_total_s)
            self._record(permit, outcome, now_s)

    def _outcome(self, error: BaseException | None, result: Any) -> Outcome:
        if error is not None and not isinstance(error, Exception):
            return OUTCOMES["left"]
        kind = None if self._judge is None else self._judge(result, error)
        if kind is None:
            return GOOD if error is None else of_error(error)
        if kind not in _JUDGED:
            raise ValueError(f"a judge says {', '.join(_JUDGED)} or None, not {kind!r}")
        return _JUDGED[kind]


class Attempt:
    """One guarded call. Entering raises BreakerOpen, or takes a permit; leaving gives it back with
    the outcome. Set `result` before leaving where a `judge` looks at results."""

    __slots__ = ("_breaker", "_permit", "_started_s", "result")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._permit: Permit | None = None
        self.result: Any = None

    def __enter__(self) -> Self:
        # A call that was handed over has its permit already.
        if self._permit is None:
            self._started_s = now_s = self._breaker._monotonic()
            self._permit = self._breaker._admit(now_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            self._breaker._end(permit, self._started_s, error, self.result)

    def hand_over(self) -> Attempt:
        """The attempt that goes on elsewhere with the permit of this one, which ends nothing."""
        other = Attempt(self._breaker)
        other._permit, self._permit = self._permit, None
        other._started_s = self._started_s
        return other


async def _awaited(attempt: Attempt, result: Awaitable[Any]) -> Any:
    with attempt:
        attempt.result = outcome = await result
    return outcome


@overload
def circuit(function: Callable[P, R], /) -> Callable[P, R]:
    """Without parentheses."""


@overload
def circuit(
    *,
    failure_threshold: int = 5,
    recovery_timeout: float = 60.0,
    success_threshold: int = 2,
    name: str = "",
    judge: Judge | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """With settings."""


def circuit(
    function: Callable[..., Any] | None = None,
    /,
    *,
    failure_threshold: int = 5,
    recovery_timeout: float = 60.0,
    success_threshold: int = 2,
    name: str = "",
    judge: Judge | None = None,
) -> Any:
    """Decorates a function with a `CircuitBreaker` of its own, with or without parentheses.

    >>> @circuit(failure_threshold=5, recovery_timeout=60)
    ... def ask(question):
    ...     return "Paris"
    >>> ask("Capital of France?")
    'Paris'
    >>> ask.breaker.get_state()
    'closed'
    """

    def decorate(decorated: Callable[..., Any]) -> Callable[..., Any]:
        breaker = CircuitBreaker(
            failure_threshold,
            recovery_timeout,
            success_threshold,
            name=name or getattr(decorated, "__qualname__", ""),
            judge=judge,
        )
        return breaker(decorated)

    return decorate if function is None else decorate(function)
