"""For tests of the breaker: one with a clock of its own, and outcomes by name."""

from __future__ import annotations

from headgate.core.breaker import RELEASED, Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.outcome import FAULT, IGNORED, LOCAL, OK, REMOTE, SILENT, Outcome
from headgate.core.permits import Permit, Refusal

GOOD = Outcome(OK, "ok")
SLOW = Outcome(OK, "ok", slow=True)
BAD = Outcome(FAULT, "server_error", REMOTE)
SLOW_BAD = Outcome(FAULT, "server_error", REMOTE, slow=True)
UNREACHED = Outcome(FAULT, "unreachable", LOCAL, sent=False)
TIMED_OUT = Outcome(FAULT, "total_timeout", SILENT)
BAD_REQUEST = Outcome(IGNORED, "bad_request", REMOTE)
LEFT = Outcome(IGNORED, "left", SILENT)
LEFT_SLOW = Outcome(IGNORED, "left", SILENT, slow=True)

# Small and exact: buckets of a second, no jitter.
PLAIN = BreakerSettings(
    window_s=10,
    calls_min=4,
    fault_ratio=0.5,
    slow_ratio=0.75,
    open_base_s=8,
    open_max_s=64,
    open_jitter=0,
    probes_needed=2,
    probe_lease_s=16,
)


class Driven:
    """A breaker whose time passes when `wait` says so. It starts at 1000, not at 0."""

    def __init__(self, settings: BreakerSettings = PLAIN, *, seed: int = 0) -> None:
        self.now_s = 1000.0
        self.breaker = Breaker(settings, self.now_s, seed=seed)

    @property
    def state(self) -> str:
        return self.breaker.state

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def admit(self) -> Permit:
        """A permit; fails where there is none."""
        answer = self.breaker.admit(self.now_s)
        assert isinstance(answer, Permit), answer
        return answer

    def refused(self) -> Refusal:
        """A refusal; fails where there is none."""
        answer = self.breaker.admit(self.now_s)
        assert isinstance(answer, Refusal), answer
        return answer

    def end(self, permit: Permit, outcome: Outcome = RELEASED) -> None:
        self.breaker.record(permit, outcome, self.now_s)

    def call(self, *outcomes: Outcome) -> None:
        """Calls one after the other, each with this outcome."""
        for outcome in outcomes:
            self.end(self.admit(), outcome)

    def open(self) -> None:
        """Opens it by what calls are like."""
        self.call(*[BAD] * self.breaker.settings.calls_min)
        assert self.state == "open"

    def half_open(self) -> Permit:
        """Opens it, waits, and takes the first probe."""
        self.open()
        self.wait(self.refused().retry_after_s or 0)
        probe = self.admit()
        assert self.state == "half_open"
        return probe

    def told(self) -> list[str]:
        """Transitions since the last time as `closed>open:reason`, other events by kind."""
        events = self.breaker.take_events()
        return [
            f"{e.before}>{e.after}:{e.reason}" if e.kind == "transition" else e.kind for e in events
        ]
