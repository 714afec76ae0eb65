"""The pause: a step that a test holds in its hand."""

from __future__ import annotations

import asyncio

import pytest

from headgate.testing import Head, Pause


def test_a_head_without_headers_is_that_of_an_event_stream() -> None:
    assert Head().headers == {"content-type": "text/event-stream"}
    assert Head(headers={}).headers == {}


def test_whoever_reaches_a_pause_waits_until_it_is_released() -> None:
    pause = Pause()

    async def reach() -> list[bool]:
        arrived = [asyncio.ensure_future(pause.wait()) for _ in range(3)]
        await asyncio.to_thread(pause.wait_reached, 3)
        waits = [not one.done() for one in arrived]
        await asyncio.to_thread(pause.release)
        await asyncio.gather(*arrived)
        return waits

    assert asyncio.run(reach()) == [True] * 3


def test_a_released_pause_holds_nobody_and_counts_on() -> None:
    pause = Pause()
    pause.release()
    asyncio.run(pause.wait())
    pause.wait_reached(1)


def test_a_pause_that_nobody_reaches_says_so() -> None:
    with pytest.raises(TimeoutError, match=r"0 of 1 answers reached the pause in 0\.01 s"):
        Pause().wait_reached(timeout_s=0.01)


def test_an_answer_broken_off_at_a_pause_is_forgotten() -> None:
    pause = Pause()

    async def leave() -> None:
        arrived = asyncio.ensure_future(pause.wait())
        await asyncio.to_thread(pause.wait_reached)
        arrived.cancel()
        await asyncio.gather(arrived, return_exceptions=True)

    asyncio.run(leave())
    pause.release()
