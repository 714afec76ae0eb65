"""The public test kit: a clock that you move, a model that you script, a provider on a real
loopback socket that official SDKs talk to, and one that fails in every way a wire allows. No mocks:
everything here behaves like the real thing, only that you decide when and how.

Nothing in headgate's own stack imports this file.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.splitmix import uniform
from headgate.faultserver.courses import BatchCharge, BatchCourse
from headgate.faultserver.marks import Mark, alias_of, marks_in, tenant_of
from headgate.faultserver.records import Bill, Exchange, Link
from headgate.faultserver.server import FaultServer
from headgate.faultserver.steps import Chunk, Close, Delay, End, FaultStep, Head, Pause, Raw, Usual
from headgate.faultserver.toxics import (
    Bandwidth,
    CutAt,
    Endless,
    ErrorEvent,
    Garbage,
    HalfOpen,
    Latency,
    ResetPeer,
    Slicer,
    SlowClose,
    SlowHeaders,
    Stall,
    Timeout,
    Toxic,
)
from headgate.testing_server import Journal, LoopbackServer, Plan, Recorded
from headgate.testing_steps import Answer, Cut, Hang, Status, Step, plan_of

__all__ = [
    "Answer",
    "Bandwidth",
    "BatchCharge",
    "BatchCourse",
    "Bill",
    "Chunk",
    "Close",
    "Cut",
    "CutAt",
    "Delay",
    "End",
    "Endless",
    "ErrorEvent",
    "Exchange",
    "FakeClock",
    "FakeModel",
    "FakeProvider",
    "FaultServer",
    "FaultStep",
    "Garbage",
    "HalfOpen",
    "Hang",
    "Head",
    "Latency",
    "Link",
    "Mark",
    "ModelCall",
    "Pause",
    "Raw",
    "Recorded",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "SlowHeaders",
    "Stall",
    "Status",
    "Step",
    "Timeout",
    "Toxic",
    "Usual",
    "alias_of",
    "marks_in",
    "tenant_of",
]

_WALL_S = 1_767_225_600.0


class FakeClock:
    """A `headgate.clock.Clock` that stands still until you move it. Thread-safe.

    `wall_s` is the wall-clock time it starts at, in seconds since the epoch (default
    2026-01-01T00:00:00Z); `seed` names the sequence that `random` returns.

    >>> clock = FakeClock()
    >>> before = clock.monotonic(), clock.wall()
    >>> clock.advance(90)
    >>> clock.monotonic() - before[0], clock.wall() - before[1]
    (90.0, 90.0)
    """

    def __init__(self, *, wall_s: float = _WALL_S, seed: int = 0) -> None:
        self._lock = threading.Lock()
        # Not 0: code that takes "no time yet" and "time 0" for the same must fail here.
        self._monotonic_s = 1000.0
        self._wall_s = self._epoch_s = wall_s
        self._seed = seed
        self._drawn = 0

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; moved by `advance` only."""
        return self._monotonic_s

    def wall(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z; moved by `advance` and `jump_wall`."""
        return self._wall_s

    def epoch(self) -> float:
        """As `wall`, but `jump_wall` does not move it."""
        return self._epoch_s

    def random(self) -> float:
        """The next number in [0, 1) of the sequence; the same for the same seed, always."""
        with self._lock:
            self._drawn += 1
            return uniform(self._seed, self._drawn - 1)

    def advance(self, seconds: float) -> None:
        """Lets time pass on both clocks. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError("time passes forwards; use jump_wall to set the wall clock back")
        with self._lock:
            self._monotonic_s += seconds
            self._epoch_s += seconds
            self._wall_s += seconds

    def jump_wall(self, seconds: float) -> None:
        """Sets the wall clock forward or back (negative), as an administrator or NTP would; the
        monotonic clock does not notice."""
        with self._lock:
            self._wall_s += seconds


class ModelCall(Struct, frozen=True):
    """The arguments of one call of a `FakeModel`."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class FakeModel:
    """A callable that stands for your own function around a model. Thread-safe.

    Pass `model.call` where a function is wanted and `model.acall` where an async one is. Each
    answers with the next scripted step, then with `reply` for ever.

    >>> model = FakeModel(reply="Paris")
    >>> model.script(TimeoutError("slow"), "Lyon")
    >>> try:
    ...     model.call("Where?")
    ... except TimeoutError:
    ...     print("timed out")
    timed out
    >>> model.call("Where?"), model.call("Where?"), model.count
    ('Lyon', 'Paris', 3)
    """

    def __init__(self, reply: Any = "A made-up answer.") -> None:
        self._reply = reply
        self._lock = threading.Lock()
        self._script: list[Any] = []
        self._journal: Journal[ModelCall] = Journal()
        self._gate = threading.Event()
        self._gate.set()
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def calls(self) -> list[ModelCall]:
        """Every call so far, oldest first."""
        return self._journal.items()

    @property
    def count(self) -> int:
        """How many calls there were."""
        return len(self.calls)

    def script(self, *results: Any) -> None:
        """Appends what the next calls give, one each: an exception (or its class) is raised,
        anything else returned."""
        with self._lock:
            self._script.extend(results)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """One call, from any thread; takes whatever arguments it is given."""
        result = self._begin(args, kwargs)
        self._gate.wait()
        return _raised_or_returned(result)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """As `call`, from any event loop, without blocking it."""
        result = self._begin(args, kwargs)
        await self._until_released()
        return _raised_or_returned(result)

    def hold(self) -> None:
        """Calls do not return from now on, until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Lets every held call return."""
        with self._lock:
            self._gate.set()
            for loop, released in self._held:
                loop.call_soon_threadsafe(released.set)

    def wait_for_calls(self, count: int, timeout_s: float = 10.0) -> list[ModelCall]:
        """Blocks until `count` calls have begun. Raises TimeoutError saying how many did."""
        return self._journal.wait_for(count, timeout_s, "calls")

    async def _until_released(self) -> None:
        # Not `to_thread(self._gate.wait)`: a few held calls would fill the loop's thread pool, and
        # with it the test that waits for them there.
        here = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._gate.is_set():
                return
            self._held.append(here)
        try:
            await here[1].wait()
        finally:
            with self._lock:
                self._held.remove(here)

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._lock:
            result = self._script.pop(0) if self._script else self._reply
        self._journal.add(ModelCall(args, kwargs))
        return result


def _raised_or_returned(result: Any) -> Any:
    if isinstance(result, BaseException):
        raise result
    if isinstance(result, type) and issubclass(result, BaseException):
        raise result
    return result


class FakeProvider:
    """A provider on `http://127.0.0.1:PORT`, in a thread of its own, for use in a `with` block.

    It speaks OpenAI (chat, completions, responses, embeddings, models) and Anthropic (messages,
    count_tokens, models), whole and streamed. What it answers depends on the request alone, unless
    `script` says otherwise: one step per request, in the order of their arrival.
    `delay_s`: real seconds before each answer.

    >>> import json, urllib.request
    >>> with FakeProvider() as provider:
    ...     provider.script(Answer(text="Paris"))
    ...     body = {"model": "m", "messages": [{"role": "user", "content": "Capital of France?"}]}
    ...     url = provider.base_url + "/chat/completions"
    ...     answer = json.load(urllib.request.urlopen(url, json.dumps(body).encode()))
    >>> answer["choices"][0]["message"]["content"], provider.calls[0].body["model"]
    ('Paris', 'm')
    """

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._script: list[Step] = []
        self._journal: Journal[Recorded] = Journal()
        self._left: Journal[None] = Journal()
        self._server: LoopbackServer | None = None

    def __enter__(self) -> FakeProvider:
        self._server = LoopbackServer(self._plan_for, lambda: self._left.add(None))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cuts every connection and frees the port; `calls` stay readable."""
        if self._server is not None:
            self._server.close()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return self.anthropic_base_url + "/v1"

    @property
    def anthropic_base_url(self) -> str:
        """What an Anthropic client takes as `base_url`."""
        return f"http://127.0.0.1:{self._running().port}"

    @property
    def calls(self) -> list[Recorded]:
        """Every request so far, oldest first, also those that were not answered."""
        return self._journal.items()

    @property
    def abandoned(self) -> int:
        """How many requests lost their client before their answer was complete."""
        return len(self._left.items())

    def script(self, *steps: Step) -> None:
        """Appends what happens to the next requests, one step each; after the last of them
        requests get their usual answer again. Raises TypeError for what is no step."""
        for step in steps:
            if not isinstance(step, Step):
                raise TypeError(f"a step is an Answer, Status, Cut or Hang, not {step!r}")
        with self._lock:
            self._script.extend(steps)

    def hold(self) -> None:
        """Requests are recorded but not answered from now on, until `release`."""
        self._running().hold()

    def release(self) -> None:
        """Answers every held request."""
        self._running().release()

    def wait_for_calls(self, count: int, timeout_s: float = 10.0) -> list[Recorded]:
        """Blocks until `count` requests have arrived and returns them all; in async code call it
        by `asyncio.to_thread`. Raises TimeoutError saying how many did."""
        return self._journal.wait_for(count, timeout_s, "requests")

    def wait_for_abandoned(self, count: int, timeout_s: float = 10.0) -> None:
        """Blocks until `count` clients have left their request. Raises TimeoutError."""
        self._left.wait_for(count, timeout_s, "clients left")

    def _running(self) -> LoopbackServer:
        if self._server is None:
            raise RuntimeError("a FakeProvider serves inside its `with` block")
        return self._server

    def _plan_for(self, request: Recorded) -> Plan:
        with self._lock:
            step = self._script.pop(0) if self._script else Answer()
        plan = plan_of(step, request)
        self._journal.add(request)
        return msgspec.structs.replace(plan, delay_s=plan.delay_s + self._delay_s)
