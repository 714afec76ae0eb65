"""The monitor: what it makes of each window, and how it begins, goes on and stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import Any

import pytest
import virtualtime
from oracle import until

from headgate.core.watch import ERROR_RATE, HIT_RATE, Report, Thresholds
from headgate.errors import HeadgateError
from headgate.monitor import EVERY_S, Monitor, Settings, settings_of
from headgate.runtime import Runtime
from headgate.testing import FakeClock


class Gateway:
    """Numbers that a test sets; `calls` of them fail or are hits, the others are misses."""

    def __init__(self) -> None:
        self.instance = "one"
        self.uptime_s = 1e6
        self.error: Exception | None = None
        self.calls = self.errors = self.hits = 0

    def came(self, calls: int, errors: int = 0, hits: int = 0) -> None:
        self.calls, self.errors, self.hits = (
            self.calls + calls, self.errors + errors, self.hits + hits,
        )  # fmt: skip

    def restart(self) -> None:
        self.instance, self.uptime_s = "another", 0.0
        self.calls = self.errors = self.hits = 0

    def stats(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        metrics = {"total_calls": self.calls, "total_errors": self.errors, "by_model": {},
                   "cache_hits": self.hits, "cache_misses": self.calls - self.hits}  # fmt: skip
        process = {"instance": self.instance, "uptime_s": self.uptime_s}
        return {"metrics": metrics, "cost": {}, "process": process}


class Scene:
    """A gateway, and a monitor whose windows a test lets pass."""

    def __init__(self, **settings: Any) -> None:
        self.gateway, self.clock = Gateway(), FakeClock()
        self.reports: list[Report] = []
        self.monitor = Monitor(
            self.gateway.stats, Settings(**settings), sink=self.reports.append, clock=self.clock
        )

    def window(self, calls: int = 0, **more: int) -> Report | None:
        self.gateway.came(calls, **more)
        self.clock.advance(300)
        return self.monitor.look()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def alerts(report: Report | None) -> list[str]:
    assert report is not None
    return [alert.name for alert in report.alerts]


def test_the_first_look_says_nothing_and_the_second_is_a_window(scene: Scene) -> None:
    assert scene.window(1_000, errors=900) is None
    report = scene.window(100, errors=1, hits=50)
    assert report is not None
    assert (report.window_s, report.totals.calls, report.totals.errors) == (300, 100, 1)
    assert report.alerts == ()
    assert (scene.reports, scene.monitor.last) == ([report], report)


def test_old_errors_do_not_hide_new_ones_nor_raise_an_alert_again(scene: Scene) -> None:
    scene.window(1_000_000, hits=1_000_000)
    assert alerts(scene.window(100, errors=6, hits=60)) == [ERROR_RATE]
    assert alerts(scene.window(100, hits=10)) == [HIT_RATE]
    good = scene.window(100, hits=90)
    assert good is not None
    assert (good.alerts, good.resolved) == ((), (HIT_RATE,))


def test_thresholds_and_floor_can_be_set() -> None:
    scene = Scene(thresholds=Thresholds(0.5, 0.0, 3))
    scene.window()
    assert alerts(scene.window(2, errors=2)) == []
    assert alerts(scene.window(100, errors=50)) == []
    assert alerts(scene.window(4, errors=3)) == [ERROR_RATE]


def test_a_gateway_that_was_started_anew_is_noticed(scene: Scene) -> None:
    scene.window(50)
    scene.gateway.restart()
    scene.gateway.uptime_s = 100
    report = scene.window(80, errors=40, hits=40)
    assert report is not None
    assert (report.is_restarted, report.totals.calls, alerts(report)) == (True, 80, [ERROR_RATE])
    after = scene.window(20, hits=20)
    assert after is not None
    assert not after.is_restarted


def test_another_worker_is_no_restart_and_has_windows_of_its_own(scene: Scene) -> None:
    scene.window(50)
    scene.gateway.instance, scene.gateway.calls = "two", 5_000
    assert scene.window() is None
    report = scene.window(10)
    assert report is not None
    assert (report.is_restarted, report.totals.calls) == (False, 10)


def test_a_gateway_that_does_not_answer_is_told_and_asked_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.window(50)
    for error in (HeadgateError("secret words"), OSError(), KeyError("metrics")):
        scene.gateway.error = error
        assert scene.window() is None
    assert scene.monitor.failures == 3
    assert "secret words" not in caplog.text
    scene.gateway.error = None
    report = scene.window(30)
    assert report is not None
    assert (report.window_s, report.totals.calls) == (1_200, 30)


def test_a_sink_that_fails_hurts_nobody(scene: Scene) -> None:
    def fail(report: Report) -> None:
        raise OSError("no")

    told: list[Report] = []
    scene.monitor._sinks = [fail, told.append]
    scene.window()
    report = scene.window(5)
    assert told == [report]
    assert scene.monitor.failures == 1


def test_without_a_sink_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headgate.monitor")
    gateway, clock = Gateway(), FakeClock()
    monitor = Monitor(gateway.stats, clock=clock)
    for errors in (0, 100, 0):
        gateway.came(100, errors=errors, hits=50)
        clock.advance(300)
        monitor.look()
    lines = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "headgate.monitor"
    ]
    assert lines[1] == ("WARNING", "error rate 100.0% is above 5% (100 of 100 calls)")
    assert [level for level, _ in lines] == ["INFO", "WARNING", "INFO", "INFO"]
    assert lines[3] == ("INFO", "resolved: error rate")


def test_a_thread_looks_until_it_is_stopped() -> None:
    before = set(threading.enumerate())
    with Runtime() as runtime:
        seen: list[Report] = []
        monitor = runtime.monitor(every_s=0.01, sink=seen.append, calls_min=1)
        until(lambda: len(seen) >= 2, "two windows")
        assert begun_since(before)
        monitor.stop()
        monitor.stop()
        assert not begun_since(before)


def test_as_a_context_it_stops_at_the_end() -> None:
    before = set(threading.enumerate())
    scene = Scene(every_s=1e6)
    with scene.monitor as monitor:
        until(lambda: monitor._looks, "the first look")
        assert begun_since(before)
    assert not begun_since(before)


def begun_since(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads of monitors; those of another test may still be there, or end meanwhile."""
    return [one for one in {*threading.enumerate()} - before if one.name == "headgate-monitor"]


def test_a_task_looks_every_so_often_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(every_s=300)

    async def here(work: Any) -> Any:
        scene.clock.advance(300)
        return work()

    # Virtual time does not pass for threads.
    monkeypatch.setattr(asyncio, "to_thread", here)

    async def watch() -> None:
        task = asyncio.create_task(scene.monitor.run())
        await asyncio.sleep(3_599)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    _, took_s = virtualtime.run(watch())
    assert (took_s, len(scene.reports)) == (3_599, 11)


def test_the_async_form_of_a_runtime_looks_and_can_be_cancelled() -> None:
    async def watch() -> int:
        seen: list[Report] = []
        async with Runtime() as runtime:
            task = asyncio.create_task(runtime.amonitor(0.01, sink=seen.append))
            while not seen:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return len(seen)

    assert asyncio.run(watch()) >= 1


def test_settings_have_names_and_bounds() -> None:
    assert settings_of(EVERY_S) == Settings()
    chosen = settings_of(60, error_rate=0.1, hit_rate=0.2, calls_min=5)
    assert chosen == Settings(60, Thresholds(0.1, 0.2, 5))
    with pytest.raises(ValueError, match="above 0"):
        settings_of(0)
    with pytest.raises(TypeError):
        settings_of(60, hitrate=1)
