"""The portal alone: the home loop, and the two ways in which a callable goes back to its caller."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

import pytest

from headgate.errors import Closed, StreamBroken
from headgate.portal import CallerLoop, CallerThread, Portal, Raised
from headgate.stream import Value
from headgate.types import Call, Invocation, Reply, Target

LONG_S = 60
WHO: ContextVar[str] = ContextVar("who")


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


def a_call(run: Callable[[], Any]) -> Call:
    request = Invocation(run, threading.get_ident(), False)
    return Call("function", "m", request, b"k", b"s", Target("function", "callable"))


async def bottom(call: Call) -> Reply:
    assert isinstance(call.request, Invocation)
    return Reply(200, (), Value.of(await call.request.run()))


def value(reply: Reply | Raised) -> Any:
    assert isinstance(reply, Reply)
    assert isinstance(reply.body, Value)
    return reply.body.original


def at_home(portal: Portal, run: Callable[[], Any]) -> Any:
    """What `run()` gives when the home loop awaits it."""
    return value(portal.submit(bottom, a_call(run)).result(LONG_S))


def test_the_home_loop_is_one_daemon_thread_started_by_the_first_call(portal: Portal) -> None:
    before = set(threading.enumerate())
    assert not portal.is_home()
    threads: list[threading.Thread] = []

    async def where() -> bool:
        threads.append(threading.current_thread())
        return portal.is_home()

    assert [at_home(portal, where) for _ in range(2)] == [True, True]
    assert threads[0] is threads[1]
    assert threads[0].daemon
    # Threads of earlier tests may end meanwhile, and libraries start their own.
    begun = [one for one in set(threading.enumerate()) - before if one.name == threads[0].name]
    assert begun == threads[:1]


def test_an_adopted_loop_is_home_and_is_left_running(portal: Portal) -> None:
    async def scene() -> None:
        portal.adopt(asyncio.get_running_loop())
        portal.adopt(asyncio.get_running_loop())
        assert portal.is_home()

        async def where() -> bool:
            return portal.is_home()

        assert value(await portal.wait(portal.submit(bottom, a_call(where)))) is True
        portal.close()

    asyncio.run(scene())


def test_a_second_home_loop_is_refused(portal: Portal) -> None:
    async def nothing() -> None: ...

    at_home(portal, nothing)

    async def scene() -> None:
        with pytest.raises(RuntimeError, match="already has a home loop"):
            portal.adopt(asyncio.get_running_loop())

    asyncio.run(scene())


def test_a_closed_portal_lets_nobody_in(portal: Portal) -> None:
    async def nothing() -> None: ...

    at_home(portal, nothing)
    portal.close()
    portal.close()
    with pytest.raises(Closed):
        portal.submit(bottom, a_call(nothing))


def test_a_call_that_comes_while_the_portal_closes_still_ends(
    monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    async def nothing() -> None: ...

    at_home(portal, nothing)
    closing = threading.Thread(target=portal.close)
    hand_over = asyncio.run_coroutine_threadsafe
    was_open: list[bool] = []

    def slowly(coroutine: Any, loop: asyncio.AbstractEventLoop) -> Any:
        closing.start()
        if not portal._lock.locked():
            closing.join()
        was_open.append(not loop.is_closed())
        return hand_over(coroutine, loop)

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", slowly)
    answer = portal.submit(bottom, a_call(nothing))
    closing.join(LONG_S)
    assert was_open == [True]
    assert concurrent.futures.wait([answer], LONG_S).done == {answer}


def test_a_call_to_a_loop_that_its_server_has_ended_is_told_so(portal: Portal) -> None:
    async def adopt() -> None:
        portal.adopt(asyncio.get_running_loop())

    async def nothing() -> None: ...

    asyncio.run(adopt())
    with pytest.raises(Closed, match="has ended"):
        portal.submit(bottom, a_call(nothing))


def test_closing_runs_the_last_thing_at_home_and_ends_the_thread(portal: Portal) -> None:
    threads: list[threading.Thread] = []

    async def note() -> None:
        threads.append(threading.current_thread())

    at_home(portal, note)
    portal.close(note())
    assert threads[0] is threads[1]
    assert not threads[0].is_alive()


def test_closing_a_portal_that_never_had_a_call_needs_nothing_run() -> None:
    async def never() -> None:
        raise AssertionError

    Portal().close(never())


def test_closing_cancels_what_still_runs(portal: Portal) -> None:
    begun, ends = threading.Event(), []

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("ended")

    future = portal.submit(bottom, a_call(endless))
    assert begun.wait(LONG_S)
    portal.close()
    assert ends == ["ended"]
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(LONG_S)


REPLACED_BY_ASYNCIO = [TimeoutError("a"), concurrent.futures.CancelledError("b"),
                       concurrent.futures.InvalidStateError("c")]  # fmt: skip


@pytest.mark.parametrize("error", REPLACED_BY_ASYNCIO, ids=lambda error: type(error).__name__)
def test_an_exception_that_asyncio_would_replace_arrives_as_it_is(
    portal: Portal, error: Exception
) -> None:
    async def fail() -> None:
        raise error

    raised = portal.submit(bottom, a_call(fail)).result(LONG_S)
    assert isinstance(raised, Raised)
    assert raised.error is error
    assert raised.error.__traceback__ is not None


def test_a_waiting_thread_runs_what_it_brought_along(portal: Portal) -> None:
    thread = CallerThread()
    future = portal.submit(bottom, a_call(lambda: thread.run(threading.get_ident)))
    assert value(thread.wait(future)) == threading.get_ident()


def test_a_waiting_thread_gets_the_exception_of_its_work(portal: Portal) -> None:
    thread, error = CallerThread(), ValueError("no")

    def fail() -> None:
        raise error

    future = portal.submit(bottom, a_call(lambda: thread.run(fail)))
    with pytest.raises(ValueError, match="no") as raised:
        thread.wait(future)
    assert raised.value is error


def test_a_stop_iteration_of_the_work_does_not_get_lost(portal: Portal) -> None:
    thread = CallerThread()
    nothing: Iterator[int] = iter(())
    future = portal.submit(bottom, a_call(lambda: thread.run(lambda: next(nothing))))
    with pytest.raises(StopIteration):
        thread.wait(future)
    with pytest.raises(RuntimeError, match="StopIteration"):  # what those who joined it get
        future.result(LONG_S)


def test_an_interrupt_in_the_work_is_raised_there_and_broken_off_for_the_rest(
    portal: Portal,
) -> None:
    thread = CallerThread()

    def interrupted() -> None:
        raise KeyboardInterrupt

    future = portal.submit(bottom, a_call(lambda: thread.run(interrupted)))
    with pytest.raises(KeyboardInterrupt):
        thread.wait(future)
    with pytest.raises(StreamBroken, match="KeyboardInterrupt"):
        future.result(LONG_S)


class Interrupting(Future[Any]):
    """Interrupts whoever begins to wait for it."""

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["before", "after"])
def test_work_that_a_thread_left_behind_is_cancelled(portal: Portal, when: str) -> None:
    """Whoever joined that call would wait for ever."""
    thread, given, left = CallerThread(), threading.Event(), threading.Event()

    async def give() -> bool:
        if when == "after":
            await asyncio.to_thread(left.wait, LONG_S)
        work = thread.run(lambda: pytest.fail("nobody is there to do it"))
        given.set()
        done, _ = await asyncio.wait([asyncio.ensure_future(work)], timeout=LONG_S)
        return [future.cancelled() for future in done] == [True]

    future = portal.submit(bottom, a_call(give))
    if when == "before":
        assert given.wait(LONG_S)
    with pytest.raises(KeyboardInterrupt):
        thread.wait(Interrupting())
    left.set()
    assert value(future.result(LONG_S)) is True


def test_an_interrupted_thread_cancels_its_call() -> None:
    future = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        CallerThread().wait(future)
    assert future.cancelled()


def test_a_cancelled_call_tells_its_thread_that_the_runtime_was_closed() -> None:
    future: Future[Any] = Future()
    future.cancel()
    with pytest.raises(Closed):
        CallerThread().wait(future)


def from_a_loop(scene: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(scene(), LONG_S))


def test_an_async_callable_runs_in_its_callers_loop_with_a_copy_of_its_context(
    portal: Portal,
) -> None:
    async def scene() -> None:
        WHO.set("ada")
        mine = asyncio.get_running_loop()

        async def work() -> tuple[bool, str]:
            await asyncio.sleep(0)
            seen = WHO.get()
            WHO.set("changed by the callable")
            return asyncio.get_running_loop() is mine, seen

        caller = CallerLoop()
        future = portal.submit(bottom, a_call(lambda: caller.run(work)))
        assert value(await portal.wait(future)) == (True, "ada")
        assert WHO.get() == "ada"

    from_a_loop(scene)


def test_a_callable_that_returns_at_once_needs_no_await(portal: Portal) -> None:
    async def scene() -> Any:
        caller = CallerLoop()
        return value(
            await portal.wait(portal.submit(bottom, a_call(lambda: caller.run(lambda: 7))))
        )

    assert from_a_loop(scene) == 7


def test_an_async_exception_arrives_as_it_is(portal: Portal) -> None:
    error = TimeoutError("slow")

    async def scene() -> None:
        async def fail() -> None:
            raise error

        caller = CallerLoop()
        raised = await portal.wait(portal.submit(bottom, a_call(lambda: caller.run(fail))))
        assert isinstance(raised, Raised)
        assert raised.error is error

    from_a_loop(scene)


def test_cancelling_at_home_cancels_the_callable_in_its_loop(portal: Portal) -> None:
    async def scene() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def endless() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        caller = CallerLoop()
        future = portal.submit(bottom, a_call(lambda: caller.run(endless)))
        await begun.wait()
        future.cancel()
        await ended.wait()

    from_a_loop(scene)


def test_a_callable_whose_loop_is_gone_counts_as_cancelled(portal: Portal) -> None:
    async def leave() -> CallerLoop:
        return CallerLoop()

    caller = asyncio.run(leave())
    future = portal.submit(bottom, a_call(lambda: caller.run(lambda: 1)))
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(LONG_S)


def test_who_waits_is_told_that_the_portal_was_closed_and_not_that_it_was_cancelled(
    portal: Portal,
) -> None:
    async def scene() -> None:
        cancelled: Future[Any] = Future()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await portal.wait(cancelled)
        portal.close()
        with pytest.raises(Closed):
            await portal.wait(cancelled)

    from_a_loop(scene)


def test_a_caller_cancelled_while_the_portal_is_closed_is_cancelled(portal: Portal) -> None:
    async def scene() -> None:
        portal.close()
        waiting = asyncio.ensure_future(portal.wait(Future()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    from_a_loop(scene)
