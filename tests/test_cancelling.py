"""The harness that cancels everywhere finds what it is there to find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cancelling import BLOWS, Ask, Blow, Scene, Series, run
from virtualtime import VirtualLoop


class Permits:
    """Something that a call holds."""

    def __init__(self) -> None:
        self.held = 0
        self.stored: list[str] = []

    async def ask(self, about: str) -> None:
        """A call that keeps all promises: three suspensions."""
        self.held += 1
        try:
            for _ in range(3):
                await asyncio.sleep(0.1)
        finally:
            self.held -= 1

    async def leak(self, about: str) -> None:
        await asyncio.sleep(0.1)
        self.held += 1
        await asyncio.sleep(0.1)
        self.held -= 1

    async def shrug(self, about: str) -> None:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)

    async def leave_behind(self, about: str) -> None:
        task = asyncio.ensure_future(asyncio.sleep(3600))
        await asyncio.sleep(0.1)
        task.cancel()

    async def forget(self, about: str) -> None:
        task = asyncio.ensure_future(_fail())
        await asyncio.sleep(0.1)
        with pytest.raises(ValueError, match="nobody"):
            await task

    async def store_half(self, about: str) -> None:
        self.stored.append("half")
        await asyncio.sleep(0.1)
        self.stored[-1] = "whole"

    def is_sound(self) -> None:
        assert "half" not in self.stored


async def _fail() -> None:
    raise ValueError("nobody asks for this")


def play(stage: Callable[[Permits], Scene], blow: Blow = BLOWS["the caller"]) -> int:
    permits = Permits()
    probes = [("permits", lambda: permits.held)]

    async def scene() -> int:
        return await Series(stage(permits), blow, probes, permits.is_sound).run()

    return run(scene, loop_factory=VirtualLoop)


@pytest.mark.parametrize("blow", BLOWS.values(), ids=BLOWS)
def test_every_suspension_of_a_call_is_a_moment(blow: Blow) -> None:
    assert play(lambda permits: Scene(permits.ask), blow) == 3


def test_a_suspension_and_the_end_of_any_other_task_is_a_moment_for_the_caller() -> None:
    moments = play(lambda permits: Scene(permits.ask, ahead=(permits.ask,)))
    # The other ends before the caller wakes for the last time.
    assert moments == 3 + 3 + 1


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (Permits.leak, "moment 2, run 2: held {'permits': 1, 'tasks': 1} instead of"),
        (Permits.shrug, "moment 1, run 1: None instead of CancelledError"),
        (Permits.leave_behind, "moment 1, run 1: held {'permits': 0, 'tasks': 2} instead of"),
        (Permits.forget, "moment 1, run 1: .*never retrieved"),
        (Permits.store_half, "half"),
    ],
)
def test_harm_is_found_and_its_moment_named(ask: Any, said: str) -> None:
    def stage(permits: Permits) -> Scene:
        return Scene(ask.__get__(permits))

    with pytest.raises(AssertionError, match=said):
        play(stage)


def test_whoever_is_spared_may_not_notice() -> None:
    shared: dict[str, asyncio.Task[None]] = {}

    def stage(permits: Permits) -> Scene:
        async def ask(about: str) -> None:
            if about not in shared or shared[about].done():
                shared[about] = asyncio.ensure_future(permits.ask(about))
            await shared[about]  # not shielded: who is cancelled takes the others along

        return Scene(ask, behind=(ask,))

    with pytest.raises(AssertionError, match="moment 1, run 1: CancelledError"):
        play(stage)


def test_a_call_that_never_ends_is_found() -> None:
    def stage(permits: Permits) -> Scene:
        waiting: list[asyncio.Future[None]] = []

        async def ask(about: str) -> None:
            if about.endswith("the first") or not about.startswith("moment"):
                return
            waiting.append(asyncio.get_running_loop().create_future())
            await asyncio.sleep(0.1)
            await waiting[-1]

        return Scene(ask, behind=(ask,))

    with pytest.raises(AssertionError, match="never ends"):
        play(stage)


def test_an_error_stands_in_for_what_a_task_slept_for() -> None:
    heard: list[str] = []

    def stage(permits: Permits) -> Scene:
        async def ask(about: str) -> None:
            try:
                await permits.ask(about)
            except ConnectionResetError as error:
                heard.append(f"{about}: {error.strerror}")
                raise

        return Scene(ask)

    assert play(stage, BLOWS["any task by an error"]) == 3
    assert heard == [f"moment {number}, run {number}: struck" for number in (1, 2, 3)]


def test_what_is_not_honest_is_found() -> None:
    def stage(permits: Permits) -> Scene:
        ask: Ask = permits.ask
        return Scene(ask, honest=(KeyError,))

    with pytest.raises(AssertionError, match="moment 1, run 1: ConnectionResetError"):
        play(stage, BLOWS["any task by an error"])
