"""The log of calls: what is in it, how much, and that no text of prompts or answers ever is."""

from __future__ import annotations

import gc
import json
import threading
from typing import Any

import pytest
from calling import Asker
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate import calllog
from headgate.calllog import CallRecord, Hit
from headgate.calllog_causes import Causes
from headgate.calllog_shown import described, explained
from headgate.config import CallsConfig
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.testing import FakeClock

CANARY = "canary4711"


def everything(asker: Asker) -> str:
    """All that the log can show, and all that it holds."""
    log = asker.runtime.calls
    causes = Causes(log.entered())
    shown = [{**described(one, log), "why": explained(causes.of(one))} for one in log.records()]
    return json.dumps(shown) + repr(log.records())


def test_calls_stand_in_the_order_in_which_they_began() -> None:
    with Asker() as asker:
        asked = [asker.ask(temperature=n % 2) for n in range(4)]
        assert [one.name for one in asker.runtime.calls.records()] == [one.name for one in asked]
        assert [one.provenance.hit for one in asked] == [False, False, True, True]
        assert len({one.name for one in asked}) == 4


def test_the_last_ones_stay_and_hits_do_not_push_out_what_explains_them() -> None:
    with Asker(calls=CallsConfig(keep=3)) as asker:
        for n in range(5):
            asker.ask(seed=n)
        for _ in range(10):
            asker.ask(seed=4)
        records = asker.runtime.calls.records()
        assert [one.provenance.hit for one in records] == [False] * 3 + [True] * 3


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    with Asker(calls=CallsConfig(keep=0)) as asker:
        log = asker.runtime.calls
        with pytest.raises(ValueError, match="not enough values"):
            asker.ask()
        with pytest.raises(ValueError, match="not enough values"):
            asker.ask()
        assert (log.records(), log.is_on) == ([], False)
        assert asker.runtime.stats()["cache"]["hits"] == 1


def test_the_name_of_a_call_is_that_of_its_rows_in_the_ledger() -> None:
    with Asker() as asker:
        booked: list[str] = []
        book = asker.runtime.ledger.book
        asker.runtime.ledger.book = lambda name, call, rows: (  # type: ignore[method-assign]
            booked.append(name), book(name, call, rows),
        )[1]  # fmt: skip
        record = asker.ask()
        assert booked == [record.name]


def test_prints_of_all_calls_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calllog, "NODES_MAX", 60)
    with Asker() as asker:
        records = [asker.ask(seed=n, stop=["a"] * 10) for n in range(9)]
        printed = [one for one in records if one.print is not None]
        assert printed == records[-len(printed) :]
        assert sum(one.print.nodes for one in printed if one.print) <= 60


def test_a_large_request_is_compared_by_its_key_alone() -> None:
    with Asker() as asker:
        text = "x" * calllog.BODY_MAX_BYTES
        record = asker.ask(messages=[{"role": "user", "content": text}])
        assert record.print is None
        assert record.key


def test_an_entry_that_was_evicted_is_not_kept_alive_by_its_hits() -> None:
    with Asker(cache=CacheConfig(maxsize=1)) as asker:
        asker.ask()
        asker.ask()
        asker.ask(seed=2)
        held = [one for one in gc.get_referrers(*asker.runtime.calls._hits) if isinstance(one, Hit)]
        assert held == []
        hit = asker.runtime.calls._hits[0]
        assert "content" not in repr(hit.entry)


def test_each_call_is_told_once_and_can_be_described_later() -> None:
    with Asker() as asker:
        told: list[CallRecord | Hit] = []
        log = asker.runtime.calls
        log.tell = told.append
        names = [asker.ask(seed=n).name for n in (1, 1, 2)]
        assert [log.record_of(one).name for one in told] == names


def test_a_reload_goes_on_with_the_log() -> None:
    with Asker() as asker:
        first = asker.ask()
        successor = asker.runtime.successor(asker.runtime.config)
        assert [one.name for one in successor.calls.records()] == [first.name]
        assert successor.calls.process()["instance"] == asker.runtime.calls.process()["instance"]


def test_the_log_tells_how_long_its_process_is_there() -> None:
    clock = FakeClock()
    with Asker(clock) as asker:
        clock.advance(12.5)
        assert asker.runtime.calls.process()["uptime_s"] == 12.5


def test_a_callable_that_changes_its_prompt_is_compared_by_what_it_was_asked() -> None:
    with Runtime() as runtime:
        messages: list[Any] = [{"role": "user", "content": "Hi"}]

        def ask() -> str:
            messages.append(object())
            return "yes"

        for temperature in (0, 1):
            messages[:] = [{"role": "user", "content": "Hi"}]
            runtime.cached_llm_call(messages, "m", {"temperature": temperature}, ask)
        log = runtime.calls
        cause = Causes(log.entered()).of(log.records()[-1])
        assert [change.field for change in cause.differs] == ["temperature"]


def test_many_threads_may_ask_while_others_look() -> None:
    with Asker(calls=CallsConfig(keep=50)) as asker:
        asker.ask()
        runtime = asker.runtime
        head = runtime.admission.head([(b"authorization", b"Bearer " + b"sk-canary-key")])
        body = b'{"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}'

        def hit() -> None:
            for _ in range(2_000):
                runtime.find("chat", head, body, b"")

        threads = [threading.Thread(target=hit) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert len(runtime.calls.records()) <= 51
        for thread in threads:
            thread.join()
        assert runtime.stats()["cache"]["hits"] == 8_000


TEXTS = st.text(max_size=20).map(lambda text: f"{text}{CANARY}{text}")
PARTS = st.one_of(
    TEXTS,
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), min_size=1),
    st.lists(st.fixed_dictionaries({"type": st.just("tool_use"), "input": st.fixed_dictionaries(
        {"n": TEXTS, "model": TEXTS, "seed": TEXTS})}), min_size=1),
)  # fmt: skip
TOOLS = st.lists(
    st.fixed_dictionaries({"type": st.just("function"), "function": st.fixed_dictionaries(
        {"name": st.just("f"), "description": TEXTS})}), max_size=2,
)  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system"]), "content": PARTS}), min_size=1, max_size=4)},
    optional={"tools": TOOLS, "user": TEXTS, "stop": TEXTS, "seed": st.integers(0, 9) | TEXTS,
              "service_tier": st.just("auto"), "response_format": st.fixed_dictionaries(
                  {"type": TEXTS}), "stream": st.booleans()},
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(FIELDS, min_size=1, max_size=4))
def test_no_text_of_a_prompt_or_an_answer_is_in_any_record(asked: list[dict[str, Any]]) -> None:
    with Asker() as asker:
        for fields in asked:
            # The fake provider's answer repeats words of the question.
            asker.ask(**fields)
            asker.ask(**fields)
            last = fields["messages"][-1]
            asker.ask(**{**fields, "messages": [{"role": "system", "content": CANARY}, last]})
        told = everything(asker)
        assert CANARY not in told
        assert "Hello?" not in told
        assert "sk-canary" not in told
