"""The public test kit as users meet it: the clock and the model. The provider has a file of its
own, test_testing_provider.py.
"""

from __future__ import annotations

import asyncio
import doctest
from concurrent.futures import ThreadPoolExecutor

import pytest

from headgate import testing
from headgate.clock import Clock
from headgate.testing import FakeClock, FakeModel


def test_every_example_of_the_kit_runs() -> None:
    failed, tried = doctest.testmod(testing)
    assert (failed, tried > 10) == (0, True)


def test_the_kit_exports_what_it_documents() -> None:
    assert all(getattr(testing, name).__doc__ for name in testing.__all__ if name != "Step")


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock: Clock = FakeClock(wall_s=5000.0)
    before = clock.monotonic()
    assert [clock.monotonic() for _ in range(3)] == [before] * 3
    assert (clock.wall(), clock.epoch()) == (5000.0, 5000.0)


def test_advance_moves_every_clock() -> None:
    clock = FakeClock(wall_s=5000.0)
    before = clock.monotonic()
    clock.advance(90)
    clock.advance(0.5)
    assert clock.monotonic() - before == 90.5
    assert (clock.wall(), clock.epoch()) == (5090.5, 5090.5)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_a_jump_moves_the_wall_clock_alone(seconds: float) -> None:
    clock = FakeClock(wall_s=5000.0)
    before = clock.monotonic()
    clock.jump_wall(seconds)
    assert clock.wall() == 5000.0 + seconds
    assert (clock.monotonic(), clock.epoch()) == (before, 5000.0)
    clock.advance(1)
    assert (clock.wall(), clock.epoch()) == (5001.0 + seconds, 5001.0)


def test_time_does_not_pass_backwards() -> None:
    with pytest.raises(ValueError, match="jump_wall"):
        FakeClock().advance(-1)


def test_the_clock_does_not_start_at_zero() -> None:
    assert FakeClock().monotonic() > 0
    assert FakeClock().wall() == 1_767_225_600


def test_equal_seeds_throw_equal_dice() -> None:
    one, two, other = FakeClock(seed=7), FakeClock(seed=7), FakeClock(seed=8)
    thrown = [one.random() for _ in range(100)]
    assert thrown == [two.random() for _ in range(100)]
    assert thrown != [other.random() for _ in range(100)]
    assert all(0 <= number < 1 for number in thrown)


def test_threads_lose_no_step() -> None:
    clock = FakeClock(wall_s=0.0)
    with ThreadPoolExecutor(8) as threads:
        for _ in range(2000):
            threads.submit(clock.advance, 1)
    assert (clock.wall(), clock.epoch()) == (2000.0, 2000.0)


def test_the_model_answers_with_its_script_then_with_its_reply() -> None:
    model = FakeModel(reply={"text": "usual"})
    model.script("first", ValueError("second"))
    model.script(TimeoutError)
    assert model.call() == "first"
    with pytest.raises(ValueError, match="second"):
        model.call()
    with pytest.raises(TimeoutError):
        asyncio.run(model.acall())
    assert [model.call(), asyncio.run(model.acall())] == [{"text": "usual"}] * 2


def test_the_model_notes_every_call_and_its_arguments() -> None:
    model = FakeModel()
    model.script(KeyError("failed calls too"))
    with pytest.raises(KeyError):
        model.call("prompt", temperature=0)
    asyncio.run(model.acall("other"))
    assert [(call.args, call.kwargs) for call in model.calls] == [
        (("prompt",), {"temperature": 0}), (("other",), {}),
    ]  # fmt: skip
    assert model.count == 2


def test_a_scripted_none_is_an_answer() -> None:
    model = FakeModel()
    model.script(None)
    assert model.call() is None


def test_held_calls_begin_and_return_on_release() -> None:
    model = FakeModel("said")
    model.hold()
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(model.call, number) for number in range(3)]
        assert len(model.wait_for_calls(3)) == 3
        assert not any(answer.done() for answer in asked)
        model.release()
        assert [answer.result() for answer in asked] == ["said"] * 3
    assert model.call() == "said"


def test_many_held_tasks_leave_the_loops_threads_free() -> None:
    model = FakeModel("said")
    model.hold()

    async def ask() -> list[str]:
        asked = [asyncio.ensure_future(model.acall(number)) for number in range(200)]
        try:
            async with asyncio.timeout(60):
                await asyncio.to_thread(model.wait_for_calls, 200)
            assert not any(answer.done() for answer in asked)
        finally:
            model.release()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask()) == ["said"] * 200


def test_a_held_task_can_be_cancelled() -> None:
    model = FakeModel("said")

    async def leave() -> None:
        asked = asyncio.ensure_future(model.acall())
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    model.hold()
    asyncio.run(leave())
    model.release()
    assert model.call() == "said"


def test_waiting_in_vain_says_how_many_calls_there_were() -> None:
    model = FakeModel()
    model.call()
    with pytest.raises(TimeoutError, match=r"1 of 2 calls in 0\.01 s"):
        model.wait_for_calls(2, timeout_s=0.01)
