"""Answers by hand: what is put is found, by hand and by calls, within one namespace."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headgate.config import Config
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.runtime import Runtime
from headgate.shelf import Shelf
from headgate.testing import FakeClock


def test_what_was_put_is_the_answer_of_a_call_and_the_other_way_round() -> None:
    with Runtime() as runtime:
        shelf = Shelf(runtime)
        shelf.put(shelf.key("p", "m", {"n": 1}), "m", {"text": "put"})
        assert runtime.cached_llm_call("p", "m", {"n": 1}, lambda: "asked") == {"text": "put"}
        runtime.cached_llm_call("q", "m", None, lambda: "asked")
        assert shelf.in_memory(shelf.key("q", "m", None)) is not None


def test_a_namespace_has_its_own_answers_and_is_cleared_alone() -> None:
    with Runtime() as runtime:
        one, other = Shelf(runtime, "one"), Shelf(runtime, "other")
        for shelf in (one, other):
            shelf.put(shelf.key("p", "m", {}), "m", "x")
        assert one.key("p", "m", {}) != other.key("p", "m", {})
        assert runtime.clear(namespace="one") == 1
        assert one.in_memory(one.key("p", "m", {})) is None
        assert other.in_memory(other.key("p", "m", {})) is not None


def test_each_model_has_its_own_time_to_live() -> None:
    clock = FakeClock()
    cache = CacheConfig(ttl=60, models={"short": ModelCacheConfig(ttl=5)}, max_stale=0)
    with Runtime(Config(cache=cache), clock=clock) as runtime:
        shelf = Shelf(runtime)
        for model in ("short", "long"):
            shelf.put(shelf.key("p", model, {}), model, "x")
        clock.advance(6)
        assert shelf.in_memory(shelf.key("p", "short", {})) is None
        assert shelf.in_memory(shelf.key("p", "long", {})) is not None


def test_what_is_no_json_has_no_key_and_is_not_kept() -> None:
    with Runtime() as runtime:
        shelf = Shelf(runtime)
        key = shelf.key({1, 2}, "m", {})
        shelf.put(key, "m", "x")
        assert (key, shelf.in_memory(key), shelf.on_disk(key)) == (b"", None, None)
        assert runtime.stats()["cache"]["size"] == 0


@pytest.mark.parametrize("persist", [True, False])
def test_the_disk_keeps_it_for_the_next_process(persist: bool, tmp_path: Path) -> None:
    cache = CacheConfig(persist=persist, persist_path=str(tmp_path / "answers.db"))
    with Runtime(Config(cache=cache)) as runtime:
        shelf = Shelf(runtime)
        key = shelf.key("p", "m", {})
        shelf.put(key, "m", "x")
    with Runtime(Config(cache=cache)) as runtime:
        shelf = Shelf(runtime)
        assert shelf.in_memory(key) is None
        assert (shelf.on_disk(key) is not None) is persist
        assert (shelf.in_memory(key) is not None) is persist


def test_a_value_comes_from_memory_or_from_the_disk(tmp_path: Path) -> None:
    config = Config(cache=CacheConfig(persist=True, persist_path=str(tmp_path / "answers.db")))
    with Runtime(config) as first:
        shelf = Shelf(first, "one")
        key = shelf.key("p", "m", None)
        assert shelf.value(key) is None
        shelf.put(key, "m", {"text": "x"})
        assert shelf.value(key) == asyncio.run(shelf.avalue(key)) == {"text": "x"}
    for of in (lambda shelf: shelf.value(key), lambda shelf: asyncio.run(shelf.avalue(key))):
        with Runtime(config) as again:
            assert of(Shelf(again, "one")) == {"text": "x"}
            assert of(Shelf(again, "one")) == {"text": "x"}, "now from memory"
            assert asyncio.run(Shelf(again).avalue(b"")) is None


def test_a_time_to_live_of_ones_own_goes_before_that_of_the_model() -> None:
    clock = FakeClock()
    with Runtime(Config(cache=CacheConfig(ttl=60, max_stale=0)), clock=clock) as runtime:
        shelf = Shelf(runtime)
        for prompt, ttl_s in (("short", 5.0), ("usual", None)):
            shelf.put(shelf.key(prompt, "m", None), "m", "x", ttl_s)
        clock.advance(6)
        assert shelf.value(shelf.key("short", "m", None)) is None
        assert shelf.value(shelf.key("usual", "m", None)) == "x"


def test_clearing_takes_its_namespace_alone() -> None:
    with Runtime() as runtime:
        one, other = Shelf(runtime, "one"), Shelf(runtime, "other")
        for shelf in (one, other):
            shelf.put(shelf.key("p", "m", None), "m", "x")
        assert (one.clear(), one.clear()) == (1, 0)
        assert other.value(other.key("p", "m", None)) == "x"
