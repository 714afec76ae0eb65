"""Many calls at once: how many are under way, whose answer stands where, and how a batch ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.batching import BatchProgress, bounded
from headgate.config import Config
from headgate.errors import Closed
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.testing import FakeClock, FakeModel


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as runtime:
        yield runtime


class Crowd:
    """An async callable that yields a few times, and knows how many of it were under way."""

    def __init__(self) -> None:
        self.most = self.now = self.count = 0

    async def ask(self, prompt: Any) -> str:
        self.count += 1
        self.now += 1
        self.most = max(self.most, self.now)
        # The later ones end first.
        for _ in range(20 - self.count % 20):
            await asyncio.sleep(0)
        self.now -= 1
        return f"answer to {prompt}"


async def failing_at_two(prompt: int) -> int:
    await asyncio.sleep(0)
    if prompt == 2:
        raise ValueError("two is not for us")
    return prompt * 10


def test_answers_stand_in_the_order_of_their_prompts_whoever_ends_first(runtime: Runtime) -> None:
    crowd = Crowd()
    prompts = [f"p{at}" for at in range(50)]
    answers = asyncio.run(runtime.batch_execute(prompts, "m", crowd.ask))
    assert answers == [f"answer to {prompt}" for prompt in prompts]


@pytest.mark.parametrize("concurrency", [1, 3, 16, 1000])
def test_so_many_are_under_way_and_no_more(runtime: Runtime, concurrency: int) -> None:
    crowd = Crowd()
    batch = runtime.batch_execute(range(40), "m", crowd.ask, concurrency=concurrency)
    assert len(asyncio.run(batch)) == 40
    assert 1 <= crowd.most <= concurrency


def test_sixteen_are_under_way_if_nobody_says_how_many() -> None:
    async def held() -> None:
        with Runtime() as runtime:
            model = FakeModel()
            model.hold()
            batch = asyncio.create_task(runtime.batch_execute(range(40), "m", model.acall))
            await asyncio.to_thread(model.wait_for_calls, 16)
            assert model.count == 16
            model.release()
            await batch
            assert model.count == 40

    asyncio.run(held())


def test_a_prompt_that_fails_has_its_exception_where_its_answer_would_stand(
    runtime: Runtime,
) -> None:
    answers = asyncio.run(runtime.batch_execute([1, 2, 3], "m", failing_at_two))
    assert answers[0::2] == [10, 30]
    assert isinstance(answers[1], ValueError)
    assert str(answers[1]) == "two is not for us"
    assert runtime.stats()["metrics"]["errors"] == {"m:ValueError": 1}


def test_what_is_stored_is_not_asked_again_and_equal_prompts_are_asked_once(
    runtime: Runtime,
) -> None:
    model = FakeModel("yes")
    runtime.cached_llm_call("known", "m", {"temperature": 0}, lambda: "known before")
    prompts = ["known", "a", "b", "a", "a", "b", "known"]
    batch = runtime.batch_execute(prompts, "m", model.acall, {"temperature": 0})
    answers = asyncio.run(batch)
    assert answers == ["known before", "yes", "yes", "yes", "yes", "yes", "known before"]
    assert sorted(call.args[0] for call in model.calls) == ["a", "b"]


def test_other_parameters_and_namespaces_are_other_questions(runtime: Runtime) -> None:
    model = FakeModel("yes")
    for params, namespace in (({"n": 1}, ""), ({"n": 2}, ""), ({"n": 1}, "other")):
        batch = runtime.batch_execute(["p"], "m", model.acall, params, namespace=namespace)
        assert asyncio.run(batch) == ["yes"]
    assert model.count == 3
    assert runtime.clear(namespace="other") == 1


def test_a_shorter_time_to_live_is_taken() -> None:
    clock, model = FakeClock(), FakeModel("yes")
    with Runtime(clock=clock) as runtime:
        for _ in range(2):
            asyncio.run(runtime.batch_execute(["p"], "m", model.acall, ttl=5.0))
        assert model.count == 1
        clock.advance(6.0)
        asyncio.run(runtime.batch_execute(["p"], "m", model.acall, ttl=5.0))
    assert model.count == 2


def test_progress_is_told_after_each_prompt(runtime: Runtime) -> None:
    told: list[BatchProgress] = []
    batch = runtime.batch_execute(
        [1, 2, 3], "m", failing_at_two, concurrency=1, progress=told.append
    )
    asyncio.run(batch)
    assert told == [BatchProgress(1, 0, 3), BatchProgress(2, 1, 3), BatchProgress(3, 1, 3)]


def test_a_progress_callback_that_raises_ends_the_batch(runtime: Runtime) -> None:
    crowd = Crowd()

    def enough(progress: BatchProgress) -> None:
        if progress.done == 3:
            raise KeyError("enough")

    batch = runtime.batch_execute(range(100), "m", crowd.ask, concurrency=2, progress=enough)
    with pytest.raises(KeyError, match="enough"):
        asyncio.run(batch)
    assert crowd.count <= 5


def test_the_first_error_ends_the_batch_where_that_is_wanted(runtime: Runtime) -> None:
    asked: list[int] = []

    async def ask(prompt: int) -> int:
        asked.append(prompt)
        return await failing_at_two(prompt)

    batch = runtime.batch_execute(range(100), "m", ask, concurrency=1, return_exceptions=False)
    with pytest.raises(ValueError, match="two is not for us"):
        asyncio.run(batch)
    assert asked == [0, 1, 2]


def test_a_call_that_cancels_itself_is_one_that_failed(runtime: Runtime) -> None:
    async def ask(prompt: int) -> int:
        if prompt == 1:
            raise asyncio.CancelledError
        return prompt

    answers = asyncio.run(runtime.batch_execute([0, 1, 2], "m", ask, concurrency=1))
    assert answers[0::2] == [0, 2]
    assert isinstance(answers[1], asyncio.CancelledError)


def test_a_batch_that_is_cancelled_leaves_nothing_under_way(runtime: Runtime) -> None:
    async def cancelled() -> int:
        model, ended = FakeModel(), 0
        model.hold()

        async def ask(prompt: int) -> Any:
            nonlocal ended
            try:
                return await model.acall(prompt)
            finally:
                ended += 1

        batch = asyncio.create_task(runtime.batch_execute(range(9), "m", ask, concurrency=4))
        await asyncio.to_thread(model.wait_for_calls, 4)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        async with asyncio.timeout(10):
            while ended < 4:
                await asyncio.sleep(0.01)
        assert model.count == 4
        return len(asyncio.all_tasks())

    assert asyncio.run(cancelled()) == 1
    # What was not answered is asked the next time.
    again = FakeModel("yes")
    assert asyncio.run(runtime.batch_execute(range(4), "m", again.acall)) == ["yes"] * 4
    assert again.count == 4


def test_after_close_each_prompt_says_so() -> None:
    runtime = Runtime()
    runtime.close()
    answers = asyncio.run(runtime.batch_execute(["a", "b"], "m", FakeModel().acall))
    assert [type(answer) for answer in answers] == [Closed, Closed]


def test_without_a_cache_every_prompt_is_asked() -> None:
    model = FakeModel("yes")
    with Runtime(Config(cache=CacheConfig(enabled=False))) as runtime:
        batch = runtime.batch_execute(["a", "a"], "m", model.acall, concurrency=1)
        assert asyncio.run(batch) == ["yes", "yes"]
    assert model.count == 2


def test_no_prompts_have_no_answers(runtime: Runtime) -> None:
    assert asyncio.run(runtime.batch_execute([], "m", FakeModel().acall)) == []


@pytest.mark.parametrize("concurrency", [0, -1])
def test_nobody_at_a_time_is_no_number(runtime: Runtime, concurrency: int) -> None:
    batch = runtime.batch_execute(["a"], "m", FakeModel().acall, concurrency=concurrency)
    with pytest.raises(ValueError, match=f"at least 1, not {concurrency}"):
        asyncio.run(batch)


def test_two_loops_run_batches_of_one_runtime(runtime: Runtime) -> None:
    async def both() -> list[Any]:
        run = lambda: asyncio.run(runtime.batch_execute(range(30), "m", Crowd().ask))  # noqa: E731
        return await asyncio.gather(asyncio.to_thread(run), asyncio.to_thread(run))

    first, second = asyncio.run(both())
    assert first == second == [f"answer to {at}" for at in range(30)]


def test_what_is_awaited_need_not_be_a_coroutine() -> None:
    async def ask() -> list[Any]:
        loop = asyncio.get_running_loop()
        return await bounded([1, 2], lambda item: loop.run_in_executor(None, abs, -item), 2)

    assert asyncio.run(ask()) == [1, 2]
