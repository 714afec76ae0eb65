"""A circuit breaker as a state machine that is told the time. Pure; the caller holds a lock.

CLOSED admits; OPEN refuses until its time is over; HALF_OPEN admits a few probes. FORCED_OPEN,
DISABLED and METRICS_ONLY are set by hand. Each change of state begins a new epoch; a permit carries
the epoch it was given in, and a result from an older one changes nothing: a call admitted before
the breaker opened cannot decide what a probe is for.

State is a function of what happened and of time alone, not of who looks when: a probe whose lease
ran out unnoticed failed at the moment its lease ended.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from headgate.core.breaker_settings import BreakerSettings
from headgate.core.outcome import FAULT, IGNORED, LOCAL, OK, REMOTE, SILENT, Outcome
from headgate.core.permits import Counts, Event, Permit, Refusal
from headgate.core.splitmix import uniform
from headgate.core.window import CountWindow, TimeWindow, Window

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
FORCED_OPEN, DISABLED, METRICS_ONLY = "forced_open", "disabled", "metrics_only"
STATES = (CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED, METRICS_ONLY)

PROBING = "probing"
"""Reason of a refusal in HALF_OPEN: every probe is taken. Elsewhere the reason is the state."""

RELEASED = Outcome(IGNORED, "released", SILENT)
"""The outcome of a permit that goes back unused."""

EVENTS_MAX = 64
"""Events kept for `take_events`; older ones are dropped and counted."""

# Who waits as long as it was told, in several steps, must not come a rounding error too early.
_TICK_S = 1e-9
_EXPONENT_MAX = 64


class Breaker:
    """One breaker. `now_s` is monotonic seconds everywhere; `seed` names its jitter."""

    __slots__ = (
        "_events", "_fault_row", "_local_row", "_needed", "_not_before_s", "_openings", "_probes",
        "_probes_given", "_seed", "_since_s", "_slow_votes", "_until_s", "_voters_epoch", "_votes",
        "_warned", "counts", "epoch", "opens_in_row", "settings", "state", "window",
    )  # fmt: skip
    _not_before_s: float
    _probes: dict[int, float]
    _warned: tuple[str, ...]

    def __init__(
        self, settings: BreakerSettings, now_s: float, *, seed: int = 0, state: str = CLOSED
    ) -> None:
        self.settings = settings
        self._needed = settings.calls_needed
        self._fault_row = 0
        self.state = state
        self.epoch = 0
        self.opens_in_row = 0
        self.window = _window_of(settings, now_s)
        self.counts = Counts()
        self._events: deque[Event] = deque()
        self._seed = seed
        self._openings = 0
        self._since_s = now_s
        self._until_s = now_s
        self._voters_epoch = -1
        self._forget()

    # Every attempt.

    def admit(self, now_s: float) -> Permit | Refusal:
        """A permit, or why not. Every permit must come back to `record`."""
        if self.state == CLOSED:
            return Permit(self.epoch)
        if self.state == DISABLED or self.state == METRICS_ONLY:
            return Permit(self.epoch)
        if self.state == FORCED_OPEN:
            return self._refuse(FORCED_OPEN, None)
        self._end_leases(now_s)
        if self.state == OPEN:
            wait_s = self._until_s - now_s
            if wait_s > _TICK_S:
                return self._refuse(OPEN, wait_s)
            self._enter(HALF_OPEN, now_s, "open_time_over")
        return self._admit_probe(now_s)

    def record(self, permit: Permit, outcome: Outcome, now_s: float) -> None:
        """The end of an attempt. The second end of a permit, and one of an older epoch, are counted
        and change nothing."""
        if permit.ended:
            self.counts.repeated += 1
            return
        permit.ended = True
        if self.state == HALF_OPEN:
            self._end_leases(now_s)
        if permit.epoch != self.epoch:
            self._record_late(permit, outcome, now_s)
        elif self.state == HALF_OPEN:
            self._record_probe(permit, outcome, now_s)
        elif self.state != DISABLED:
            self._record_call(outcome, now_s)

    def answering(self, permit: Permit, now_s: float, *, slow: bool = False) -> None:
        """The first content of a streamed probe has come: it votes now and makes way for the next.

        A stream may last for minutes, and nobody else would be admitted meanwhile. A fault later on
        still counts: against HALF_OPEN, or in the window of the CLOSED that this vote led to.
        """
        if self.state != HALF_OPEN:
            return
        self._end_leases(now_s)
        is_first = not (permit.ended or permit.voted)
        if is_first and permit.epoch == self.epoch and permit.probe in self._probes:
            del self._probes[permit.probe]
            permit.voted = True
            self._vote(slow, now_s)

    # By hand.

    def force(self, state: str, now_s: float, reason: str = "manual") -> None:
        """Puts the breaker into a state, which begins anew if it is the present one.

        Raises ValueError for a name that is no state, and for HALF_OPEN from a state that has not
        refused before: probes are what comes after OPEN.
        """
        if state not in STATES:
            raise ValueError(f"no state of a breaker: {state!r}")
        self._end_leases(now_s)
        if state == HALF_OPEN and self.state not in (OPEN, FORCED_OPEN, HALF_OPEN):
            raise ValueError(f"cannot go from {self.state} to half_open")
        if state == OPEN:
            self._open(now_s, reason)
            return
        if state == CLOSED:
            self.opens_in_row = 0
        self._enter(state, now_s, reason)

    def reset(self, now_s: float) -> None:
        """CLOSED, with an empty window, as if it had just been made; `counts` go on."""
        self.force(CLOSED, now_s, "reset")
        self._tell("reset", now_s, CLOSED, "reset")

    def reconfigure(self, settings: BreakerSettings, now_s: float) -> None:
        """Other settings from now on. The state stays; what was counted in it begins anew, because
        numbers gathered under other limits say nothing. Another lease is for probes to come."""
        counts_go_on = replace(settings, probe_lease_s=self.settings.probe_lease_s) == self.settings
        self._end_leases(now_s)
        self.settings = settings
        if counts_go_on:
            return
        self._needed = settings.calls_needed
        self.window = _window_of(settings, now_s)
        self._until_s = min(self._until_s, now_s + settings.open_max_s)
        self.epoch += 1
        self._fault_row = 0
        self._voters_epoch = -1
        self._forget()

    # Looking.

    def retry_after_s(self, now_s: float) -> float | None:
        """What a call refused now would be told; 0 where it would not be refused for being early,
        None in FORCED_OPEN."""
        if self.state == FORCED_OPEN:
            return None
        if self.state == OPEN:
            return max(0.0, self._until_s - now_s)
        return (
            self._lease_left_s(now_s) if self.state == HALF_OPEN and not self._has_room() else 0.0
        )

    def is_idle(self, now_s: float) -> bool:
        """Whether nothing would be lost with this breaker: CLOSED, nothing in its window, and not
        just recovered; or refusing by itself, and for a window nobody has asked who would not have
        been refused."""
        if self.state in (OPEN, HALF_OPEN):
            self._end_leases(now_s)
            quiet_since_s = max(self._until_s, self._since_s)
            return not self._probes and now_s - quiet_since_s >= self.settings.window_s
        if self.state != CLOSED:
            return False
        self.window.refresh(now_s)
        empty = self.window.calls + self.window.slow_only == 0
        return empty and (not self.opens_in_row or self.window.has_passed(now_s))

    def open_s(self, now_s: float) -> float:
        """Seconds spent in OPEN and FORCED_OPEN so far."""
        refusing = self.state in (OPEN, FORCED_OPEN)
        return self.counts.open_s + (max(0.0, now_s - self._since_s) if refusing else 0.0)

    @property
    def faults_in_row(self) -> int:
        """Faults since the last success, over openings and probes too."""
        return self._fault_row

    @property
    def probes_in_flight(self) -> int:
        return len(self._probes)

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def take_events(self) -> tuple[Event, ...]:
        """What happened since the last time, in order; at most `EVENTS_MAX`."""
        events = tuple(self._events)
        self._events.clear()
        return events

    # CLOSED and METRICS_ONLY.

    def _record_call(self, outcome: Outcome, now_s: float) -> None:
        counts, window = self.counts, self.window
        if outcome.kind == OK:
            counts.ok += 1
            self._local_row = self._fault_row = 0
            window.add(now_s, False, outcome.slow)
            if outcome.slow:
                counts.slow += 1
        elif outcome.kind == FAULT:
            self._record_fault(outcome, now_s)
        elif not self._counts_ignored(outcome, now_s):
            return
        # Most calls stop here: without a fault or a slow call there is nothing to weigh.
        if (window.faults or window.slow) and (reason := self._why_open()):
            self._trip(reason, now_s)

    def _counts_ignored(self, outcome: Outcome, now_s: float) -> bool:
        """Whether an outcome without a vote enters the window: only as slow."""
        self.counts.ignored += 1
        if outcome.origin == REMOTE:
            self._local_row = 0
        if outcome.slow:
            self.counts.slow += 1
            self.window.add_slow(now_s)
        return outcome.slow

    def _record_fault(self, outcome: Outcome, now_s: float) -> None:
        self.counts.faults += 1
        self.counts.slow += outcome.slow
        self._fault_row += 1
        if outcome.origin == LOCAL:
            self._local_row += 1
        elif outcome.origin == REMOTE:
            self._local_row = 0
        if outcome.retry_after_s:
            self._not_before_s = max(self._not_before_s, now_s + outcome.retry_after_s)
        self.window.add(now_s, True, outcome.slow)

    def _why_open(self) -> str:
        """The first rule that says so, "" if none does."""
        settings, window = self.settings, self.window
        if settings.faults_in_row and self._fault_row >= settings.faults_in_row:
            return "faults_in_row"
        if settings.local_faults_in_row and self._local_row >= settings.local_faults_in_row:
            return "local_faults_in_row"
        needed = self._needed
        if window.calls >= needed and window.faults / window.calls >= settings.fault_ratio:
            return "fault_ratio"
        timed = window.calls + window.slow_only
        if timed >= needed and window.slow / timed >= settings.slow_ratio:
            return "slow_ratio"
        return ""

    def _trip(self, reason: str, now_s: float) -> None:
        if self.state == CLOSED:
            self._open(now_s, reason)
        elif reason not in self._warned:
            self._warned += (reason,)
            self._tell("would_open", now_s, self.state, reason)

    # OPEN and HALF_OPEN.

    def _admit_probe(self, now_s: float) -> Permit | Refusal:
        if not self._has_room():
            return self._refuse(PROBING, self._lease_left_s(now_s))
        self._probes_given += 1
        self._probes[self._probes_given] = now_s + self.settings.probe_lease_s
        return Permit(self.epoch, self._probes_given)

    def _has_room(self) -> bool:
        taken = len(self._probes)
        settings = self.settings
        return taken < settings.probes_at_once and taken + self._votes < settings.probes_needed

    def _lease_left_s(self, now_s: float) -> float:
        return max(0.0, min(self._probes.values()) - now_s)

    def _end_leases(self, now_s: float) -> None:
        """A probe that has not come back in time is a fault, at the moment its lease ended."""
        if self.state != HALF_OPEN or not self._probes:
            return
        ended_s = min(self._probes.values())
        if now_s - ended_s >= -_TICK_S:
            self.counts.probes_lost += 1
            self._tell("probe_lost", ended_s, HALF_OPEN, "probe_lost")
            self._open(ended_s, "probe_lost")

    def _record_probe(self, permit: Permit, outcome: Outcome, now_s: float) -> None:
        self._probes.pop(permit.probe, None)
        if outcome.kind == FAULT:
            self.counts.faults += 1
            self.counts.slow += outcome.slow
            self._fault_row += 1
            if outcome.retry_after_s:
                self._not_before_s = max(self._not_before_s, now_s + outcome.retry_after_s)
            self._open(now_s, "probe_failed")
        elif outcome.kind == OK:
            if not permit.voted:
                self._vote(outcome.slow, now_s)
        elif not permit.voted:
            self.counts.ignored += 1

    def _vote(self, slow: bool, now_s: float) -> None:
        self.counts.ok += 1
        self.counts.slow += slow
        self._fault_row = 0
        self._votes += 1
        self._slow_votes += slow
        if self._votes < self.settings.probes_needed:
            return
        if self._slow_votes / self._votes >= self.settings.slow_ratio:
            self._open(now_s, "probes_slow")
            return
        voters_epoch = self.epoch
        self._enter(CLOSED, now_s, "probes_passed")
        self._voters_epoch = voters_epoch

    def _record_late(self, permit: Permit, outcome: Outcome, now_s: float) -> None:
        follows = permit.voted and permit.epoch == self._voters_epoch
        if not follows:
            self.counts.late += 1
        elif outcome.kind == FAULT:
            self._record_call(outcome, now_s)

    # Changes of state.

    def _open(self, now_s: float, reason: str) -> None:
        survived = self.state == CLOSED and self.window.has_passed(now_s)
        self.opens_in_row = 1 if survived else self.opens_in_row + 1
        open_s = self._open_time_s(now_s)
        self._until_s = now_s + open_s
        self._enter(OPEN, now_s, reason, open_s)

    def _open_time_s(self, now_s: float) -> float:
        """Base x growth^(openings in a row - 1) x jitter, at least what Retry-After asked for,
        inside the limits."""
        settings = self.settings
        exponent = min(self.opens_in_row - 1, _EXPONENT_MAX)
        self._openings += 1
        jitter = 1.0 - settings.open_jitter * uniform(self._seed, self._openings)
        growth = float(settings.open_growth**exponent)
        own_s = settings.open_base_s * growth * jitter
        asked_s = self._not_before_s - now_s
        return min(max(own_s, asked_s, settings.open_min_s), settings.open_max_s)

    def _enter(self, state: str, now_s: float, reason: str, open_s: float = 0.0) -> None:
        before, self.state = self.state, state
        self.epoch += 1
        if before in (OPEN, FORCED_OPEN):
            self.counts.open_s += max(0.0, now_s - self._since_s)
        self._since_s = now_s
        self._voters_epoch = -1
        if state not in (OPEN, HALF_OPEN):
            self._fault_row = 0
        self.window.clear(now_s)
        self._forget()
        if state != before:
            self.counts.transitions += 1
            self._tell("transition", now_s, before, reason, open_s)

    def _forget(self) -> None:
        """What belongs to one epoch only."""
        self._local_row = 0
        self._votes = self._slow_votes = self._probes_given = 0
        self._probes = {}
        self._not_before_s = 0.0
        self._warned = ()

    def _refuse(self, reason: str, retry_after_s: float | None) -> Refusal:
        self.counts.refused += 1
        return Refusal(reason, retry_after_s)

    def _tell(self, kind: str, at_s: float, before: str, reason: str, open_s: float = 0.0) -> None:
        if len(self._events) == EVENTS_MAX:
            self._events.popleft()
            self.counts.events_dropped += 1
        self._events.append(Event(kind, at_s, before, self.state, reason, self.epoch, open_s))


def _window_of(settings: BreakerSettings, now_s: float) -> Window:
    if settings.window_calls is not None:
        return CountWindow(settings.window_calls)
    return TimeWindow(settings.window_s, now_s)
