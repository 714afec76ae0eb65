"""Embeddings calls whose callers leave at any moment, among lists that share inputs with a bad one:
everybody else has its own answer.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from vectors import ALICE, BOB, NO_CACHE, Scene, content_of, play, vectors_of

BAD = "bad"
TEXTS = [BAD, *(f"text {number}" for number in range(30))]
IN_A_HURRY = (b"headgate-deadline", b"0.03")


def right(given: Any, reply: Any) -> None:
    """Who asked for what is bad is refused, everybody else has each vector of his own."""
    if BAD in given:
        assert reply.status in (400, 413, 422)
        return
    vectors = [item["embedding"] for item in content_of(reply)["data"]]
    assert (reply.status, vectors) == (200, vectors_of(given))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_whoever_leaves_when_nobody_has_the_answer_of_another(seed: int, across: bool) -> None:
    dice = random.Random(seed)

    def spoil(asked: list[Any], answer: dict[str, Any]) -> Any:
        dice.shuffle(answer["data"])
        return dice.choice((400, 413, 422)) if BAD in asked else answer

    async def act(scene: Scene) -> None:
        scene.upstream.spoil = spoil
        asked = []
        for _ in range(300):
            given = dice.choices(TEXTS, k=dice.choice((1, 1, 2, 4, 6)))
            lines = dice.choice(((), (), (NO_CACHE,), (IN_A_HURRY,)))
            call = scene.call(given, dice.choice((ALICE, BOB)), *lines)
            task = asyncio.ensure_future(scene.reply(call))
            asked.append((given, task))
            if dice.random() < 0.3:
                asyncio.get_running_loop().call_later(dice.random() * 0.05, task.cancel)
            await asyncio.sleep(dice.choice((0, dice.random() * 0.01)))
        await asyncio.wait([task for _, task in asked])
        stayed = [(given, task.result()) for given, task in asked if not task.cancelled()]
        assert 100 < len(stayed) < 300
        for given, reply in stayed:
            right(given, reply)

    play(act, across_tenants=across).adds_up()
