"""The breaker against a model of its specification, on virtual time, in any order of events.

The model keeps everything that happened in an epoch and works out the rest when it is asked. Times
are multiples of a quarter of a second and there is no jitter, so both can be compared exactly.
"""

from __future__ import annotations

import copy
import inspect
import math

from breakers import (
    BAD,
    BAD_REQUEST,
    GOOD,
    LEFT,
    LEFT_SLOW,
    PLAIN,
    SLOW,
    SLOW_BAD,
    TIMED_OUT,
    UNREACHED,
)  # fmt: skip
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from headgate.core.breaker import STATES, Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.outcome import Outcome
from headgate.core.permits import Permit, Refusal

OUTCOMES = (
    GOOD, GOOD, SLOW, BAD, BAD, SLOW_BAD, UNREACHED, TIMED_OUT, BAD_REQUEST, LEFT, LEFT_SLOW,
    replace(BAD, retry_after_s=20.0), replace(BAD, retry_after_s=1e9),
)  # fmt: skip
MORE_PROBES = BreakerSettings(
    window_s=10, calls_min=3, fault_ratio=0.7, slow_ratio=0.6, local_faults_in_row=2,
    open_base_s=4, open_min_s=6, open_max_s=40, open_growth=3, open_jitter=0, probes_needed=4,
    probes_at_once=3, probe_lease_s=8,
)  # fmt: skip
IN_A_ROW = BreakerSettings(
    window_s=10, calls_min=6, local_faults_in_row=None, faults_in_row=3, open_base_s=8,
    open_growth=1, open_jitter=0, probes_needed=1, probes_at_once=2, probe_lease_s=24,
)  # fmt: skip


class Model:
    """What the specification says, in at most 60 lines of code."""

    def __init__(self, rules: BreakerSettings, now: float) -> None:
        self.rules, self.state, self.epoch, self.k, self.t_open = rules, "closed", 0, 0, now
        self.renew(now)

    def renew(self, now: float) -> None:
        self.begun, self.log, self.leases, self.votes, self.voters = now, [], {}, [], -1

    def go(self, state: str, now: float) -> None:
        if state == "open":
            survived = self.state == "closed" and now - self.begun >= self.rules.window_s
            self.k, r = 1 if survived else self.k + 1, self.rules
            asked = [at + (o.retry_after_s or 0) - now for at, o in self.log if o.kind == "fault"]
            own_s = r.open_base_s * r.open_growth ** (self.k - 1)
            self.t_open = now + min(max(own_s, r.open_min_s, *asked), r.open_max_s)
        self.state, self.epoch = state, self.epoch + 1
        self.renew(now)

    def pass_time(self, now: float) -> None:
        if self.leases and min(self.leases.values()) <= now:
            self.go("open", min(self.leases.values()))

    def admit(self, now: float, number: int) -> float:
        """Seconds to wait; 0: admitted, inf: nobody knows."""
        self.pass_time(now)
        if self.state == "open" and now >= self.t_open:
            self.go("half_open", now)
        if self.state != "half_open":
            return {"open": self.t_open - now, "forced_open": math.inf}.get(self.state, 0)
        r, taken = self.rules, len(self.leases)
        if taken == min(r.probes_at_once, r.probes_needed - len(self.votes)):
            return min(self.leases.values()) - now
        self.leases[number] = now + r.probe_lease_s
        return 0

    def end(self, permit: Permit, outcome: Outcome, now: float) -> None:
        self.pass_time(now)
        fault, state = outcome.kind == "fault", self.state
        follows = permit.voted and permit.epoch == self.voters and fault
        if state == "disabled" or (permit.epoch != self.epoch and not follows):
            return
        self.leases.pop(permit.probe, None)
        self.log.append((now, outcome))
        counts = state == "closed" and (outcome.slow or outcome.kind != "ignored")
        if (fault and state == "half_open") or (counts and self.is_bad(now - self.begun)):
            self.go("open", now)
        elif outcome.kind == "ok" and state == "half_open" and not permit.voted:
            self.vote(outcome.slow, now)

    def vote(self, slow: bool, now: float) -> None:
        self.votes.append(slow)
        bad, epoch = sum(self.votes) / len(self.votes) >= self.rules.slow_ratio, self.epoch
        if len(self.votes) == self.rules.probes_needed:
            self.go("open" if bad else "closed", now)
            self.voters = -1 if bad else epoch

    def is_bad(self, age: float) -> bool:
        r, seen = self.rules, [o for at, o in self.log if at - self.begun >= math.floor(age) - 9]
        kinds = "".join(o.kind[0] for _, o in self.log).replace("i", "")
        origins = "".join(o.origin[0] for _, o in self.log).replace("s", "")
        faults = [o.kind == "fault" for o in seen if o.kind != "ignored"]
        slow = [o.slow for o in seen if o.slow or o.kind != "ignored"]
        return (
            (len(faults) >= r.calls_min and sum(faults) / len(faults) >= r.fault_ratio)
            or (len(slow) >= r.calls_min and sum(slow) / len(slow) >= r.slow_ratio)
            or len(kinds) - len(kinds.rstrip("f")) >= (r.faults_in_row or math.inf)
            or len(origins) - len(origins.rstrip("l")) >= (r.local_faults_in_row or math.inf)
        )


class Machine(RuleBasedStateMachine):
    """Drives both, and compares them after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.breaker = Breaker(PLAIN, self.now)
        self.model = Model(PLAIN, self.now)
        self.held: list[Permit] = []
        self.ended = self.given = 0

    def ask(self) -> Permit | None:
        """Asks both for leave; the breaker's permit if there is one."""
        answer = self.breaker.admit(self.now)
        number = answer.probe if isinstance(answer, Permit) else -1
        wait_s = self.model.admit(self.now, number)
        if isinstance(answer, Refusal):
            assert answer.retry_after_s == (None if wait_s == math.inf else wait_s)
            self.is_truthful(answer)
            return None
        assert wait_s == 0
        assert (answer.probe > 0) is (self.breaker.state == "half_open")
        self.given += 1
        return answer

    def is_truthful(self, refusal: Refusal) -> None:
        """Who waits as long as it was told is not told the same again; who waits less, is."""
        if refusal.retry_after_s is None:
            return
        assert refusal.retry_after_s >= 0
        after = copy.deepcopy(self.breaker).admit(self.now + refusal.retry_after_s)
        assert isinstance(after, Permit) or after.reason != refusal.reason
        early = copy.deepcopy(self.breaker).admit(self.now + refusal.retry_after_s - 0.25)
        assert isinstance(early, Refusal)

    def finish(self, permit: Permit, outcome: Outcome) -> None:
        """Ends the permit in both."""
        assert not permit.ended
        as_it_was = copy.copy(permit)
        self.breaker.record(permit, outcome, self.now)
        self.model.end(as_it_was, outcome, self.now)
        assert permit.ended
        self.ended += 1

    @rule()
    def admit(self) -> None:
        permit = self.ask()
        if permit is not None:
            self.held.append(permit)

    @precondition(lambda self: self.held)
    @rule(place=st.integers(0, 99), outcome=st.sampled_from(OUTCOMES), again=st.booleans())
    def end(self, place: int, outcome: Outcome, again: bool) -> None:
        permit = self.held.pop(place % len(self.held))
        self.finish(permit, outcome)
        if again:
            self.breaker.record(permit, BAD, self.now)
            self.breaker.answering(permit, self.now)

    @rule(outcomes=st.lists(st.sampled_from(OUTCOMES), max_size=8))
    def whole_calls(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            permit = self.ask()
            if permit is not None:
                self.finish(permit, outcome)

    @precondition(lambda self: self.held)
    @rule(place=st.integers(0, 99), slow=st.booleans())
    def first_content(self, place: int, slow: bool) -> None:
        permit = self.held[place % len(self.held)]
        self.breaker.answering(permit, self.now, slow=slow)
        model = self.model
        model.pass_time(self.now)
        if permit.epoch == model.epoch and model.leases.pop(permit.probe, None) is not None:
            assert permit.voted
            model.vote(slow, self.now)

    @rule(quarters=st.integers(0, 40))
    def some_time_passes(self, quarters: int) -> None:
        self.now += quarters / 4

    @rule(extra=st.sampled_from([-0.25, 0, 0.25]))
    def time_passes_until_it_would_change(self, extra: float) -> None:
        self.now += max(0, (self.breaker.retry_after_s(self.now) or 0) + extra)

    @rule(state=st.sampled_from(STATES))
    def force(self, state: str) -> None:
        before = self.model
        before.pass_time(self.now)
        may = state != "half_open" or before.state in ("open", "forced_open", "half_open")
        try:
            self.breaker.force(state, self.now)
        except ValueError:
            assert not may
            return
        assert may
        self.model.k = 0 if state == "closed" else self.model.k
        self.model.go(state, self.now)

    @rule(rules=st.sampled_from([PLAIN, MORE_PROBES, IN_A_ROW]))
    def reconfigure(self, rules: BreakerSettings) -> None:
        self.breaker.reconfigure(rules, self.now)
        model = self.model
        if rules != model.rules:
            model.pass_time(self.now)
            model.rules, model.epoch = rules, model.epoch + 1
            model.t_open = min(model.t_open, self.now + rules.open_max_s)
            model.renew(self.now)

    @invariant()
    def both_are_in_the_same_state(self) -> None:
        breaker, model = self.breaker, self.model
        assert (breaker.state, breaker.epoch) == (model.state, model.epoch)
        assert breaker.probes_in_flight == len(model.leases)
        assert breaker.opens_in_row == model.k or breaker.state == "closed"

    @invariant()
    def probes_stay_inside_their_limits(self) -> None:
        in_flight, rules = self.breaker.probes_in_flight, self.breaker.settings
        assert in_flight <= rules.probes_at_once
        assert in_flight + len(self.model.votes) <= rules.probes_needed

    @invariant()
    def every_permit_ends_exactly_once(self) -> None:
        assert self.given == self.ended + len(self.held)
        assert not any(permit.ended for permit in self.held)


Machine.TestCase.settings = settings(max_examples=200, stateful_step_count=60)
TestTheBreakerDoesWhatItsModelDoes = Machine.TestCase


def test_the_model_is_short_enough_to_be_believed() -> None:
    lines = [line for line in inspect.getsource(Model).splitlines() if line.strip()]
    docstrings = [line for line in lines if line.strip().startswith('"""')]
    assert len(lines) - len(docstrings) <= 60
