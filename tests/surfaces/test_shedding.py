"""The door of the gateway: who is let in while it is overloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from virtualtime import VirtualLoop

from headgate.core.concurrency import ShedSettings
from headgate.errors import QueueFull
from headgate.surfaces.shedding import TICK_S, Door, resident_bytes


def a_door(settings: ShedSettings | None = None, memory_bytes: int = 0) -> Door:
    return Door(settings or ShedSettings(), lambda: 0.5, lambda: memory_bytes)


def test_calls_are_let_in_up_to_a_number_and_again_when_one_has_left() -> None:
    door = a_door(ShedSettings(calls_max=2))
    door.enter()
    door.enter()
    with pytest.raises(QueueFull, match="too many calls") as caught:
        door.enter()
    assert caught.value.retry_after_s == 2.0
    assert (door.inside, door.shed) == (2, 1)
    door.leave()
    door.enter()
    assert door.inside == 2


class Lagging(VirtualLoop):
    """A loop in virtual time in which a step may take long, as if it computed something."""

    def step(self, took_s: float) -> None:
        self._jumping.passed_s += took_s


@pytest.fixture
def loop() -> Iterator[Lagging]:
    loop = Lagging()
    yield loop
    loop.close()


async def after(loop: Lagging, took_s: float) -> None:
    """A step that takes long, and the timers that have become due meanwhile."""
    loop.step(took_s)
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_loop_that_keeps_up_lets_everybody_in(loop: Lagging) -> None:
    async def scene() -> None:
        door = a_door()
        door.watch()
        for _ in range(20):
            await asyncio.sleep(0.01)
            door.enter()
        assert door.lag_s == pytest.approx(0.0, abs=1e-6)
        door.close()

    loop.run_until_complete(scene())


def test_one_long_step_sheds_nothing_and_the_second_does_until_the_loop_keeps_up(
    loop: Lagging,
) -> None:
    async def scene() -> None:
        door = a_door()
        door.watch()
        await after(loop, 0.5)
        assert door.lag_s == 0.0
        door.enter()
        await after(loop, 0.5)
        assert door.lag_s == pytest.approx(0.45)
        with pytest.raises(QueueFull, match="runs late"):
            door.enter()
        await asyncio.sleep(2 * TICK_S)
        door.enter()
        assert (door.inside, door.shed) == (2, 1)
        door.close()

    loop.run_until_complete(scene())


def test_too_much_memory_sheds_and_is_looked_at_only_where_it_is_limited(loop: Lagging) -> None:
    async def scene() -> None:
        limited = a_door(ShedSettings(memory_max_bytes=1_000), memory_bytes=1_001)
        free = a_door(memory_bytes=10**15)
        for door in (limited, free):
            door.watch()
        with pytest.raises(QueueFull, match="memory"):
            limited.enter()
        free.enter()
        for door in (limited, free):
            door.close()
            door.close()

    loop.run_until_complete(scene())


def test_a_closed_door_leaves_no_timer_behind(loop: Lagging) -> None:
    async def scene() -> None:
        door = a_door()
        door.watch()
        door.close()

    loop.run_until_complete(scene())
    with pytest.raises(RuntimeError, match="everybody waits"):
        loop.run_until_complete(asyncio.Event().wait())


def test_resident_memory_is_that_of_this_process() -> None:
    before = resident_bytes()
    assert 5_000_000 < before < 10**11
    block = bytearray(b"x" * 50_000_000)
    assert resident_bytes() > before + 30_000_000
    del block
