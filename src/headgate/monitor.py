"""A look at the numbers every so often: a line that sums up the window, and alerts.

Whoever is told (a log, a web address) may fail or be slow: the next look comes all the same, and no
call ever waits for it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from headgate.clock import Clock, SystemClock
from headgate.core.watch import (
    Report,
    Thresholds,
    Totals,
    report_of,
    still_raised,
    summary,
    totals_of,
)
from headgate.errors import HeadgateError

EVERY_S = 300.0
_INSTANCES_MAX = 64
_JOIN_S = 10.0
logger = logging.getLogger("headgate.monitor")

Sink = Callable[[Report], None]
Read = Callable[[], Mapping[str, Any]]


class Settings(msgspec.Struct, frozen=True):
    """How a monitor looks, and whom it tells."""

    every_s: float = EVERY_S
    thresholds: Thresholds = Thresholds()
    webhook: str = ""
    """An address that gets a POST for each window with an alert, or after which one is over."""


def settings_of(every_s: float, webhook: str = "", **thresholds: float) -> Settings:
    """Settings by their names: `error_rate`, `hit_rate` (shares) and `calls_min`. Raises
    TypeError for any other, ValueError for a time that is none."""
    if not every_s > 0:
        raise ValueError("every_s must be above 0")
    return Settings(every_s, Thresholds(**thresholds), webhook)  # type: ignore[arg-type]


class Monitor:
    """Looks at `read()`, which returns what `Runtime.stats` does. `sink` is told of each window;
    without one it is logged: the summary as information, an alert as a warning.

    `look` is one look. A thread does so every `every_s` from `start` to `stop`, a task with `run`.
    """

    def __init__(
        self,
        read: Read,
        settings: Settings | None = None,
        *,
        sink: Sink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.last: Report | None = None
        """The window before this moment."""
        self.failures = 0
        """Looks that found nothing, and reports that nobody took."""
        self._read = read
        self._clock = clock or SystemClock()
        self._sinks = [sink or log]
        if self.settings.webhook:
            self._sinks.append(_webhook(self.settings.webhook))
        self._looks: dict[str, _Look] = {}
        self._last_s: float | None = None
        self._raised: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> Report | None:
        """One look: what came since the one before; None for the first one, and where there is
        nothing to see just now."""
        try:
            stats = self._read()
            totals = totals_of(stats)
        except (HeadgateError, OSError, ValueError, LookupError, TypeError) as error:
            self._failed("there is nothing to see just now", error)
            return None
        now_s = self._clock.monotonic()
        process = stats.get("process") or {}
        before = self._before(str(process.get("instance", "")), process.get("uptime_s"), now_s)
        self._note(str(process.get("instance", "")), _Look(now_s, totals))
        if before is None:
            return None
        thresholds, window_s = self.settings.thresholds, now_s - before.at_s
        report = report_of(before.totals, totals, window_s, thresholds, self._raised)
        if before.is_start:
            report = msgspec.structs.replace(report, is_restarted=True)
        self._raised = still_raised(report, self._raised)
        self.last = report
        self._hand_on(report)
        return report

    def _before(self, instance: str, uptime_s: float | None, now_s: float) -> _Look | None:
        """What the window is compared with: the look before at the same process, or nothing at all
        for one that was started since then. Another one of several workers tells nothing yet."""
        known = self._looks.get(instance)
        if known is not None or self._last_s is None:
            return known
        is_new = uptime_s is not None and uptime_s <= now_s - self._last_s
        return _Look(self._last_s, Totals(), is_start=True) if is_new else None

    def _note(self, instance: str, look: _Look) -> None:
        if instance not in self._looks and len(self._looks) >= _INSTANCES_MAX:
            del self._looks[next(iter(self._looks))]
        self._looks[instance] = look
        self._last_s = look.at_s

    def _hand_on(self, report: Report) -> None:
        for sink in self._sinks:
            try:
                sink(report)
            except (HeadgateError, OSError, ValueError) as error:
                self._failed("a report was not taken", error)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures += 1
        # Neither address nor message: both may hold a credential.
        logger.warning("%s (%s)", what, type(error).__name__)

    # Every so often.

    def start(self) -> Self:
        """Looks from a thread of its own, the first time now. Raises RuntimeError the second
        time."""
        self._thread = self._thread or threading.Thread(
            target=self.run_here, name="headgate-monitor", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Looks no more; waits for a look under way. May be called twice, and from any thread."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def run_here(self, times: int = 0) -> None:
        """Looks in this thread until it is stopped, or (above 0) `times` windows were seen."""
        self.look()
        while not self._stop.wait(self.settings.every_s):
            self.look()
            times -= 1
            if times == 0:
                return

    async def run(self) -> None:
        """Looks until it is cancelled, or stopped; never on the event loop itself."""
        while not self._stop.is_set():
            await asyncio.to_thread(self.look)
            await asyncio.sleep(self.settings.every_s)

    def __enter__(self) -> Self:
        return self.start() if self._thread is None else self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Look(NamedTuple):
    at_s: float
    totals: Totals
    is_start: bool = False
    """Nothing was seen: the process was started later."""


def _webhook(url: str) -> Sink:
    """Loaded when there is one: an HTTP client doubles the time that importing headgate takes."""
    sink: Sink = importlib.import_module("headgate.webhook").Webhook(url)
    return sink


def log(report: Report) -> None:
    """Writes a window down: the summary as information, each alert as a warning."""
    logger.info("%s", summary(report))
    for alert in report.alerts:
        logger.warning("%s", alert.text)
    for name in report.resolved:
        logger.info("resolved: %s", name.replace("_", " "))
