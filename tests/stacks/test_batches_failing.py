"""Embeddings that go upstream together where something goes wrong, and who notices."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from vectors import (
    ALICE,
    BOB,
    NO_CACHE,
    Scene,
    content_of,
    play,
    together,
    tokens_in,
    vector_of,
    vectors_of,
)

from headgate.errors import QueueFull, UpstreamGarbled, UpstreamTimeout
from headgate.stream import within
from headgate.types import Reply


@pytest.mark.parametrize("lost", ["one less", "one more", "one twice", "longer"])
def test_a_reply_that_fits_nobody_for_sure_is_nobodys_and_the_place_is_asked_alone_then(
    lost: str,
) -> None:
    def spoilt(listed: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if len(listed) > 1:
            change = {"one less": lambda data: data.pop(), "one more": lambda data: data.append(
                {"index": len(data), "embedding": [1]}), "one twice": lambda data: data[0].update(
                index=1), "longer": lambda data: data[0]["embedding"].append(1)}  # fmt: skip
            change[lost](answer["data"])
        return answer

    async def act(scene: Scene) -> None:
        scene.upstream.spoil = spoilt
        tasks = [scene.begin(f"text {number}") for number in range(8)]
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, UpstreamGarbled) for end in ends)
        assert scene.entries() == []
        texts = [f"more {number}" for number in range(8)]
        assert await together(scene, *texts) == [[vector_of(text)] for text in texts]

    scene = play(act)
    assert [len(asked) for asked in scene.upstream.asked] == [8] + [1] * 8


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("count", [2, 7, 32])
def test_one_input_that_is_refused_spoils_nothing_for_others_at_any_place(
    count: int, status: int
) -> None:
    for place in range(0, count, 1 if count < 32 else 5):

        async def act(scene: Scene, place: int = place) -> None:
            scene.upstream.spoil = lambda listed, answer: status if "poison" in listed else answer
            texts = [f"text {number}" for number in range(count)]
            texts[place] = "poison"
            calls = [scene.reply(scene.call(text)) for text in texts]
            replies = await asyncio.gather(*calls)
            for text, reply in zip(texts, replies, strict=True):
                assert reply.status == (status if text == "poison" else 200)
                if reply.status == 200:
                    assert content_of(reply)["data"][0]["embedding"] == vector_of(text)

        scene = play(act)
        extra = len(scene.upstream.asked) - 1
        assert extra <= 2 * (count - 1).bit_length()
        assert len(scene.entries()) == count - 1
        scene.adds_up()


def test_a_list_that_is_refused_is_refused_as_one() -> None:
    async def act(scene: Scene) -> None:
        scene.upstream.spoil = lambda listed, answer: 400 if "poison" in listed else answer
        reply = await scene.reply(scene.call(["a", "poison", "b"]))
        assert (reply.status, content_of(reply)) == (400, {"error": {"message": "no"}})

    assert len(play(act).upstream.asked) == 1


def test_a_place_that_takes_one_input_only_is_learned_and_everybody_is_answered() -> None:
    async def act(scene: Scene) -> None:
        scene.upstream.spoil = lambda listed, answer: 400 if len(listed) > 1 else answer
        for begin in (0, 8):
            texts = [f"text {number}" for number in range(begin, begin + 8)]
            assert await together(scene, *texts) == [[vector_of(text)] for text in texts]
            await asyncio.sleep(0.001)

    sizes = [len(asked) for asked in play(act).upstream.asked]
    assert len(sizes) == 15 + 8
    assert sizes[15:] == [1] * 8


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_any_other_failure_is_everybodys_and_asked_once(status: int) -> None:
    async def act(scene: Scene) -> None:
        scene.upstream.spoil = lambda _, __: status
        calls = [scene.reply(scene.call(f"text {number}")) for number in range(8)]
        assert [reply.status for reply in await asyncio.gather(*calls)] == [status] * 8

    scene = play(act)
    assert len(scene.upstream.asked) == 1
    assert scene.entries() == []


def test_an_error_on_the_way_is_everybodys() -> None:
    def broken(_: list[Any], __: dict[str, Any]) -> Any:
        raise UpstreamTimeout("too late", stage="total")

    async def act(scene: Scene) -> None:
        scene.upstream.spoil = broken
        ends = await asyncio.gather(
            *(scene.begin(f"text {number}") for number in range(5)), return_exceptions=True
        )
        assert [type(end) for end in ends] == [UpstreamTimeout] * 5

    play(act)


def test_who_leaves_the_queue_is_not_asked_for_and_nobody_else_notices() -> None:
    async def act(scene: Scene) -> None:
        first = scene.begin("first")
        await asyncio.sleep(0.001)
        tasks = [scene.begin(text) for text in ("a", "b", "c")]
        await asyncio.sleep(0.001)
        tasks[1].cancel()
        assert [await tasks[0], await tasks[2], await first] == [
            vectors_of(["a"]), vectors_of(["c"]), vectors_of(["first"])
        ]  # fmt: skip

    assert play(act).upstream.asked == [["first"], ["a", "c"]]


def test_who_leaves_after_it_went_loses_nothing_for_others_and_its_answer_is_kept() -> None:
    async def act(scene: Scene) -> None:
        tasks = [scene.begin(text) for text in ("a", "b", "c")]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        assert await tasks[0] == vectors_of(["a"])
        assert await tasks[2] == vectors_of(["c"])
        assert await scene.ask("b") == vectors_of(["b"])

    scene = play(act)
    assert scene.upstream.asked == [["a", "b", "c"]]
    cost = scene.cost()
    assert cost["by_reason"]["abandoned"]["tokens"] == tokens_in("b")
    scene.adds_up()


def test_when_all_of_a_list_have_left_alone_nobody_is_asked_any_more() -> None:
    async def act(scene: Scene) -> None:
        task = scene.begin(["a", "b"])
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.001)
        assert scene.upstream.cancelled == 1

    assert play(act).entries() == []


def test_each_caller_has_a_deadline_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        scene.upstream.took_s = 1.0
        hurried = scene.call("a", ALICE, (b"headgate-deadline", b"0.5"))
        late = asyncio.ensure_future(within(0.5, scene.reply(hurried)))
        other = scene.begin("b")
        with pytest.raises(UpstreamTimeout):
            await late
        assert asyncio.get_running_loop().time() == pytest.approx(0.5)
        assert await other == vectors_of(["b"])
        assert await scene.ask("a") == vectors_of(["a"])

    assert play(act).upstream.asked == [["a", "b"]]


def test_what_is_empty_or_too_long_spoils_nothing_for_others() -> None:
    async def act(scene: Scene) -> None:
        scene.upstream.spoil = lambda listed, answer: 400 if "" in listed else answer
        replies = await asyncio.gather(*(scene.reply(scene.call(text)) for text in ("a", "", "b")))
        assert [reply.status for reply in replies] == [200, 400, 200]

    assert sorted(play(act).upstream.asked) == [[""], ["a"], ["b"]]


def test_a_full_queue_is_said_to_be_full() -> None:
    async def act(scene: Scene) -> None:
        first = scene.begin("first")
        await asyncio.sleep(0.001)
        tasks = [scene.begin(text) for text in ("a", "b", "c")]
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [list, list, QueueFull]
        await first

    play(act, queue_max=2)


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_is_that_of_its_input_whatever_happens(seed: int) -> None:
    """`f(input)` and nothing else, or an error; and every token is booked once."""
    dice = random.Random(seed)
    texts = [f"text {number}" for number in range(30)]

    def spoilt(listed: list[Any], answer: dict[str, Any]) -> Any:
        fate = dice.random()
        if fate < 0.1:
            return dice.choice((400, 413, 429, 500))
        if fate < 0.15:
            raise UpstreamTimeout("too late", stage="total")
        if fate < 0.2 and len(listed) > 1:
            answer["data"].pop()
        dice.shuffle(answer["data"])
        return 400 if any(text.endswith("13") for text in listed) else answer

    async def one(scene: Scene) -> None:
        await asyncio.sleep(dice.random() * 0.3)
        given: Any = dice.choices(texts, k=dice.randrange(1, 6))
        given = given[0] if len(given) == 1 else given
        lines = [NO_CACHE] if dice.random() < 0.1 else []
        task = asyncio.ensure_future(
            scene.reply(scene.call(given, dice.choice((ALICE, BOB)), *lines))
        )
        if dice.random() < 0.1:
            await asyncio.sleep(dice.random() * 0.03)
            task.cancel()
        ((reply,),) = (await asyncio.gather(asyncio.gather(task, return_exceptions=True)),)
        answered(given, reply[0] if isinstance(reply, list) else reply)

    async def act(scene: Scene) -> None:
        scene.upstream.spoil = spoilt
        await asyncio.gather(*(one(scene) for _ in range(300)))

    scene = play(act)
    for entry in scene.entries():
        assert entry.usage.tokens > 0
    scene.adds_up()


def answered(given: Any, end: Any) -> None:
    if isinstance(end, Reply) and end.status == 200:
        listed = [given] if isinstance(given, str) else given
        assert [item["embedding"] for item in content_of(end)["data"]] == vectors_of(listed)
    else:
        errors = (UpstreamTimeout, UpstreamGarbled, asyncio.CancelledError)
        assert isinstance(end, (Reply, *errors)), repr(end)
