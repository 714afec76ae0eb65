"""Which stores and connections outlive a change of the configuration, and who closes the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.config import Config, ProviderConfig
from headgate.errors import Closed, UpstreamUnreachable
from headgate.layers.settings import CacheConfig, RetryConfig
from headgate.providers.wire import WireLimits
from headgate.runtime import Runtime
from headgate.runtime_parts import Parts, open_parts, release
from headgate.testing import FakeClock
from headgate.types import EVERYTHING, Entry, Secret

AWAY = ProviderConfig(base_url="http://127.0.0.1:9/v1")


def entry(number: int) -> Entry:
    return Entry(
        key=bytes([number]) * 32, scope=b"s" * 32, model="m", operation="chat",
        created_s=CLOCK.epoch(), ttl_s=3600.0, content=b"x", kind="whole",
    )  # fmt: skip


def opened(
    cache: CacheConfig | None = None, before: Parts | None = None, **providers: Any
) -> Parts:
    return open_parts(Config(cache=cache or CacheConfig(), providers=providers), CLOCK, before)


CLOCK = FakeClock()


def is_open(parts: Parts, name: str) -> bool:
    """Whether a wire still tries to connect; closes it."""

    async def attempt() -> bool:
        try:
            await parts.wires[name].send("GET", "http://127.0.0.1:9/", (), b"", WireLimits())
        except Closed:
            return False
        except UpstreamUnreachable:
            return True
        finally:
            await parts.wires[name].aclose()
        return True

    return asyncio.run(attempt())


def test_with_the_same_settings_everything_goes_on() -> None:
    first = opened(a=AWAY)
    second = opened(before=first, a=AWAY)
    assert second.tiers is first.tiers
    assert second.wires["a"] is first.wires["a"]
    asyncio.run(release(first, second))
    assert is_open(second, "a")


def test_settings_that_do_not_concern_a_store_leave_it_alone() -> None:
    first = opened()
    assert opened(CacheConfig(ttl=5.0), first).tiers is first.tiers


def test_a_provider_that_has_moved_gets_connections_of_its_own_and_the_old_ones_close() -> None:
    first = opened(a=AWAY, b=AWAY)
    moved = replace(AWAY, base_url="http://127.0.0.1:10/v1")
    second = opened(before=first, a=moved, b=AWAY)
    assert second.wires["a"] is not first.wires["a"]
    assert second.wires["b"] is first.wires["b"]
    asyncio.run(release(first, second))
    assert not is_open(first, "a")
    assert is_open(second, "a")
    assert is_open(second, "b")


def test_entries_in_memory_survive_new_bounds_as_far_as_these_allow() -> None:
    first = opened(CacheConfig(maxsize=10))
    for number in range(4):
        first.tiers.put(entry(number))
    first.tiers.memory.peek(entry(0).key, CLOCK.epoch())
    smaller = opened(CacheConfig(maxsize=2), first)
    kept = [found.key[0] for found in smaller.tiers.list(EVERYTHING, limit=9)]
    assert kept == [0, 3], "the most recently used stay, in their order"
    larger = opened(CacheConfig(maxsize=50), smaller)
    assert len(larger.tiers.list(EVERYTHING, limit=9)) == 2


@pytest.fixture
def on_disk(tmp_path: Path) -> CacheConfig:
    return CacheConfig(persist=True, persist_path=str(tmp_path / "a.db"))


def test_the_disk_tier_goes_on_when_only_memory_changes(on_disk: CacheConfig) -> None:
    first = opened(on_disk)
    first.tiers.put(entry(1))
    second = opened(replace(on_disk, maxsize=5), first)
    assert second.tiers is not first.tiers
    assert second.tiers.below is first.tiers.below
    asyncio.run(release(first, second))
    assert len(second.tiers.list(EVERYTHING, limit=9)) == 1, "nobody has closed it"
    second.tiers.close()


@pytest.mark.parametrize("change", ["another file", "off"])
def test_a_disk_tier_that_is_no_longer_wanted_is_flushed_and_closed(
    on_disk: CacheConfig, tmp_path: Path, change: str
) -> None:
    first = opened(on_disk)
    first.tiers.put(entry(1))
    elsewhere = replace(on_disk, persist_path=str(tmp_path / "b.db"))
    second = opened(elsewhere if change == "another file" else CacheConfig(), first)
    assert second.tiers.below is not first.tiers.below
    assert second.tiers.memory is first.tiers.memory
    asyncio.run(release(first, second))
    assert first.tiers.list(EVERYTHING, limit=9) == [], "closed"
    again = opened(on_disk)
    assert len(again.tiers.list(EVERYTHING, limit=9)) == 1, "flushed"
    for parts in (second, again):
        parts.tiers.close()


def guards_after(**second: Any) -> tuple[object, object]:
    first = open_parts(Config(providers={"a": replace(AWAY, api_key=Secret("k"))}), CLOCK)
    after = open_parts(Config(**second), CLOCK, first)
    return first.resilience.guards, after.resilience.guards


def test_what_breakers_have_learned_goes_on_when_nothing_they_depend_on_changes() -> None:
    same = {"a": replace(AWAY, api_key=Secret("k"))}
    before, after = guards_after(providers=same, cache=CacheConfig(ttl=5.0))
    assert after is before


def test_another_key_or_place_or_setting_starts_anew() -> None:
    for second in (
        {"providers": {"a": replace(AWAY, api_key=Secret("another"))}},
        {"providers": {"a": replace(AWAY, api_key=Secret("k"), base_url="http://127.0.0.1:10/v1")}},
        {"providers": {"a": replace(AWAY, api_keys=(Secret("k"),))}},
        {"providers": {"a": replace(AWAY, api_key=Secret("k"))},
         "retry": RetryConfig(deadline=5.0)},
    ):  # fmt: skip
        before, after = guards_after(**second)
        assert after is not before, second


def test_a_program_does_not_load_the_price_list_by_itself_and_a_server_does() -> None:
    with Runtime(Config(providers={"openai": ProviderConfig()})) as runtime:
        prices = runtime.ledger.prices
        assert not prices.uses_list
        assert not prices.is_pending("openai", "gpt-4o")
        runtime.use_price_list()
        assert prices.is_pending("openai", "gpt-4o")
        assert runtime.successor(runtime.config).ledger.prices.uses_list
