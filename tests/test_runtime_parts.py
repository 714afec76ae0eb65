"""Which stores and connections outlive a change of the configuration, and who closes the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.config import Config, ProviderConfig
from headgate.core.permits import Refusal
from headgate.errors import Closed, UpstreamUnreachable
from headgate.layers.settings import BreakerConfig, CacheConfig, LimitsConfig, RetryConfig
from headgate.providers.settings import ModelConfig
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


KEYED = replace(AWAY, api_key=Secret("k"))
FULL: dict[str, Any] = {"requests_per_minute": 1}


def changed(first: Config, second: Config) -> tuple[Parts, Parts]:
    before = open_parts(first, CLOCK)
    for name in first.providers:
        now_s = CLOCK.monotonic()
        before.resilience.guards.endpoints.get(name, now_s).force("open", now_s)
        before.limiting.lanes.get(name, "m", b"", now_s)
    return before, open_parts(second, CLOCK, before)


def left_alone_in(parts: Parts) -> list[str]:
    """Providers whose breaker is open."""
    known = parts.resilience.guards.endpoints.items()
    return [name for name, breaker in known if breaker.state == "open"]


def known_lanes(before: Parts, after: Parts) -> list[str]:
    """Providers whose limits go on."""
    names = after.config.providers.keys() & before.config.providers.keys()
    now_s = CLOCK.monotonic()
    both = [[p.limiting.lanes.get(n, "m", b"", now_s) for p in (before, after)] for n in names]
    return sorted(name for name, (one, other) in zip(names, both, strict=True) if one is other)


def test_what_breakers_have_learned_goes_on_when_nothing_they_depend_on_changes() -> None:
    config = Config(providers={"a": KEYED})
    before, after = changed(config, replace(config, cache=CacheConfig(ttl=5.0)))
    assert after.resilience is before.resilience
    assert known_lanes(before, after) == ["a"]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEYED, api_key=Secret("another")),
        replace(KEYED, base_url="http://127.0.0.1:10/v1"),
        replace(KEYED, api_key=Secret(""), api_keys=(Secret("k"),)),
        None,
    ],
    ids=["key", "place", "keys", "gone"],
)
def test_a_provider_that_changes_begins_anew_and_the_others_do_not(
    other: ProviderConfig | None,
) -> None:
    second = {"a": KEYED} | ({} if other is None else {"b": other})
    before, after = changed(Config(providers={"a": KEYED, "b": KEYED}), Config(providers=second))
    assert left_alone_in(after) == ["a"]
    assert left_alone_in(before) == ["a", "b"], "calls under way stay with theirs"
    assert known_lanes(before, after) == ["a"]


@pytest.mark.parametrize(
    "more",
    [
        {"retry": RetryConfig(deadline=5.0)},
        {"breaker": BreakerConfig(calls_min=30)},
        {"providers": {"a": replace(KEYED, total_timeout=900.0), "new": KEYED}},
        {"models": {"m": ModelConfig(reasoning=True)}},
    ],
    ids=["retry", "breaker", "providers", "models"],
)
def test_other_settings_leave_open_what_is_open(more: dict[str, Any]) -> None:
    before, after = changed(
        Config(providers={"a": KEYED}), Config(**{"providers": {"a": KEYED}, **more})
    )
    assert after.resilience is not before.resilience
    assert left_alone_in(after) == ["a"]
    assert known_lanes(before, after) == ["a"]


def test_limits_that_change_begin_anew_and_only_they() -> None:
    first = Config(providers={"a": KEYED, "b": KEYED})
    before, after = changed(
        first, replace(first, providers={"a": KEYED, "b": replace(KEYED, **FULL)})
    )
    assert known_lanes(before, after) == ["a"]
    before, after = changed(first, replace(first, limits=LimitsConfig(concurrency_max=5)))
    assert known_lanes(before, after) == []
    before, after = changed(first, replace(first, limits=LimitsConfig(calls_max=5)))
    assert known_lanes(before, after) == ["a", "b"], "another limit's business"


def test_what_a_client_has_used_of_its_minute_goes_on_under_the_same_limit() -> None:
    def config(per_minute: int, **more: Any) -> Config:
        return Config(limits=LimitsConfig(client_requests_per_minute=per_minute, **more))

    def left(parts: Parts) -> bool:
        now_s = CLOCK.monotonic()
        rate = parts.limiting.clients.get(b"alice", now_s)
        return not isinstance(rate.reserve(0, now_s), Refusal)

    before = open_parts(config(1), CLOCK)
    assert left(before)
    assert not left(open_parts(config(1, queue_max=7), CLOCK, before))
    assert left(open_parts(config(2), CLOCK, before))


def test_lanes_are_told_of_recoveries_after_a_change_too() -> None:
    first = Config(providers={"a": KEYED})
    _, after = changed(first, replace(first, limits=LimitsConfig(concurrency_max=5)))

    async def scene() -> int:
        now_s = CLOCK.monotonic()
        lane = after.limiting.lanes.get("a", "m", b"", now_s)
        assert lane is not None
        after.resilience.guards.force("endpoint", "a", "closed", now_s)
        return lane.concurrency.limit

    assert asyncio.run(scene()) == 1


def test_a_program_does_not_load_the_price_list_by_itself_and_a_server_does() -> None:
    with Runtime(Config(providers={"openai": ProviderConfig()})) as runtime:
        prices = runtime.ledger.prices
        assert not prices.uses_list
        assert not prices.is_pending("openai", "gpt-4o")
        runtime.use_price_list()
        assert prices.is_pending("openai", "gpt-4o")
        assert runtime.successor(runtime.config).ledger.prices.uses_list
