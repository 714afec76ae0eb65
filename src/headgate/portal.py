"""The bridge between callers and the one event loop in which a runtime's stack runs.

A miss from any thread or any event loop enters the stack here; the callable itself runs back where
its caller lives, so thread-locals, context variables and loop-bound clients keep working. A hit
never comes this way.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from headgate.errors import Closed, StreamBroken
from headgate.stream import Value
from headgate.types import Call, Reply, Service

T = TypeVar("T")
Work = Callable[[], Any]
# What asyncio puts new exceptions in place of, without their traceback, on the way between a task
# and a thread (asyncio.futures._convert_future_exc).
_REPLACED = (TimeoutError, CancelledError, InvalidStateError)


class Raised:
    """An exception on its way to the caller as a value, so that it arrives as it is."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Portal:
    """Owner of the home loop: a daemon thread started at the first miss, or a loop adopted from a
    server that runs anyway. After a fork the child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process_id = os.getpid()
        self._closed = False

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Makes the running `loop` of a server the home loop; only before the first miss."""
        with self._lock:
            if self._loop is not None and self._loop is not loop:
                raise RuntimeError("this runtime already has a home loop; use one per server")
            self._loop = loop

    def submit(self, service: Service, call: Call) -> Future[Reply | Raised]:
        """Puts `call` through `service` on the home loop, from any thread. Raises Closed."""
        return self.spawn(lambda: _enter(service, call))

    def spawn(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Runs the coroutine that `work` makes on the home loop, from any thread. Raises Closed.

        Under the lock that `close` takes: what is handed over later would find no loop, or one that
        has ended all it knew of, and its caller would wait for ever.
        """
        with self._lock:
            home = self._home()
            entering = work()
            try:
                return asyncio.run_coroutine_threadsafe(entering, home)
            except RuntimeError:
                entering.close()
                raise Closed("the server whose event loop this runtime used has ended") from None

    async def wait(self, answer: Future[T] | asyncio.Future[T]) -> T:
        """The answer to a submitted call, awaited in any event loop, where it may be wrapped.

        Raises Closed where the runtime was closed meanwhile: CancelledError would look as if the
        caller were cancelled.
        """
        try:
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                raise Closed("the runtime was closed during this call") from None
            raise

    @property
    def is_closed(self) -> bool:
        return self._closed

    def is_home(self) -> bool:
        """Whether the calling code runs on the home loop."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _home(self) -> asyncio.AbstractEventLoop:
        """Holds `_lock`."""
        if self._closed:
            raise Closed("the runtime is closed")
        if self._loop is not None and self._process_id == os.getpid():
            return self._loop
        self._process_id = os.getpid()
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run_loop, args=(loop,), name="headgate", daemon=True
        )
        self._thread.start()
        return loop

    def close(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Runs `last`, cancels what still runs and ends the thread; an adopted loop is left alone.

        Later submits raise Closed. May be called twice.
        """
        with self._lock:
            self._closed = True
            loop, thread, self._thread = self._loop, self._thread, None
        if loop is None or thread is None or self._process_id != os.getpid():
            if last is not None:
                last.close()
            return
        if last is not None:
            asyncio.run_coroutine_threadsafe(last, loop).result()
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        running = asyncio.all_tasks(loop)
        for task in running:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _enter(service: Service, call: Call) -> Reply | Raised:
    try:
        return await service(call)
    except _REPLACED as error:
        return Raised(error)


class CallerThread:
    """A thread that waits for its answer, lent meanwhile to run the callable it brought along."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._raised: BaseException | None = None
        self._left = False

    def run(self, work: Work) -> Awaitable[Any]:
        """Called on the home loop: resolves to the result of `work`, run in the caller's thread.

        Cancelled if that thread has left: those who joined its call ask anew.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._work.put(lambda: self._perform(work, loop, done))
        if self._left:
            done.cancel()
        return done

    def _perform(
        self, work: Work, loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]
    ) -> None:
        if self._left:
            _tell(loop, done.cancel)
            return
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it raises is its caller's
            if isinstance(error, StopIteration):
                self._raised = error  # no future carries it
            _tell(loop, _settle, done, None, error)
        except BaseException as error:  # noqa: BLE001
            # KeyboardInterrupt and the like belong to this thread alone; in the home loop they
            # would end everybody's calls.
            self._raised = error
            broken = StreamBroken(f"the caller that asked was interrupted by {error!r}")
            _tell(loop, _settle, done, None, broken)
        else:
            _tell(loop, _settle, done, result, None)

    def wait(self, answer: Future[T]) -> T:
        """Runs work as it comes until `answer` is there, and returns it.

        An interrupt while waiting cancels the call.
        """
        finished = False
        try:
            answer.add_done_callback(lambda _: self._work.put(None))
            while (work := self._work.get()) is not None:
                work()
            finished = True
        finally:
            if not finished:
                self._leave()
                answer.cancel()
        if self._raised is not None:
            raise self._raised
        try:
            return answer.result()
        except CancelledError:
            raise Closed("the runtime was closed during this call") from None

    def _leave(self) -> None:
        """Cancels work that nobody will do: `run` looks at the mark after it has put some."""
        self._left = True
        while not self._work.empty():
            work = self._work.get()
            if work is not None:
                work()


class CallerLoop:
    """The event loop of an asynchronous caller, in which its callable runs with its context."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()

    async def run(self, work: Work) -> Any:
        """Called on the home loop: the result of awaiting `work()` in the caller's loop."""
        home = asyncio.get_running_loop()
        if home is self._loop:
            return await home.create_task(_await(work), context=self._context)
        done: asyncio.Future[Any] = home.create_future()
        tasks: list[asyncio.Task[Any]] = []

        def finish(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                _tell(home, done.cancel)
            else:
                error = task.exception()
                result = None if error else task.result()
                _tell(home, _settle, done, result, error)

        def start() -> None:
            task = self._loop.create_task(_await(work), context=self._context)
            tasks.append(task)
            task.add_done_callback(finish)

        if not _tell(self._loop, start):
            raise asyncio.CancelledError  # who joined this call asks anew, in a loop that lives
        try:
            return await done
        finally:
            if not done.done() or done.cancelled():
                _tell(self._loop, lambda: [task.cancel() for task in tasks])


async def _await(work: Work) -> Any:
    result = work()
    return await result if isinstance(result, Awaitable) else result


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *args: Any) -> bool:
    """Has `loop` call `function`; False if it is closed, and then nobody there waits any more."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    elif isinstance(error, StopIteration):
        # A future cannot carry StopIteration (it would end the awaiting generator instead).
        done.set_exception(RuntimeError(f"the callable raised {error!r}"))
    else:
        done.set_exception(error)


def result_of(reply: Reply | Raised) -> Any:
    """What a callable's caller gets: its own object if it was its call, else a copy that nobody
    else holds. Raises what the callable raised."""
    if isinstance(reply, Raised):
        raise reply.error
    body = cast(Value, reply.body)
    provenance = reply.provenance
    return body.copy() if provenance.hit or provenance.collapsed else body.original
