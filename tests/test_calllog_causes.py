"""Why was this a miss? One test for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from calling import Asker
from keyring import a_record

from headgate.calllog_causes import Causes
from headgate.core.client import client_of
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.testing import FakeClock
from headgate.types import Selection

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def asker(clock: FakeClock) -> Iterator[Asker]:
    with Asker(clock) as asker:
        yield asker


def test_the_first_call_is_the_first(asker: Asker) -> None:
    cause = asker.why(asker.ask())
    assert (cause.reason, cause.compared_with) == ("first", "")


def test_a_hit_says_how_old_its_answer_was(asker: Asker, clock: FakeClock) -> None:
    asker.ask()
    clock.advance(90)
    cause = asker.why(asker.ask())
    assert (cause.reason, cause.text) == ("hit", "answered by the cache, 90 s after it was stored")


def test_another_temperature_is_named_with_the_call_it_is_compared_with(
    asker: Asker, clock: FakeClock
) -> None:
    first = asker.ask(temperature=0)
    clock.advance(12)
    cause = asker.why(asker.ask(temperature=0.7))
    assert (cause.reason, cause.compared_with, cause.earlier_s) == ("differs", first.name, 12.0)
    expected = f"differs from call {first.name}, 12 s earlier, in: temperature (0 -> 0.7)"
    assert cause.text == expected


def test_the_most_alike_of_the_earlier_calls_is_named(asker: Asker) -> None:
    near = asker.ask(messages=CHAT, temperature=0)
    asker.ask(messages=CHAT, temperature=1, seed=1, top_p=0.5)
    cause = asker.why(asker.ask(messages=CHAT, temperature=0, seed=1))
    assert (cause.compared_with, cause.text[-20:]) == (near.name, "in: seed (none -> 1)")


def test_text_that_differs_is_named_and_not_shown(asker: Asker) -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "Old."}}]
    asker.ask(messages=CHAT, tools=tools)
    changed = [{"type": "function", "function": {"name": "f", "description": "New."}}]
    system = [{"role": "system", "content": "It is 12:01."}, CHAT[1]]
    cause = asker.why(asker.ask(messages=system, tools=changed))
    fields = [change.field for change in cause.differs]
    assert fields == ["messages[0]", "tools[0].function.description"]
    assert "New." not in repr(cause)


def test_another_question_is_not_compared(asker: Asker) -> None:
    asker.ask()
    other = asker.ask(messages=[{"role": "user", "content": "Bye?"}])
    assert asker.why(other).reason == "first"


def test_another_credential_is_never_spoken_of(asker: Asker) -> None:
    asker.ask(temperature=0)
    for key in ("sk-another", ""):
        assert asker.why(asker.ask(key=key, temperature=1)).reason == "first"


def test_another_namespace_of_the_same_credential_is_named(asker: Asker) -> None:
    asker.ask()
    cause = asker.why(asker.ask(("headgate-namespace", "b")))
    assert cause.text.endswith("in: namespace (none -> b)")


def test_keys_of_one_tenant_explain_one_another_and_no_others(asker: Asker) -> None:
    first, second = (client_of(a_record("acme", id=name)) for name in ("first", "second"))
    asker.ask(client=first, temperature=0)
    cause = asker.why(asker.ask(client=second, temperature=1))
    assert cause.text.endswith("in: temperature (0 -> 1)")
    there = asker.ask(("headgate-namespace", "b"), client=second, temperature=1)
    assert asker.why(there).text.endswith("in: namespace (none -> b)")
    for tenant, namespace in (("another", ""), ("yet-another", "b")):
        other = client_of(a_record(tenant, id="third"))
        named = (("headgate-namespace", namespace),) if namespace else ()
        assert asker.why(asker.ask(*named, client=other, temperature=2)).reason == "first"


def test_a_header_that_changes_the_answer_is_named(asker: Asker) -> None:
    asker.ask()
    cause = asker.why(asker.ask(("openai-beta", "assistants=v2")))
    assert [(one.field, one.kind) for one in cause.differs] == [("openai-beta", "added")]
    assert "assistants" not in repr(cause)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [((("cache-control", "no-cache"),), "no_cache"), ((("cache-control", "no-store"),), "no_cache"),
     ((("cache-control", "max-age=30"),), "too_old"), ((("headgate-ttl", "30s"),), "too_old")],
)  # fmt: skip
def test_what_the_caller_said_about_the_cache_is_a_reason(
    asker: Asker, clock: FakeClock, headers: Any, reason: str
) -> None:
    asker.ask()
    clock.advance(60)
    assert asker.why(asker.ask(*headers)).reason == reason


def test_an_answer_that_had_expired_is_a_reason(asker: Asker, clock: FakeClock) -> None:
    first = asker.ask()
    clock.advance(3_610)
    cause = asker.why(asker.ask())
    assert (cause.reason, cause.compared_with) == ("expired", first.name)
    assert cause.text == "the stored answer had expired 10.0 s before"


def test_an_answer_that_was_cleared_is_a_reason(asker: Asker) -> None:
    asker.ask()
    asker.runtime.tiers.remove(Selection(model="m"))
    assert asker.why(asker.ask()).reason == "cleared"


def test_an_answer_that_was_evicted_is_a_reason(clock: FakeClock) -> None:
    with Asker(clock, cache=CacheConfig(maxsize=1)) as asker:
        asker.ask()
        asker.ask(seed=1)
        assert asker.why(asker.ask()).reason == "evicted"
        asker.ask(seed=1)
        asker.runtime.clear()
        assert asker.why(asker.ask()).reason == "removed"


def test_an_answer_that_memory_cannot_hold_is_gone(clock: FakeClock) -> None:
    with Asker(clock, cache=CacheConfig(max_bytes=1)) as asker:
        asker.ask()
        assert asker.why(asker.ask()).reason == "gone"


def test_an_answer_that_was_not_stored_says_why_not(asker: Asker) -> None:
    asker.ask(("cache-control", "no-store"))
    cause = asker.why(asker.ask())
    assert (cause.reason, cause.text) == (
        "not_stored:no_store", "its answer was not stored: its caller sent no-store",
    )  # fmt: skip


def test_a_call_that_failed_before_is_a_reason(asker: Asker) -> None:
    asker.ask(("cache-control", "only-if-cached"))
    cause = asker.why(asker.ask())
    assert cause.reason == "failed"


@pytest.mark.parametrize(
    ("cache", "fields", "reason"),
    [(CacheConfig(enabled=False), {}, "disabled"),
     (CacheConfig(temperature_max=0.2), {"temperature": 1}, "temperature"),
     (CacheConfig(), {"web_search_options": {}}, "hosted_tools")],
)  # fmt: skip
def test_a_call_that_bypasses_the_cache_says_why(
    cache: CacheConfig, fields: dict[str, Any], reason: str
) -> None:
    with Asker(cache=cache) as asker:
        cause = asker.why(asker.ask(**fields))
        assert cause.reason == f"bypass:{reason}"
        assert cause.text.startswith("the cache was not asked: ")


def test_a_model_that_leads_elsewhere_since_a_reload_is_a_reason(asker: Asker) -> None:
    asker.ask()
    record = asker.ask(temperature=0)
    # As after a reload: another key for the same request.
    assert asker.why(record).text.endswith("temperature (none -> 0)")
    record.print = asker.runtime.calls.records()[0].print
    assert "where the model leads" in asker.why(record).text


@pytest.mark.parametrize("is_async", [False, True])
def test_calls_of_a_program_are_explained_too(is_async: bool) -> None:
    async def aanswer() -> str:
        return "yes"

    with Runtime() as runtime:
        for temperature in (0, 0.7):
            params = {"temperature": temperature}
            if is_async:
                asyncio.run(runtime.acached_llm_call("Hello?", "m", params, aanswer))
            else:
                runtime.cached_llm_call("Hello?", "m", params, lambda: "yes")
        log = runtime.calls
        cause = Causes(log.entered()).of(log.records()[-1])
        assert cause.text.endswith("in: temperature (0 -> 0.7)")
