"""Identical calls that are under way at the same time, through the whole runtime: threads, tasks,
event loops, and callers who leave.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from headgate.errors import Closed, StreamBroken
from headgate.runtime import Runtime
from headgate.testing import FakeModel

LONG_S = 60


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as runtime:
        yield runtime


class Asking(threading.Thread):
    """A thread that asks once; `outcome` is what came back, raised or not."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._ask()
        except BaseException as error:  # noqa: BLE001 - the tests look at it
            self.outcome = error

    def ended(self) -> Any:
        self.join(LONG_S)
        assert not self.is_alive(), "still waiting"
        return self.outcome


async def settle() -> None:
    """Lets every task that can run now run: enough rounds for a task to start and submit."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_many_identical_tasks_are_one_call(runtime: Runtime) -> None:
    count = 10_000
    model = FakeModel(reply={"text": "Paris"})

    async def ask() -> list[Any]:
        calls = (runtime.acached_llm_call("p", "m", {}, model.acall) for _ in range(count))
        return await asyncio.gather(*calls)

    answers = asyncio.run(ask())
    assert model.count == 1
    assert answers == [{"text": "Paris"}] * count
    assert len({id(answer) for answer in answers}) == count
    metrics = runtime.stats()["metrics"]
    assert (metrics["total_calls"], metrics["cache_misses"]) == (count, count)


def test_threads_and_tasks_of_several_loops_join_one_another(runtime: Runtime) -> None:
    model = FakeModel(reply="Paris")
    model.hold()
    leader = Asking(lambda: runtime.cached_llm_call("p", "m", {}, model.call))
    model.wait_for_calls(1)
    on_their_way = threading.Semaphore(0)

    def sync() -> Any:
        on_their_way.release()
        return runtime.cached_llm_call("p", "m", {}, model.call)

    async def several() -> list[Any]:
        calls = [
            asyncio.ensure_future(runtime.acached_llm_call("p", "m", {}, model.acall))
            for _ in range(10)
        ]
        await settle()
        on_their_way.release()
        return await asyncio.gather(*calls)

    followers = [Asking(sync) for _ in range(4)]
    followers += [Asking(lambda: asyncio.run(several())) for _ in range(3)]
    for _ in followers:
        assert on_their_way.acquire(timeout=LONG_S)
    model.release()
    assert leader.ended() == "Paris"
    assert [asked.ended() for asked in followers] == ["Paris"] * 4 + [["Paris"] * 10] * 3
    assert model.count == 1
    assert runtime.stats()["metrics"]["total_calls"] == 35


def test_a_caller_who_leaves_takes_only_itself_away(runtime: Runtime) -> None:
    model = FakeModel(reply="Paris")
    model.hold()

    async def ask() -> Any:
        return await runtime.acached_llm_call("p", "m", {}, model.acall)

    async def scene() -> list[Any]:
        leader = asyncio.ensure_future(ask())
        await asyncio.to_thread(model.wait_for_calls, 1)
        followers = [asyncio.ensure_future(ask()) for _ in range(3)]
        await settle()
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        model.release()
        return await asyncio.gather(*followers)

    assert asyncio.run(scene()) == ["Paris"] * 3
    assert model.count == 1
    assert runtime.cached_llm_call("p", "m", {}, model.call) == "Paris"
    assert model.count == 1


def test_the_callable_is_cancelled_when_its_last_caller_leaves(runtime: Runtime) -> None:
    ends: list[str] = []

    async def scene() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def call_func() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
            finally:
                ended.set()

        def ask() -> asyncio.Task[Any]:
            return asyncio.ensure_future(runtime.acached_llm_call("p", "m", {}, call_func))

        callers = [ask()]
        await begun.wait()
        callers += [ask() for _ in range(3)]
        await settle()
        for caller in callers:
            assert ends == []
            caller.cancel()
            await settle()
        await ended.wait()
        assert all(isinstance(end, asyncio.CancelledError)
                   for end in await asyncio.gather(*callers, return_exceptions=True))  # fmt: skip

    asyncio.run(asyncio.wait_for(scene(), LONG_S))
    assert ends == ["cancelled"]
    metrics = runtime.stats()["metrics"]
    assert (metrics["total_errors"], runtime.stats()["cache"]["size"]) == (0, 0)
    assert asyncio.run(runtime.acached_llm_call("p", "m", {}, FakeModel("now").acall)) == "now"


def test_an_exception_reaches_everyone_who_joined_and_is_not_kept(runtime: Runtime) -> None:
    error = ConnectionResetError("gone")
    model = FakeModel(reply="Paris")
    model.script(error)
    model.hold()

    async def ask() -> Any:
        return await runtime.acached_llm_call("p", "m", {}, model.acall)

    async def scene() -> list[Any]:
        callers = [asyncio.ensure_future(ask()) for _ in range(5)]
        await settle()
        await asyncio.to_thread(model.wait_for_calls, 1)
        model.release()
        return await asyncio.gather(*callers, return_exceptions=True)

    assert asyncio.run(scene()) == [error] * 5
    assert model.count == 1
    metrics = runtime.stats()["metrics"]
    assert (metrics["total_calls"], metrics["total_errors"]) == (5, 5)
    assert asyncio.run(ask()) == "Paris"


def test_an_interrupt_belongs_to_the_thread_whose_callable_raised_it(runtime: Runtime) -> None:
    model = FakeModel(reply="Paris")
    model.script(KeyboardInterrupt())
    model.hold()
    leader = Asking(lambda: runtime.cached_llm_call("p", "m", {}, model.call))
    model.wait_for_calls(1)

    async def follow() -> Any:
        joined = asyncio.ensure_future(runtime.acached_llm_call("p", "m", {}, model.acall))
        await settle()
        model.release()
        return await joined

    with pytest.raises(StreamBroken, match="KeyboardInterrupt"):
        asyncio.run(follow())
    assert isinstance(leader.ended(), KeyboardInterrupt)
    assert runtime.cached_llm_call("p", "m", {}, model.call) == "Paris"


@pytest.mark.parametrize("ending", [SystemExit(3), GeneratorExit()], ids=repr)
def test_what_ends_a_program_is_raised_where_it_happened(
    runtime: Runtime, ending: BaseException
) -> None:
    model = FakeModel(reply="Paris")
    model.script(ending)
    with pytest.raises(type(ending)) as raised:
        runtime.cached_llm_call("p", "m", {}, model.call)
    assert raised.value is ending
    assert runtime.cached_llm_call("p", "m", {}, model.call) == "Paris"


def test_nobody_shares_a_result_that_refuses_to_be_copied(runtime: Runtime) -> None:
    made: list[Any] = []

    async def scene() -> list[Any]:
        first = asyncio.Event()

        async def call_func() -> Any:
            await first.wait()
            made.append(threading.Lock())
            return made[-1]

        calls = [
            asyncio.ensure_future(runtime.acached_llm_call("p", "m", {}, call_func))
            for _ in range(4)
        ]
        await settle()
        first.set()
        return await asyncio.gather(*calls)

    answers = asyncio.run(scene())
    assert len(made) == 4
    assert {id(answer) for answer in answers} == {id(lock) for lock in made}
    assert runtime.stats()["cache"]["not_stored"] == {"not_copyable": 4}


def test_calls_that_are_not_cacheable_do_not_join(runtime: Runtime) -> None:
    model = FakeModel()

    async def ask() -> None:
        await asyncio.gather(
            *(runtime.acached_llm_call({"a set"}, "m", {}, model.acall) for _ in range(5))
        )

    asyncio.run(ask())
    assert model.count == 5


def test_different_questions_do_not_join(runtime: Runtime) -> None:
    async def answer(word: str) -> str:
        await asyncio.sleep(0)
        return word

    async def ask() -> list[Any]:
        words = ["a", "b", "c"] * 3
        return await asyncio.gather(
            *(runtime.acached_llm_call(w, "m", {}, lambda w=w: answer(w)) for w in words)
        )

    assert asyncio.run(ask()) == ["a", "b", "c"] * 3


def test_two_tasks_may_ask_each_others_question(runtime: Runtime) -> None:
    """Each waits for what the other has in flight: neither may wait for itself."""

    async def scene() -> list[Any]:
        both = asyncio.Barrier(2)

        async def ask(mine: str, other: str) -> str:
            async def call_func() -> str:
                await both.wait()
                return mine + await runtime.acached_llm_call(other, "m", {}, FakeModel("!").acall)

            return await runtime.acached_llm_call(mine, "m", {}, call_func)

        return await asyncio.gather(ask("a", "b"), ask("b", "a"))

    answers = asyncio.run(asyncio.wait_for(scene(), LONG_S))
    assert sorted(answer[0] for answer in answers) == ["a", "b"]


def test_a_sync_call_inside_a_loop_does_not_wait_for_a_task_of_that_loop(runtime: Runtime) -> None:
    async def scene() -> list[Any]:
        begun, go = asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            begun.set()
            await go.wait()
            return "slow"

        task = asyncio.ensure_future(runtime.acached_llm_call("p", "m", {}, slow))
        await begun.wait()
        quick = runtime.cached_llm_call("p", "m", {}, lambda: "quick")
        go.set()
        return [quick, await task]

    assert asyncio.run(asyncio.wait_for(scene(), LONG_S)) == ["quick", "slow"]


def test_a_sync_miss_on_the_home_loop_is_refused(runtime: Runtime) -> None:
    async def scene() -> None:
        runtime.adopt(asyncio.get_running_loop())
        with pytest.raises(RuntimeError, match="acached_llm_call"):
            runtime.cached_llm_call("p", "m", {}, lambda: "never")
        assert await runtime.acached_llm_call("p", "m", {}, FakeModel("fine").acall) == "fine"
        assert runtime.cached_llm_call("p", "m", {}, lambda: "never") == "fine"

    asyncio.run(scene())


def test_on_the_home_loop_too_a_callable_may_ask_its_own_question_again(runtime: Runtime) -> None:
    user: ContextVar[str] = ContextVar("user")

    async def scene() -> str:
        runtime.adopt(asyncio.get_running_loop())
        user.set("ada")

        async def outer() -> str:
            again = await runtime.acached_llm_call("p", "m", {}, FakeModel("inner").acall)
            return f"{user.get()} has the outer and the {again}"

        answer: str = await runtime.acached_llm_call("p", "m", {}, outer)
        return answer

    told = asyncio.run(asyncio.wait_for(scene(), LONG_S))
    assert told == "ada has the outer and the inner"


def test_closing_ends_the_calls_under_way(runtime: Runtime) -> None:
    async def scene() -> None:
        begun = asyncio.Event()

        async def endless() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(runtime.acached_llm_call("p", "m", {}, endless))
        await begun.wait()
        await runtime.aclose()
        with pytest.raises(Closed):
            await task

    asyncio.run(asyncio.wait_for(scene(), LONG_S))


def test_a_sync_call_under_way_ends_with_closed_when_its_callable_returns(runtime: Runtime) -> None:
    model = FakeModel(reply="too late")
    model.hold()
    asking = Asking(lambda: runtime.cached_llm_call("p", "m", {}, model.call))
    model.wait_for_calls(1)
    runtime.close()
    model.release()
    assert isinstance(asking.ended(), Closed)
