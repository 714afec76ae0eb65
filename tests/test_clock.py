"""The clocks: what each reading promises, of the machine's and of the public fake alike."""

from __future__ import annotations

import inspect
import time

import pytest

from headgate.clock import Clock, SystemClock
from headgate.testing import FakeClock


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_a_clock_has_every_reading_of_the_protocol(clock: Clock) -> None:
    names = [name for name, _ in inspect.getmembers(Clock, inspect.isfunction)]
    readings = [name for name in names if not name.startswith("_")]
    assert readings == ["epoch", "monotonic", "random", "wall"]
    for name in readings:
        assert isinstance(getattr(clock, name)(), float)
    assert 0 <= clock.random() < 1


def test_the_monotonic_time_never_decreases() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


def test_the_wall_time_is_the_machines() -> None:
    before = time.time()
    reading = SystemClock().wall()
    assert before <= reading <= time.time()


def test_the_epoch_starts_at_the_wall_time_and_advances_with_the_monotonic_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 40.0)
    clock = SystemClock()
    assert clock.epoch() == 5000.0
    monkeypatch.setattr(time, "perf_counter", lambda: 50.0)
    assert clock.epoch() == 5010.0


def test_a_jump_of_the_wall_clock_does_not_move_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 40.0)
    clock = SystemClock()
    before = clock.epoch()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.epoch() == before


def test_the_epoch_is_the_monotonic_time_and_one_fixed_offset() -> None:
    """The runtime relies on it: it reads one clock on the path of a hit and adds the offset."""
    for clock in (SystemClock(), FakeClock()):
        offset_s = clock.epoch() - clock.monotonic()
        if isinstance(clock, FakeClock):
            clock.advance(7)
            clock.jump_wall(-3600)
        assert clock.epoch() - clock.monotonic() == pytest.approx(offset_s, abs=0.5)


def test_dice_differ() -> None:
    clock = SystemClock()
    assert len({clock.random() for _ in range(100)}) > 90
