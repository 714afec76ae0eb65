"""Embeddings calls through every layer above a target: found, joined, sent, kept, booked."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from vectors import (
    ALICE,
    BOB,
    NO_CACHE,
    NO_STORE,
    ONLY_CACHED,
    Scene,
    content_of,
    play,
    together,
    tokens_in,
    vector_of,
    vectors_of,
)

from headgate.errors import CacheOnlyMiss, RateLimited
from headgate.layers.settings import CacheConfig, LimitsConfig
from headgate.types import Call


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


def test_what_is_no_embeddings_call_passes_without_a_frame() -> None:
    async def act(scene: Scene) -> None:
        call = scene.call({"text": "a"})
        assert isinstance(call, Call)
        assert call.inputs is None

    play(act)
