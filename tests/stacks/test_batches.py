"""Embeddings calls through every layer above a target: found, joined, sent, kept, booked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from vectors import (
    ALICE,
    BOB,
    NO_CACHE,
    NO_STORE,
    ONLY_CACHED,
    Scene,
    Upstream,
    content_of,
    tokens_in,
    vector_of,
    vectors_of,
)
from virtualtime import run

from headgate.errors import CacheOnlyMiss, QueueFull, RateLimited, UpstreamGarbled, UpstreamTimeout
from headgate.layers.settings import CacheConfig, LimitsConfig
from headgate.stream import within
from headgate.types import Call, Reply

Act = Callable[[Scene], Awaitable[None]]


def play(act: Act, upstream: Upstream | None = None, **settings: Any) -> Scene:
    """The scene after `act`, in virtual time."""

    async def scene() -> Scene:
        made = Scene(upstream or Upstream(), **settings)
        await act(made)
        # Whoever is still under way, for nobody, comes to an end.
        await asyncio.sleep(10)
        return made

    return run(scene())[0]


async def together(scene: Scene, *given: Any, **more: Any) -> list[list[Any]]:
    return list(await asyncio.gather(*(scene.begin(item, **more) for item in given)))


def test_many_small_calls_are_few_requests_and_each_gets_its_own() -> None:
    texts = [f"text {number}" for number in range(256)]

    async def act(scene: Scene) -> None:
        assert await together(scene, *texts) == [[vector_of(text)] for text in texts]

    scene = play(act)
    assert len(scene.upstream.asked) == 8
    assert sorted(text for asked in scene.upstream.asked for text in asked) == sorted(texts)
    assert len(scene.entries()) == 256
    scene.adds_up()


def test_a_lone_call_goes_as_it_is_and_waits_for_nobody() -> None:
    async def act(scene: Scene) -> None:
        begun_s = asyncio.get_running_loop().time()
        call = scene.call("a", user="u")
        await scene.reply(call)
        assert asyncio.get_running_loop().time() - begun_s == pytest.approx(0.021)
        assert scene.upstream.calls[0].request.body == call.request.body  # type: ignore[union-attr]

    play(act)


def test_a_list_goes_as_it_is_in_one_request_and_every_input_is_kept() -> None:
    texts = [f"text {number}" for number in range(100)]

    async def act(scene: Scene) -> None:
        call = scene.call(texts)
        reply = await scene.reply(call)
        assert [item["embedding"] for item in content_of(reply)["data"]] == vectors_of(texts)
        assert content_of(reply)["usage"]["prompt_tokens"] == sum(map(tokens_in, texts))
        assert scene.upstream.calls[0].request.body == call.request.body  # type: ignore[union-attr]
        for text in (texts[7], [texts[8]]):
            assert await scene.ask(text) == vectors_of([texts[7]] if text == texts[7] else text)

    scene = play(act)
    assert len(scene.upstream.asked) == 1, "the list; its inputs were known then"
    scene.adds_up()


def test_of_a_list_that_is_half_known_the_other_half_is_asked_for_in_order() -> None:
    dice = random.Random(3)
    texts = [f"text {number}" for number in range(40)]

    async def act(scene: Scene) -> None:
        known: set[str] = set()
        for _ in range(30):
            given = dice.choices(texts, k=dice.randrange(1, 12))
            before = len(scene.upstream.asked)
            reply = await scene.reply(scene.call(given))
            assert [item["embedding"] for item in content_of(reply)["data"]] == vectors_of(given)
            usage = content_of(reply)["usage"]
            assert usage["prompt_tokens"] == sum(map(tokens_in, given)), "as if asked alone"
            missing = list(dict.fromkeys(text for text in given if text not in known))
            assert scene.upstream.asked[before:] == ([missing] if missing else [])
            known.update(given)
            is_hit = not missing
            assert reply.provenance.hit == is_hit

    play(act).adds_up()


def test_a_reply_says_how_much_of_it_was_known() -> None:
    async def act(scene: Scene) -> None:
        await scene.ask(["a", "b"])
        mixed = await scene.reply(scene.call(["b", "c", "a", "d"]))
        assert (mixed.provenance.hit, mixed.provenance.stored) == (False, True)
        assert mixed.provenance.detail == "hits-2-of-4"
        hit = await scene.reply(scene.call(["d", "c"]))
        assert (hit.provenance.hit, hit.provenance.attempts) == (True, 0)

    scene = play(act)
    assert scene.metrics.snapshot()["cache_hits"] == 1
    assert scene.metrics.snapshot()["cache_misses"] == 2


def test_equal_inputs_are_asked_for_once_in_one_call_and_across_calls() -> None:
    async def act(scene: Scene) -> None:
        answers = await together(scene, *(["same"] for _ in range(50)), ["same", "x", "same"])
        assert answers[:50] == [vectors_of(["same"])] * 50
        assert answers[50] == vectors_of(["same", "x", "same"])

    scene = play(act)
    asked = [text for texts in scene.upstream.asked for text in texts]
    assert sorted(asked) == ["same", "x"]
    scene.adds_up()


def test_an_index_in_any_order_leads_each_vector_to_its_input() -> None:
    dice = random.Random(5)

    def permuted(_: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        dice.shuffle(answer["data"])
        return answer

    async def act(scene: Scene) -> None:
        scene.upstream.spoil = permuted
        texts = [f"text {number}" for number in range(64)]
        assert await together(scene, *texts) == [[vector_of(text)] for text in texts]

    play(act)


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


def test_tenants_are_not_mixed_unless_that_is_wanted() -> None:
    async def act(scene: Scene) -> None:
        tasks = [scene.begin(f"{who} {n}", who) for n in range(6) for who in (ALICE, BOB)]
        await asyncio.gather(*tasks)

    for asked in play(act).upstream.asked:
        assert len({text.split()[0] for text in asked}) == 1
    assert [len(asked) for asked in play(act, across_tenants=True).upstream.asked] == [12]
    for asked in play(act, across_tenants=True, keyed=False).upstream.asked:
        assert len({text.split()[0] for text in asked}) == 1, "with the credential that it has sent"


@pytest.mark.parametrize(
    "other",
    [{"dimensions": 3}, {"encoding_format": "base64"}, {"user": "somebody"}, {"input_type": "q"}],
)
def test_calls_that_differ_in_anything_else_do_not_go_together(other: dict[str, Any]) -> None:
    async def act(scene: Scene) -> None:
        await asyncio.gather(scene.begin("a"), scene.begin("b", **other), scene.begin([1, 2]))

    scene = play(act)
    assert sorted(map(len, scene.upstream.asked)) == [1, 1, 1]


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


def test_a_list_counts_as_one_request_of_its_client_and_for_its_tokens() -> None:
    blocks = {"limits": LimitsConfig(client_requests_per_minute=2)}

    async def act(scene: Scene) -> None:
        await scene.ask([f"text {number}" for number in range(50)])
        await scene.ask(["text 1", "x", "y"])
        await scene.ask(["x", "y", "text 1"])
        with pytest.raises(RateLimited):
            await scene.ask(["u", "v", "w"])
        assert len(scene.upstream.asked) == 2

    play(act, blocks=blocks)
    tokens = {"limits": LimitsConfig(client_tokens_per_minute=1000)}

    async def spend(scene: Scene) -> None:
        for number in range(4):
            await scene.ask([[number, *range(99)], [1000 + number, *range(149)]])
        with pytest.raises(RateLimited):
            await scene.ask([[7] * 10, [8] * 10])

    scene = play(spend, blocks=tokens)
    assert scene.upstream.billed == 1000


def test_a_client_over_its_limit_has_nothing_sent_of_its_list() -> None:
    async def act(scene: Scene) -> None:
        await scene.ask("a")
        with pytest.raises(RateLimited):
            await scene.ask(["b", "c", "d"])

    blocks = {"limits": LimitsConfig(client_requests_per_minute=1)}
    assert play(act, blocks=blocks).upstream.asked == [["a"]]


def test_controls_of_the_cache_hold_for_every_input() -> None:
    async def act(scene: Scene) -> None:
        await scene.ask(["a", "b"])
        with pytest.raises(CacheOnlyMiss):
            await scene.ask(["a", "c"], ALICE, ONLY_CACHED)
        assert await scene.ask(["b", "a"], ALICE, ONLY_CACHED) == vectors_of(["b", "a"])
        await scene.ask(["a", "b"], ALICE, NO_CACHE)
        await scene.ask(["x", "a"], ALICE, NO_STORE)
        assert len(scene.entries()) == 2

    assert play(act).upstream.asked == [["a", "b"], ["a", "b"], ["x", "a"]]


def test_a_cache_that_is_off_keeps_nothing_and_calls_still_go_together() -> None:
    async def act(scene: Scene) -> None:
        assert await together(scene, "a", "b") == [vectors_of(["a"]), vectors_of(["b"])]
        assert await scene.ask(["a", "b"]) == vectors_of(["a", "b"])

    scene = play(act, blocks={"cache": CacheConfig(enabled=False)})
    assert scene.upstream.asked == [["a", "b"], ["a", "b"]]
    assert scene.entries() == []
    scene.adds_up()


def test_switched_off_everything_is_as_it_was() -> None:
    async def act(scene: Scene) -> None:
        await together(scene, "a", "b")
        await scene.ask(["a", "b"])
        await scene.ask(["a", "b"])

    scene = play(act, enabled=False)
    assert scene.upstream.asked == [["a"], ["b"], ["a", "b"]]


def test_what_was_cleared_meanwhile_is_not_kept() -> None:
    async def act(scene: Scene) -> None:
        task = scene.begin(["a", "b"])
        await asyncio.sleep(0.01)
        scene.tiers.generation += 1
        assert await task == vectors_of(["a", "b"])

    assert play(act).entries() == []


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


def test_what_is_no_embeddings_call_passes_without_a_frame() -> None:
    async def act(scene: Scene) -> None:
        call = scene.call({"text": "a"})
        assert isinstance(call, Call)
        assert call.inputs is None

    play(act)
