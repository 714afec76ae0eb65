"""Cancel everywhere: one call made again and again, each time cancelled one moment later, until a
run ends before its moment comes. After each blow everything is as it was and a healthy call passes.

A moment is a suspension: a task of the call goes to sleep. What is to be back where it was is a
list of probes, `(name, how many)`; whoever adds something that can leak adds one line there.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from headgate.errors import HeadgateError

Ask = Callable[[str], Coroutine[Any, Any, None]]
"""Makes one call about something, and asserts that its answer is whole and the right one."""
Probe = tuple[str, Callable[[], int]]
"""Something that calls hold while they are under way, and how many of it there are now."""
MOMENTS_MAX = 400
_LOOKS, _LOOK_S = 10_000, 0.002
_CALL_MAX_S = 20.0
_TRIES = 3
_STALL_S = 0.15
_OF_CALLS = ("flights", "waits", "permits", "calls upstream")
"""Probes of what is there only while somebody asks."""


class Blow(NamedTuple):
    """Who is cancelled at the n-th moment, and at which side of its sleep."""

    spares_others: bool
    """The caller alone is cancelled, at any moment of whoever works for it; else whichever task the
    moment belongs to, as a loop that ends cancels them all."""
    is_late: bool
    """Cancelled when what it slept for has come and it has not seen it yet."""
    error: type[Exception] | None = None
    """What it finds as it wakes instead of what it slept for; None: it is cancelled."""


BLOWS = {
    "the caller": Blow(True, False),
    "the caller as it wakes": Blow(True, True),
    "any task": Blow(False, False),
    "any task as it wakes": Blow(False, True),
    "any task by an error": Blow(False, True, ConnectionResetError),
}


class Scene(NamedTuple):
    """The call that is struck, and those around it."""

    ask: Ask
    ahead: tuple[Ask, ...] = ()
    """Made before it, about the same, and under way when it comes."""
    behind: tuple[Ask, ...] = ()
    """Made right after it, about the same."""
    prepare: Ask | None = None
    """What has to be there before."""
    healthy: Ask | None = None
    """What is asked after a call that has no end of its own: so a call is seen that goes on without
    its caller. None: the struck call itself, which has one."""
    honest: tuple[type[BaseException], ...] = (HeadgateError, OSError)
    """How a call may end that lost what it was waiting for; cancelled, too."""


class Moments:
    """A task factory that counts the suspensions of the tasks it makes, and strikes at one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, blow: Blow) -> None:
        self.has_struck = False
        self.was_due = False
        """The caller was cancelled before it had ended: it owes a CancelledError."""
        self.made: list[asyncio.Task[Any]] = []
        """Kept, and with their exceptions all that their frames hold: what is let go of by garbage
        collection alone is not let go of."""
        self._loop = loop
        self._blow = blow
        self._count = self._strike_at = 0
        self._caller: asyncio.Task[Any] | None = None
        self._erring: asyncio.Task[Any] | None = None
        self._is_on = False
        loop.set_task_factory(self._make)

    @contextmanager
    def until(self, strike_at: int) -> Iterator[None]:
        """Tasks made within are counted, from the moment on that one is the `caller`."""
        self._count, self._strike_at, self._is_on = 0, strike_at, True
        self.has_struck = self.was_due = False
        try:
            yield
        finally:
            self._is_on, self._caller = False, None

    def caller(self, task: asyncio.Task[Any]) -> None:
        self._caller = task

    def _make(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(_Counted(work, self) if self._is_on else work, loop=loop, **more)
        if self._is_on:
            self.made.append(task)
        return task

    def slept(self, awaited: asyncio.Future[Any] | None) -> None:
        """The running task waits for `awaited`, or for its next turn."""
        task = asyncio.current_task()
        assert task is not None
        if self._is_late_for(task) or not self._is_now():
            return
        if self._blow.error is not None:
            self._erring = task
            return
        whom = self._caller if self._blow.spares_others else task
        if not self._blow.is_late:
            self._cancel(whom)
        elif awaited is None:
            self._loop.call_soon(self._cancel, whom)
        else:
            # Told before the task itself is: a done future wakes in the order of its callbacks.
            awaited.add_done_callback(lambda _: self._cancel(whom))

    def error(self) -> Exception | None:
        """What the running task finds now that it wakes."""
        if self._erring is None or self._erring is not asyncio.current_task():
            return None
        self._erring = None
        assert self._blow.error is not None
        return self._blow.error(errno.ECONNRESET, "struck")

    def ended(self) -> None:
        """The running task is at its end: a moment for its caller, if that is another."""
        if self._blow.spares_others and not self._blow.is_late:
            task = asyncio.current_task()
            if task is not self._caller and self._is_now():
                self._cancel(self._caller)

    def _is_late_for(self, task: asyncio.Task[Any]) -> bool:
        """Nobody but the sleeper itself can be struck as it wakes."""
        return self._blow == Blow(True, True) and task is not self._caller

    def _is_now(self) -> bool:
        if self._caller is None:
            return False
        self._count += 1
        self.has_struck = self.has_struck or self._count == self._strike_at
        return self._count == self._strike_at

    def _cancel(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None and task.cancel():
            self.was_due = self._blow.spares_others


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that says when it suspends."""

    def __init__(self, work: Coroutine[Any, Any, Any], moments: Moments) -> None:
        self._work = work
        self._moments = moments

    def send(self, value: Any) -> Any:
        error = self._moments.error()
        if error is not None:
            return self._step(self._work.throw, error)
        return self._step(self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._work.throw, *error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self

    def _step(self, go: Callable[..., Any], *args: Any) -> Any:
        try:
            awaited = go(*args)
        except BaseException:
            self._moments.ended()
            raise
        self._moments.slept(awaited)
        return awaited


class Struck(NamedTuple):
    """One run: what became of the caller and of the others."""

    caller: asyncio.Task[None]
    others: list[asyncio.Task[None]]


class Series:
    """One scene under one kind of blow, from its first moment to its last."""

    def __init__(
        self, scene: Scene, blow: Blow, probes: list[Probe], is_sound: Callable[[], None]
    ) -> None:
        self._scene = scene
        self._is_sound = is_sound
        self._blow = blow
        self._probes = [*probes, ("tasks", _tasks)]
        self._stray: list[str] = []
        self._runs = 0

    async def run(self) -> int:
        """How many moments the call has. Raises AssertionError for the first that does harm."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._stray.append(str(context)))
        moments = Moments(loop, self._blow)
        await self._healthy("the first")
        usual = await self._at_rest()
        for number in range(1, MOMENTS_MAX):
            # A socket may hand over in one piece what comes in two at another time.
            for _ in range(_TRIES):
                await self._once(number, moments, usual)
                if moments.has_struck:
                    break
            else:
                return number - 1
        raise AssertionError(f"still under way after {MOMENTS_MAX} moments")

    async def _once(self, number: int, moments: Moments, usual: dict[str, int]) -> None:
        self._runs += 1
        about = f"moment {number}, run {self._runs}"
        if self._scene.prepare is not None:
            await self._scene.prepare(about)
        with moments.until(number):
            struck = await self._strike(about, moments)
        self._judge(struck, moments, about)
        await self._healthy(about)
        await self._back_at(usual, about)
        self._is_sound()
        del struck
        moments.made.clear()
        gc.collect()
        assert not self._stray, f"{about}: {self._stray}"

    async def _strike(self, about: str, moments: Moments) -> Struck:
        loop, scene = asyncio.get_running_loop(), self._scene
        others = [loop.create_task(ask(about)) for ask in scene.ahead]
        caller = loop.create_task(scene.ask(about))
        moments.caller(caller)
        others += [loop.create_task(ask(about)) for ask in scene.behind]
        patience_s = _STALL_S if scene.healthy is not None else _CALL_MAX_S
        _, waiting = await asyncio.wait({caller, *others}, timeout=patience_s)
        # One that was to be struck as it wakes may never wake.
        is_due = self._blow.is_late or not moments.has_struck
        if waiting and scene.healthy is not None and is_due:
            caller.cancel()
            moments.was_due = True
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=_CALL_MAX_S)
        assert not waiting, f"{about}: it never ends: {waiting}"
        return Struck(caller, others)

    def _judge(self, struck: Struck, moments: Moments, about: str) -> None:
        """One outcome each: nobody who was spared may notice, and who was cancelled says so."""
        is_blameless = self._blow.spares_others or not moments.has_struck
        for task in struck.others if is_blameless else []:
            assert _outcome(task) is None, f"{about}: {_outcome(task)!r}"
        outcome = _outcome(struck.caller)
        if is_blameless:
            owed = asyncio.CancelledError if moments.was_due else type(None)
            assert isinstance(outcome, owed), f"{about}: {outcome!r} instead of {owed.__name__}"
            return
        honest = (*self._scene.honest, asyncio.CancelledError, type(None))
        for task in (struck.caller, *struck.others):
            assert isinstance(_outcome(task), honest), f"{about}: {_outcome(task)!r}"

    async def _healthy(self, about: str) -> None:
        """The same question and another one get their answers."""
        ask = self._scene.healthy or self._scene.ask
        await ask(about)
        await ask(f"other than {about}")

    async def _at_rest(self) -> dict[str, int]:
        """What the probes say once it stays the same, and no call is under way any more."""
        before: dict[str, int] = {}
        for _ in range(_LOOKS):
            now = self._held()
            if now == before and not any(now.get(name) for name in _OF_CALLS):
                return now
            before = now
            await asyncio.sleep(0.05)
        raise AssertionError(f"it does not come to rest: {before}")

    async def _back_at(self, usual: dict[str, int], about: str) -> None:
        held: dict[str, int] = {}
        for _ in range(_LOOKS):
            held = self._held()
            if held == usual:
                return
            await asyncio.sleep(_LOOK_S)
        raise AssertionError(f"{about}: held {held} instead of {usual}")

    def _held(self) -> dict[str, int]:
        return {name: count() for name, count in self._probes}


def _outcome(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _tasks() -> int:
    return len(asyncio.all_tasks())


def open_descriptors() -> int:
    """How many file descriptors this process has, the one of this question left out."""
    return len(os.listdir("/proc/self/fd")) - 1


def run(work: Callable[[], Awaitable[int]], **loop: Any) -> int:
    """The result of `work` in a loop of its own, where garbage is only what it made itself."""
    gc.freeze()
    try:
        with asyncio.Runner(**loop) as runner:
            return runner.run(_awaited(work))
    finally:
        gc.unfreeze()


async def _awaited(work: Callable[[], Awaitable[int]]) -> int:
    return await work()
