"""N3's batcher: each prompt is a call of its own, and its names in `headgate.n3`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from gates import ONE_ATTEMPT, providers_at

from headgate import n3
from headgate.config import Config
from headgate.errors import Closed, UnknownModel, UpstreamFailed, UpstreamTimeout
from headgate.n3_batching import Batcher
from headgate.testing import Answer, FakeModel, FaultServer, Status


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        config = Config(providers=providers_at(running, "sk-ours"), **ONE_ATTEMPT)
        n3._llm_cache._replace(config, {})
        yield running
        n3.configure({})


def all_at_once(works: list[Any]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_prompt_is_asked_with_its_own_parameters(server: FaultServer) -> None:
    """The original asks all of them with those of the first."""
    works = [
        lambda heat=heat: n3._batched_llm_call(f"p{heat}", "gpt-4o", {"temperature": heat})
        for heat in (0.1, 0.2, 0.3)
    ]
    all_at_once(works)
    asked = {(c.body["messages"][0]["content"], c.body["temperature"]) for c in server.calls}
    assert asked == {("p0.1", 0.1), ("p0.2", 0.2), ("p0.3", 0.3)}


def test_a_failure_is_that_of_one_request(server: FaultServer) -> None:
    """In the original all of a batch are sent, and paid for, again."""
    for step in (Answer(text="one"), Status(400), Answer(text="three")):
        server.script(step)
    answers = []
    for prompt in ("a", "b", "c"):
        try:
            answers.append(n3._get_llm_batcher().add_request(prompt, "gpt-4o", {}))
        except UpstreamFailed as error:
            answers.append(type(error).__name__)
    assert answers == ["one", "Declined", "three"]
    assert len(server.calls) == 3


def test_equal_requests_are_one_call(server: FaultServer) -> None:
    texts: list[str] = []
    work = lambda: texts.append(n3._batched_llm_call("p", "gpt-4o", {}))  # noqa: E731
    all_at_once([work] * 8)
    assert len(server.calls) == 1
    assert len(set(texts)) == 1


def test_a_timeout_is_an_error_and_no_none(server: FaultServer) -> None:
    """The original returns None."""
    server.hold()
    with pytest.raises(UpstreamTimeout, match=r"0\.01 s"):
        n3._batched_llm_call("p", "gpt-4o", {}, timeout=0.01)
    server.release()


def test_without_a_provider_nothing_is_made_up() -> None:
    n3.configure({})
    with pytest.raises(UnknownModel):
        n3._batched_llm_call("p", "gpt-4o", {})


def test_what_is_under_way_together_is_a_batch() -> None:
    model = FakeModel("x")
    batcher = Batcher(model.call)
    model.hold()
    threads = [
        threading.Thread(target=batcher.add_request, args=(prompt, "m", {})) for prompt in "abc"
    ]
    for thread in threads:
        thread.start()
    model.wait_for_calls(3)
    model.release()
    for thread in threads:
        thread.join()
    assert batcher.add_request("d", "m", {}) == "x"
    assert batcher.get_stats() == {
        "batches_processed": 2, "requests_batched": 4, "avg_batch_size": 2.0, "max_batch_size": 3,
    }  # fmt: skip


def test_a_list_of_prompts_is_answered_in_its_order(server: FaultServer) -> None:
    """The sketch of the seed: `await batcher.batch_execute(prompts, model)`."""
    prompts = ["a", "b", "c"]
    alone = [n3._batched_llm_call(prompt, "gpt-4o", {}) for prompt in prompts]
    assert asyncio.run(n3._LLMBatcher().batch_execute(prompts, "gpt-4o")) == alone
    assert len(server.calls) == 3


def test_of_a_list_no_more_are_asked_at_a_time_than_a_batch_holds() -> None:
    model = FakeModel("x")
    batcher = Batcher(model.call, max_batch_size=3)

    async def ask() -> list[Any]:
        model.hold()
        asked = asyncio.create_task(batcher.batch_execute(list("abcdefg"), "m"))
        await asyncio.to_thread(model.wait_for_calls, 3)
        assert model.count == 3
        model.release()
        return await asked

    assert asyncio.run(ask()) == ["x"] * 7
    assert batcher.get_stats()["max_batch_size"] >= 3


def test_the_first_failure_of_a_list_is_raised_and_the_rest_not_asked() -> None:
    model = FakeModel("x")
    model.script("x", ValueError("no"))
    batcher = Batcher(model.call, max_batch_size=1)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(batcher.batch_execute(list("abcdefg"), "m"))
    assert model.count == 2


def test_after_shutdown_nothing_is_taken() -> None:
    batcher = n3._LLMBatcher(max_batch_size=4, batch_timeout_ms=10)
    assert batcher.get_stats()["avg_batch_size"] == 0
    batcher.shutdown()
    with pytest.raises(Closed):
        batcher.add_request("p", "m", {})


def test_the_settings_of_an_app_are_taken() -> None:
    n3.configure({"llm_batch": {"enabled": True, "max_batch_size": 7, "batch_timeout_ms": 20}})
    batcher = n3._get_llm_batcher()
    assert (batcher.max_batch_size, batcher.batch_timeout_ms) == (7, 20)
    assert n3._get_batch_stats()["requests_batched"] == 0
