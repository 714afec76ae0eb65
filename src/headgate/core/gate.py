"""The gate of one credential: closed for a time when its provider says so. Pure.

Not a breaker: a throttle, a refused key or a quota that is used up are no faults of the target, and
say for how long. Three ladders, each with its own length. Of many calls that hear the same no at
once, the first closes the gate; the others, which were admitted before it closed, do not climb.
Not thread-safe: the caller holds a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from msgspec import Struct

from headgate.core.outcome import OK, Outcome
from headgate.core.permits import Permit, Refusal
from headgate.core.settings import Checked
from headgate.core.splitmix import uniform
from headgate.core.units import Bounds, Seconds

THROTTLE, AUTHENTICATION, QUOTA = "throttle", "authentication", "quota"
LADDERS: Mapping[str, str] = {
    "rate_limit": THROTTLE,
    "authentication": AUTHENTICATION,
    "permission": AUTHENTICATION,
    "quota": QUOTA,
}
"""Reason of an outcome to the ladder it climbs; any other closes nothing."""

# A wait that ends exactly when it was said to must not be a rounding error too short.
_TICK_S = 1e-9
_EXPONENT_MAX = 64
Duration = Annotated[Seconds, Bounds(0, above=True)]


@dataclass(frozen=True)
class GateSettings(Checked):
    """How long a gate closes; each ladder doubles from its first step to its last.

    Raises ConfigError with every number that is out of its range.
    """

    throttle_base_s: Duration = 1.0
    """First step where a 429 says nothing; jittered by half."""
    throttle_max_s: Duration = 60.0
    """Last step of a throttle."""
    authentication_base_s: Duration = 30.0
    """First step after 401 or 403."""
    authentication_max_s: Duration = 900.0
    """Last step after 401 or 403."""
    quota_base_s: Duration = 900.0
    """First step where a quota is used up and no reset is named."""
    quota_max_s: Duration = 86_400.0
    """Last step of a quota."""
    asked_max_s: Duration = 86_400.0
    """A provider's own wait counts up to here; then it is asked again."""


class Closing(Struct, frozen=True):
    """A gate has closed."""

    ladder: str
    reason: str
    at_s: float
    closed_s: float
    """For how long, from `at_s` on."""
    step: int
    """Number of the step on its ladder, from 1."""
    alarm: bool
    """A person has to do something: a key, or a bill."""


class GateMemory(Struct, frozen=True):
    """What a gate takes over a restart: its end in seconds since 1970."""

    ladder: str
    until_epoch_s: float
    step: int


class Gate:
    """The gate of one credential, or of one of its models. `now_s` is monotonic seconds; `seed`
    names its jitter."""

    __slots__ = ("_seed", "_until_s", "closings", "epoch", "ladder", "settings", "step")

    def __init__(self, settings: GateSettings, now_s: float, *, seed: int = 0) -> None:
        self.settings = settings
        self.ladder = ""
        self.step = 0
        self.epoch = 0
        self.closings = 0
        self._until_s = now_s
        self._seed = seed

    def admit(self, now_s: float) -> Permit | Refusal:
        """A permit, or until when the gate is closed. Every permit must come back to `record`."""
        left_s = self._until_s - now_s
        return Refusal(self.ladder, left_s) if left_s > _TICK_S else Permit(self.epoch)

    def record(self, permit: Permit, outcome: Outcome, now_s: float) -> Closing | None:
        """The end of an attempt; the closing, if it closed the gate or closed it for longer. The
        second end of a permit changes nothing."""
        if permit.ended:
            return None
        permit.ended = True
        is_present = permit.epoch == self.epoch
        ladder = LADDERS.get(outcome.reason)
        if ladder is None:
            if outcome.kind == OK and is_present:
                self.ladder, self.step = "", 0
            return None
        step = max(1, self.step + is_present) if ladder == self.ladder else 1
        asked_s = min(outcome.retry_after_s or 0.0, self.settings.asked_max_s)
        # Those who were admitted before the gate closed know nothing new, but a longer wait.
        closed_s = self._length_s(ladder, step, asked_s) if is_present else asked_s
        if now_s + closed_s <= max(self._until_s, now_s):
            return None
        self._until_s = now_s + closed_s
        self.ladder, self.step = ladder, step
        self.epoch += 1
        self.closings += 1
        return Closing(ladder, outcome.reason, now_s, closed_s, step, ladder != THROTTLE)

    def reopen(self, now_s: float) -> None:
        """By hand: the key was replaced, or the bill paid."""
        self.ladder, self.step = "", 0
        self._until_s = now_s
        self.epoch += 1

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until it opens; 0 if it is open."""
        return max(0.0, self._until_s - now_s)

    def is_idle(self, now_s: float) -> bool:
        """Whether nothing would be lost with it: open, and on no ladder, or for so long that
        nobody will come to climb on."""
        settings = self.settings
        longest_s = {
            THROTTLE: settings.throttle_max_s,
            AUTHENTICATION: settings.authentication_max_s,
            QUOTA: settings.quota_max_s,
        }.get(self.ladder, 0.0)
        return now_s - self._until_s >= (longest_s if self.step else 0.0)

    def memory(self, now_s: float, epoch_s: float) -> GateMemory | None:
        """What to keep over a restart; `epoch_s` is seconds since 1970 now. Only a quota lasts that
        long: a key may have been replaced, and a throttle is over."""
        if self.ladder != QUOTA:
            return None
        return GateMemory(QUOTA, epoch_s + self.retry_after_s(now_s), self.step)

    def recall(self, memory: GateMemory, now_s: float, epoch_s: float) -> None:
        """Takes up what was kept. A wrong clock can close the gate for `asked_max_s` at most."""
        left_s = min(memory.until_epoch_s - epoch_s, self.settings.asked_max_s)
        self.ladder, self.step = memory.ladder, memory.step
        self._until_s = now_s + max(0.0, left_s)

    def _length_s(self, ladder: str, step: int, asked_s: float) -> float:
        settings = self.settings
        doubled = 2.0 ** min(step - 1, _EXPONENT_MAX)
        if ladder == AUTHENTICATION:
            own_s = min(settings.authentication_base_s * doubled, settings.authentication_max_s)
            return max(own_s, asked_s)
        if asked_s:
            return asked_s
        if ladder == QUOTA:
            return min(settings.quota_base_s * doubled, settings.quota_max_s)
        jitter = 1.0 - 0.5 * uniform(self._seed, self.closings)
        return jitter * min(settings.throttle_base_s * doubled, settings.throttle_max_s)
