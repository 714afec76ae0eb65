"""Row 28: the clock on the wall jumps by a day, forward or back, while the gateway runs and while
it does not. What is kept lives as long as it was to live, no age is negative, nothing is served
that has expired, and the file that another run wrote is read sanely.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import Got, gate_before
from rawclient import CHAT, MESSAGES, QUESTION

from headgate.layers.settings import CacheConfig
from headgate.testing import FakeClock, FakeProvider

DAY_S = 86_400.0
TTL_S = 3600.0
JUMPS = [DAY_S, -DAY_S, 400 * DAY_S, -400 * DAY_S]
ASKED = {"model": "m", "messages": QUESTION, "max_tokens": 400}


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def persistent(tmp_path: Path) -> CacheConfig:
    return CacheConfig(ttl=TTL_S, persist=True, persist_path=str(tmp_path / "cache.db"))


def age_s(got: Got) -> int:
    """How old the answer says that it is."""
    assert "; hit" in got.headers["cache-status"]
    return int(got.headers["age"])


def ttl_s(got: Got) -> int:
    """How long it says that it lives on."""
    return int(got.headers["cache-status"].partition("ttl=")[2].partition(";")[0])


@pytest.mark.parametrize("jump_s", JUMPS)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_an_answer_lives_as_long_as_it_was_to_live(
    provider: FakeProvider, path: str, jump_s: float
) -> None:
    clock = FakeClock()
    with gate_before(provider, CacheConfig(ttl=TTL_S), clock) as gate:
        gate.post(path, ASKED)
        clock.advance(10)
        clock.jump_wall(jump_s)
        hit = gate.post(path, ASKED)
        assert (age_s(hit), ttl_s(hit)) == (10, TTL_S - 10)
        clock.advance(TTL_S - 11)
        assert age_s(gate.post(path, ASKED)) == TTL_S - 1
        clock.advance(2)
        assert "fwd=" in gate.post(path, ASKED).headers["cache-status"]
    assert len(provider.calls) == 2


@pytest.mark.parametrize("jump_s", JUMPS)
def test_numbers_and_ages_are_never_negative(provider: FakeProvider, jump_s: float) -> None:
    clock = FakeClock()
    with gate_before(provider, CacheConfig(ttl=TTL_S), clock) as gate:
        provider_answers = [gate.post(CHAT, {**ASKED, "model": f"m{n}"}) for n in range(3)]
        assert {got.status for got in provider_answers} == {200}
        clock.jump_wall(jump_s)
        gate.post(CHAT, {**ASKED, "model": "m0"})
        listed = gate.get("/api/admin/cache").json
        entries = listed["entries"] if isinstance(listed, dict) else listed
        assert len(entries) == 3
        ages = [entry[name] for entry in entries for name in entry if "age" in name]
        assert ages
        assert all(age >= 0 for age in ages)
        numbers = gate.stats()["metrics"]["by_model"]["m0"]
        assert all(value >= 0 for value in numbers.values())


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_clock_that_was_set_between_two_runs_makes_nothing_live_for_ever(
    provider: FakeProvider, persistent: CacheConfig, jump_s: float
) -> None:
    """Set forward, what is kept has expired; set back, it was made in the future: it is either no
    answer any more, or one that lives no longer than it was to live."""
    before = FakeClock()
    with gate_before(provider, persistent, before) as gate:
        gate.post(CHAT, ASKED)
    after = FakeClock(wall_s=before.wall() + jump_s)
    with gate_before(provider, persistent, after) as gate:
        got = gate.post(CHAT, ASKED)
        if "; hit" in got.headers["cache-status"]:
            assert jump_s < 0
            assert 0 <= age_s(got) <= TTL_S
            assert 0 <= ttl_s(got) <= TTL_S
        after.advance(TTL_S + 1)
        assert "fwd=" in gate.post(CHAT, ASKED).headers["cache-status"]


def test_a_clock_that_stands_still_between_two_runs_keeps_everything(
    provider: FakeProvider, persistent: CacheConfig
) -> None:
    clock = FakeClock()
    for expected in (1, 1):
        with gate_before(provider, persistent, clock) as gate:
            gate.post(CHAT, ASKED)
        assert len(provider.calls) == expected
