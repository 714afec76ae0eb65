"""The faults of N3's own runtime that were reproduced there (0.6.6), each with the test that ours
passes: most stand beside the code that they are about, three stand here.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from gates import ONE_ATTEMPT
from n3app.llm import BaseLLM, LLMError, LLMResponse

from headgate.backend.declared import Llm
from headgate.config import Config
from headgate.n3_batching import Batcher
from headgate.n3_llms import Calls, Llms, Names, Voice
from headgate.providers.settings import ProviderConfig
from headgate.runtime import Runtime
from headgate.testing import FakeModel, FakeProvider
from headgate.types import Secret

TESTS = Path(__file__).parents[1]
HERE = "regressions/test_n3_faults.py"
FAULTS: Mapping[str, tuple[str, str]] = {
    # The cache.
    "20 equal concurrent calls are 20 calls upstream": (
        "test_n3_bind.py", "test_twenty_equal_calls_at_once_are_one"),
    "parameters that are not JSON crash the call": (
        "test_n3_names.py", "test_parameters_that_are_no_json_do_not_stop_the_call"),
    "results that say error are kept for an hour": (
        "test_n3_names.py", "test_an_answer_that_says_error_is_handed_on_counted_and_not_kept"),
    "system prompt and messages are no part of the key": (
        "test_n3_llms.py", "test_another_system_prompt_is_another_question"),
    "the provider is no part of the key": (
        HERE, "test_the_same_model_of_another_provider_is_another_question"),
    "the tenant is no part of the key": (
        "regressions/test_complaints.py",
        "test_the_same_question_of_another_user_is_a_call_of_its_own"),
    "callers can change entries": (
        "test_n3.py", "test_no_change_of_a_response_reaches_the_cache"),
    "maxsize 0 is a KeyError": (
        "test_n3.py", "test_a_cache_without_room_or_time_keeps_nothing"),
    "threads make several caches": (
        "test_n3_names.py", "test_one_cache_and_one_set_of_numbers_for_every_thread"),
    "the wall clock decides about the time to live": (
        "test_n3.py", "test_a_jump_of_the_wall_clock_does_not_matter"),
    "a second put leaves the order as it was": (
        "test_n3_names.py", "test_a_second_put_makes_it_the_most_recent"),
    "what is past its time is counted as evicted": (
        "test_n3.py", "test_an_answer_past_its_time_is_gone_and_counted"),
    # The metrics.
    "every latency is kept in a list": (
        "test_metrics.py",
        "test_hundreds_of_thousands_of_calls_take_no_more_memory_than_the_first_thousand"),
    "the median of 100 and 200 is 200": (
        "test_n3_names.py", "test_the_median_of_two_latencies_is_not_the_larger"),
    "hits are mixed into the latency of the provider": (
        "surfaces/test_exposition_models.py", "test_the_duration_of_hits_is_apart"),
    "a model that only fails is missing": (
        "test_n3_names.py", "test_a_model_that_only_fails_is_in_the_numbers"),
    # Batches.
    "all of a batch are asked with the parameters of the first": (
        "test_n3_batching.py", "test_each_prompt_is_asked_with_its_own_parameters"),
    "one failure asks, and pays for, all of them again": (
        "test_n3_batching.py", "test_a_failure_is_that_of_one_request"),
    "a timeout returns None": (
        "test_n3_batching.py", "test_a_timeout_is_an_error_and_no_none"),
    "a lone call waits for the others": (
        HERE, "test_a_lone_call_waits_for_nobody"),
    "a batch blocks the event loop": (
        HERE, "test_a_batch_leaves_the_event_loop_alone"),
    # The breaker.
    "half-open admits 50 of 50": (
        "test_n3_breakers.py", "test_the_half_open_breaker_admits_one_probe_at_a_time"),
    "80 % of failures never open it": (
        "test_n3_breakers.py", "test_four_failures_in_five_open_it"),
    "mistakes of the caller open it": (
        "test_n3_breakers.py", "test_mistakes_of_the_caller_do_not_open_it"),
    "calls that are awaited count as successes": (
        "test_n3_breakers.py", "test_calls_that_are_awaited_open_it"),
    "results that say error count as successes": (
        "test_n3_breakers.py", "test_results_that_say_error_open_it"),
    # The backend around them.
    "no call of an LLM succeeds over HTTP": (
        "test_n3_bind.py", "test_a_route_of_n3_asks_once_with_everything_that_the_app_declares"),
    "errors come back as HTTP 200": (
        "test_n3_bind.py", "test_an_error_of_the_provider_is_an_http_error"),
    "the two routes of the numbers are not there": (
        "test_n3_bind.py", "test_the_two_missing_routes_are_there"),
    "parameters of an llm block never arrive": (
        "e2e/test_generated_backend.py",
        "test_a_model_is_asked_once_with_everything_its_block_says"),
    "{{name}} is sent as {Bob}, schema and arguments are thrown away": (
        "e2e/test_generated_backend.py", "test_a_prompt_sends_its_schema_and_answers_an_object"),
    "`input: [a, b]` hangs the parser": (
        "generate/test_program.py", "test_a_list_of_bare_words_is_a_list"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_test(fault: str) -> None:
    file, name = FAULTS[fault]
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text("utf-8"), re.M)


def test_the_same_model_of_another_provider_is_another_question() -> None:
    names = Names(BaseLLM, LLMResponse, LLMError)
    kind = type("Made", (Calls, BaseLLM), {})
    with FakeProvider() as one, FakeProvider() as other:
        providers = {
            name: ProviderConfig(kind="openai", base_url=at.base_url, api_key=Secret("sk-x"))
            for name, at in (("one", one), ("other", other))
        }
        with Runtime(Config(providers=providers, **ONE_ATTEMPT)) as runtime:
            for name in ("one", "other", "one"):
                llm = kind("fast", "m")
                llm._headgate = Voice(Llm(f"{name}/m"), Llms(runtime), names, name, "m")
                llm.generate("Count")
        assert (len(one.calls), len(other.calls)) == (1, 1)


def test_a_lone_call_waits_for_nobody() -> None:
    """There it waits for 50 ms, as long as the batcher is told to."""
    batcher = Batcher(FakeModel("x").call, max_batch_size=10, batch_timeout_ms=1e9)
    answers: list[str] = []
    lone = threading.Thread(
        target=lambda: answers.append(batcher.add_request("p", "m", {})), daemon=True
    )
    lone.start()
    lone.join(20)
    assert answers == ["x"]


def test_a_batch_leaves_the_event_loop_alone() -> None:
    model = FakeModel("x")
    batcher = Batcher(model.call)

    async def meanwhile() -> list[str]:
        model.hold()
        batch = asyncio.create_task(batcher.batch_execute(["a", "b"], "m"))
        await asyncio.to_thread(model.wait_for_calls, 2)
        assert not batch.done()
        model.release()
        answers: list[str] = await batch
        return answers

    assert asyncio.run(meanwhile()) == ["x", "x"]
