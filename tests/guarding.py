"""For tests of the guards: guards with a clock of their own, and calls to what they guard."""

from __future__ import annotations

from typing import Any

import pytest
from tries import a_call

from headgate.core.allowance import AllowanceSettings
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.gate import GateSettings
from headgate.core.outcome import OUTCOMES, Outcome
from headgate.errors import Refused
from headgate.guards import Guards, GuardSettings, Passage
from headgate.testing import FakeClock
from headgate.types import Call, Headers, Route, Target

GOOD, BAD, SLOW_BAD = OUTCOMES["ok"], OUTCOMES["server_error"], OUTCOMES["first_token_timeout"]
THROTTLED, QUOTA, WRONG_KEY = (OUTCOMES[n] for n in ("rate_limit", "quota", "authentication"))
ALICE: Headers = ((b"authorization", b"Bearer alice"),)
BOB: Headers = ((b"authorization", b"Bearer bob"),)


class Scene:
    """Guards whose clock a test moves; `a` has a key of its own, `b` has none."""

    def __init__(self, **changes: Any) -> None:
        self.clock = FakeClock()
        breaker = BreakerSettings(calls_min=4, open_base_s=8, open_jitter=0, probes_needed=2)
        given: dict[str, Any] = {"breaker": breaker, "own_keys": frozenset({"a"})} | changes
        self.guards = Guards(
            GuardSettings(gate=GateSettings(), allowance=AllowanceSettings(), **given), self.clock
        )

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    def admit(self, call: Call | None = None) -> Passage:
        passage = self.guards.admit(call or a_call(), self.now_s)
        assert passage is not None
        return passage

    def refused(self, call: Call | None = None) -> Refused:
        with pytest.raises(Refused) as raised:
            self.guards.admit(call or a_call(), self.now_s)
        return raised.value

    def call(self, *outcomes: Outcome, call: Call | None = None) -> None:
        for outcome in outcomes:
            self.admit(call).end(outcome, self.now_s)

    def wait_s(self, call: Call | None = None) -> float:
        call = call or a_call()
        return self.guards.wait_s(call, call.target, self.now_s)

    def endpoint(self, provider: str = "a") -> Any:
        return self.guards.endpoints.get(provider, self.now_s)

    def deployment(self, provider: str = "a", model: str = "m") -> Any:
        return self.guards.deployments.get((provider, model), self.now_s)

    def states(self) -> tuple[str, str]:
        return self.endpoint().state, self.deployment().state


def to(provider: str, model: str = "m", key: str = "", **changes: Any) -> Call:
    return a_call(Route(Target(provider, model, key)), **changes)
