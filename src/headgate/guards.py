"""What stands between a call and a target: two breakers, a gate, and the budget of repeats.

Three gates, the narrowest responsible one is charged: the endpoint (a provider), the deployment
(one of its models) and the credential. This file holds their state and knows no layer; it belongs
to the home loop. Registries are bounded: names that clients invent cannot fill memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Self

from msgspec import Struct, structs

from headgate.clock import Clock
from headgate.core.allowance import AllowanceSettings, Budget
from headgate.core.attribution import of_error
from headgate.core.balance import standing
from headgate.core.breaker import CLOSED, FORCED_OPEN, HALF_OPEN, OPEN, PROBING, RELEASED, Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.gate import AUTHENTICATION, LADDERS, Gate, GateSettings
from headgate.core.hedging import Waits
from headgate.core.histogram import BUCKETS, place_coarse
from headgate.core.outcome import (
    CREDENTIAL,
    DEPLOYMENT,
    ENDPOINT,
    OUTCOMES,
    Outcome,
    charged,
    timed,
)
from headgate.core.permits import Permit, Refusal
from headgate.core.registry import Registry
from headgate.guard_refusals import longest_s, refused
from headgate.types import Call, Headers, Invocation, Target

_LOG = logging.getLogger("headgate.guards")

_CLIENTS = "client:"
_DIGEST_CHARS, _SHOWN_CHARS = 16, 200
_TRANSITIONS_MAX = _NAMES_MAX = 4_096
_PLACES_MAX = 256
_OTHERS = "(others)"
"""Stands for all names once so many were counted: clients may invent them."""


class GuardSettings(Struct, frozen=True):
    """How the guards of all targets are set."""

    breaker: BreakerSettings
    gate: GateSettings
    allowance: AllowanceSettings
    is_enabled: bool = True
    guards_callables: bool = False
    own_keys: frozenset[str] = frozenset()
    """Providers with a key of their own: their gates are the operator's, not the client's."""
    reasoning: frozenset[str] = frozenset()
    """Models that are never slow."""


class Place(Struct, frozen=True):
    """What an attempt is about, as the registries name it."""

    endpoint: str
    deployment: tuple[str, str]
    credential: tuple[str, str, str]
    is_own: bool


class Passage:
    """Leave for one attempt. It ends once: later ends change nothing. As a context it ends with
    what is raised inside it, and stays where nothing is."""

    __slots__ = ("_guards", "_has_ended", "_limit_s", "_place", "_slow", "_started_s", "held")

    def __init__(self, guards: Guards, place: Place, limit_s: float | None, now_s: float) -> None:
        self._guards = guards
        self._place = place
        self._limit_s = limit_s
        self._started_s = now_s
        self._slow = False
        self._has_ended = False
        guards.under_way += 1
        self.held: list[tuple[str, Breaker | Gate, Permit]] = []

    def release(self, now_s: float) -> None:
        """Nothing was tried."""
        self._has_ended = True
        self._guards.under_way -= 1
        for _, guard, permit in self.held:
            guard.record(permit, RELEASED, now_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, *rest: object
    ) -> None:
        if error is not None:
            clock = self._guards.clock
            self.end(of_error(error, wall_s=clock.epoch()), clock.monotonic())

    def answer(self, now_s: float) -> None:
        """The first content has come: whether it was slow is known now, and a probe votes."""
        took_s = now_s - self._started_s
        self._slow = self._limit_s is not None and took_s > self._limit_s
        self._limit_s = None
        for gate, guard, permit in self.held:
            if isinstance(guard, Breaker):
                guard.answering(permit, now_s, slow=self._slow and gate == DEPLOYMENT)
                if guard.has_events:
                    self._guards.note(gate, _name_of(gate, self._place), guard)

    def end(self, outcome: Outcome, now_s: float) -> None:
        """The attempt is over."""
        if self._has_ended:
            return
        self._has_ended = True
        self._guards.under_way -= 1
        if self._slow:
            outcome = structs.replace(outcome, slow=True)
        else:
            outcome = timed(outcome, now_s - self._started_s, self._limit_s)
        self._guards.tally(self._place.deployment, outcome, now_s - self._started_s)
        for gate, guard, permit in self.held:
            if isinstance(guard, Breaker):
                guard.record(permit, charged(outcome, gate), now_s)
                if guard.has_events:
                    self._guards.note(gate, _name_of(gate, self._place), guard)
            elif self._place.is_own or LADDERS.get(outcome.reason) != AUTHENTICATION:
                # A client that sends a wrong key may send the right one at once.
                closing = guard.record(permit, outcome, now_s)
                if closing is not None and closing.alarm and self._place.is_own:
                    _LOG.warning("%s: key %s is not used for %.0f s (%s)", self._place.endpoint,
                                 self._place.credential[-1] or "(its only one)", closing.closed_s,
                                 closing.reason)  # fmt: skip
            else:
                guard.record(permit, OUTCOMES["refused"], now_s)


class Guards:
    """The guards of every target, made when they are first needed.

    Numbers of `before` go on, and so does what its guards have learned of every provider but those
    in `changed`; both may be in use for a while.
    """

    def __init__(
        self,
        settings: GuardSettings,
        clock: Clock,
        before: Guards | None = None,
        changed: Collection[str] = (),
    ) -> None:
        self.clock = clock
        self.recovered: Callable[[str, str], None] = _nobody
        """Told the provider, and its model or "", whose breaker has closed after it was open."""
        self._settings = settings
        self._seed = int(clock.random() * 2**53)
        self.under_way = 0
        """Attempts that were admitted and have not ended."""
        self.attempts: Counter[tuple[str, str, str]] = Counter()
        """How attempts ended: by provider, model and reason."""
        self.durations: dict[tuple[str, str, str], list[int]] = {}
        """How long they took, by provider, model and kind of outcome: values in each bucket of
        /metrics, and their sum in us."""
        self.denials: Counter[str] = Counter()
        """Why something was not tried again."""
        self.fallbacks: Counter[str] = Counter()
        """Calls that went on to another target, by the reason of the failure."""
        self.transitions: Counter[tuple[str, str, str, str, str]] = Counter()
        """Changes of state: gate, name of the target, before, after, reason."""
        self.hedges: Counter[str] = Counter()
        """Second attempts, by whether they were sooner."""
        self.retries: Counter[str] = Counter()
        """What was tried again, by the reason of the failure."""
        self.endpoints: Registry[str, Breaker] = Registry(self._breaker, _is_idle)
        self.deployments: Registry[tuple[str, str], Breaker] = Registry(self._breaker, _is_idle)
        self.credentials: Registry[tuple[str, str, str], Gate] = Registry(self._gate, _is_idle)
        self._budgets: Registry[tuple[str, str], Budget] = Registry(
            lambda _, now_s: Budget(settings.allowance, now_s), lambda budget, now_s: True
        )
        self._waits: Registry[tuple[str, str], Waits] = Registry(
            lambda _, now_s: Waits(), lambda waits, now_s: True
        )
        self._unsettled: list[Breaker] = []
        self._places: dict[tuple[Target, Headers, bool], Place] = {}
        if before is not None:
            self._succeed(before, changed)

    def _succeed(self, before: Guards, changed: Collection[str]) -> None:
        self.attempts, self.denials, self.hedges = before.attempts, before.denials, before.hedges
        self.retries, self.fallbacks = before.retries, before.fallbacks
        self.transitions, self.durations = before.transitions, before.durations
        self._unsettled = [
            *self.endpoints.adopt(before.endpoints, lambda provider: provider not in changed),
            *self.deployments.adopt(before.deployments, lambda key: key[0] not in changed),
        ]
        before._unsettled = []  # of two quick reloads the later one's settings hold
        self.credentials.adopt(before.credentials, lambda key: key[0] not in changed)
        self._waits.adopt(before._waits, lambda key: key[0] not in changed)
        if before._settings.allowance == self._settings.allowance:
            self._budgets.adopt(before._budgets, lambda key: key[0] not in changed)

    def _settle(self, now_s: float) -> None:
        """Gives breakers that were taken over the settings of now; on the home loop, as all that
        changes them: who makes these guards may be another thread."""
        for breaker in self._unsettled:
            breaker.reconfigure(self._settings.breaker, now_s)
        self._unsettled = []

    def admit(self, call: Call, now_s: float) -> Passage | None:
        """Leave to ask `call.target`; None for a callable that nothing guards.

        Raises BreakerOpen, and RateLimited for a credential that is throttled or used up.
        """
        settings = self._settings
        if self._unsettled:
            self._settle(now_s)
        is_callable = isinstance(call.request, Invocation)
        if is_callable and not (settings.is_enabled and settings.guards_callables):
            return None
        place = self._place(call, call.target)
        passage = Passage(self, place, self._slow_limit_s(call), now_s)
        if not settings.is_enabled:
            return passage
        if is_callable:
            asked: tuple[tuple[str, Breaker | Gate], ...] = (
                (DEPLOYMENT, self.deployments.get(place.deployment, now_s)),
            )
        else:
            asked = self._asked(place, now_s)
        for gate, guard in asked:
            permit = guard.admit(now_s)
            if isinstance(guard, Breaker) and guard.has_events:
                self.note(gate, _name_of(gate, place), guard)
            if isinstance(permit, Refusal):
                passage.release(now_s)
                wait_s = longest_s(asked, now_s)
                if permit.reason == PROBING:
                    # A probe seldom takes all of its lease: who comes again earlier may find room.
                    wait_s = min(wait_s, settings.breaker.open_base_s)
                raise refused(_name_of(DEPLOYMENT, place), gate, permit.reason, wait_s)
            passage.held.append((gate, guard, permit))
        return passage

    def wait_s(self, call: Call, target: Target, now_s: float) -> float:
        """How long `target` would be refused from now on; 0 if it would be asked. Looks only."""
        if not self._settings.is_enabled:
            return 0.0
        return longest_s(self._asked(self._place(call, target), now_s), now_s)

    def standing(self, target: Target, now_s: float) -> float:
        """How much of its share of calls `target` is to get, as it failed of late: in (0, 1]."""
        endpoint = self.endpoints.get(target.provider, now_s)
        deployment = self.deployments.get((target.provider, target.model), now_s)
        return min(standing(endpoint, now_s), standing(deployment, now_s))

    def is_failing(self, call: Call, now_s: float) -> bool:
        """Whether a breaker of `call.target` would refuse now."""
        if not self._settings.is_enabled:
            return False
        place = self._place(call, call.target)
        breakers = (self.endpoints.get(place.endpoint, now_s),
                    self.deployments.get(place.deployment, now_s))  # fmt: skip
        return any(breaker.retry_after_s(now_s) != 0 for breaker in breakers)

    def force(self, gate: str, name: str, state: str, now_s: float) -> None:
        """Puts the breaker of a provider (`endpoint`, "openai") or of a deployment (`deployment`,
        "openai/gpt-4o") into a state by hand; "reset" makes it as new; a credential's gates
        ("openai/gpt-4o", any key) can only be opened ("reset").

        Raises ValueError for what there is not, and for a state that cannot follow.
        """
        if gate == CREDENTIAL:
            self._reopen(name, state, now_s)
            return
        provider, _, model = name.partition("/")
        found: Breaker | None = {
            ENDPOINT: dict(self.endpoints.items()).get(name),
            DEPLOYMENT: dict(self.deployments.items()).get((provider, model)),
        }.get(gate)
        if found is None:
            raise ValueError(f"no {gate} breaker called {name!r}")
        if state == "reset":
            found.reset(now_s)
        else:
            found.force(state, now_s)
        self.note(gate, name, found)

    def _reopen(self, name: str, state: str, now_s: float) -> None:
        if state != "reset":
            raise ValueError("the gate of a credential can only be reset")
        for (provider, model, _), credential in self.credentials.items():
            if f"{provider}/{model}" == name:
                credential.reopen(now_s)

    def tally(self, deployment: tuple[str, str], outcome: Outcome, took_s: float) -> None:
        """Counts an attempt that has ended, of so many names at most."""
        name = (*deployment, outcome.kind)
        durations = self.durations.get(name)
        if durations is None:
            if len(self.durations) >= _NAMES_MAX:
                name = (deployment[0], _OTHERS, outcome.kind)
            durations = self.durations.setdefault(name, [0] * (BUCKETS + 1))
        durations[place_coarse(took_s * 1000)] += 1
        durations[BUCKETS] += int(took_s * 1_000_000)
        self.attempts[name[0], name[1], outcome.reason] += 1

    def note(self, gate: str, name: str, breaker: Breaker) -> None:
        """Takes down what happened at a breaker, of so many names at most."""
        counted = _OTHERS if len(self.transitions) >= _TRANSITIONS_MAX else name
        for event in breaker.take_events():
            self.transitions[gate, counted, event.before, event.after, event.reason] += 1
            if event.after == OPEN and event.open_s:
                _LOG.warning("%s %a: left alone for %.1f s (%s)", gate, counted[:_SHOWN_CHARS],
                             event.open_s, event.reason)  # fmt: skip
            elif event.after == CLOSED and event.before in (HALF_OPEN, OPEN, FORCED_OPEN):
                _LOG.warning("%s %a: answers again", gate, counted[:_SHOWN_CHARS])
                provider, _, model = name.partition("/")
                self.recovered(provider, model)

    def budget(self, target: Target, now_s: float) -> Budget:
        """The budget of repeats of one deployment."""
        return self._budgets.get((target.provider, target.model), now_s)

    def waits(self, target: Target, now_s: float) -> Waits:
        """How long the answers of one deployment took to begin."""
        return self._waits.get((target.provider, target.model), now_s)

    def _asked(self, place: Place, now_s: float) -> tuple[tuple[str, Breaker | Gate], ...]:
        """Who is asked for leave, the credential's gate first. What a registry had no place for has
        no guard: nobody is refused for what somebody else's key or model was told."""
        credentials, endpoints, deployments = self.credentials, self.endpoints, self.deployments
        gate = credentials.get(place.credential, now_s)
        endpoint = endpoints.get(place.endpoint, now_s)
        deployment = deployments.get(place.deployment, now_s)
        asked: tuple[tuple[str, Breaker | Gate], ...] = (
            (CREDENTIAL, gate), (ENDPOINT, endpoint), (DEPLOYMENT, deployment),
        )  # fmt: skip
        shared = (credentials.shared, endpoints.shared, deployments.shared)
        if shared == (None, None, None):
            return asked
        return tuple(named for named in asked if not any(named[1] is one for one in shared))

    def _place(self, call: Call, target: Target) -> Place:
        request = call.request
        if isinstance(request, Invocation):
            pair = (target.provider, call.model)
            return Place(target.provider, pair, (*pair, target.credential), True)
        known = (target, request.credential, request.send is None)
        return self._places.get(known) or self._remembered_place(*known)

    def _remembered_place(self, target: Target, credential: Headers, is_sent_here: bool) -> Place:
        """Remembered: its digest takes longer than all the rest of an admission."""
        alias, pair = target.credential, (target.provider, target.model)
        is_own = is_sent_here and (bool(alias) or target.provider in self._settings.own_keys)
        alias = alias if is_own else _CLIENTS + _digest(credential)
        if len(self._places) >= _PLACES_MAX:
            self._places.clear()
        place = Place(target.provider, pair, (*pair, alias), is_own)
        return self._places.setdefault((target, credential, is_sent_here), place)

    def _slow_limit_s(self, call: Call) -> float | None:
        settings = self._settings
        if call.settings_name in settings.reasoning:
            return None
        breaker = settings.breaker
        return breaker.slow_first_token_s if call.streamed else breaker.slow_total_s

    def _seed_of(self, key: object) -> int:
        """Another one for each, and the same in a replay: `hash` of a string is not."""
        return self._seed ^ int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8])

    def _breaker(self, key: object, now_s: float) -> Breaker:
        return Breaker(self._settings.breaker, now_s, seed=self._seed_of(key))

    def _gate(self, key: object, now_s: float) -> Gate:
        return Gate(self._settings.gate, now_s, seed=self._seed_of(key))


def _nobody(provider: str, model: str) -> None:
    """Hears of recoveries where nobody else wants to."""


def _name_of(gate: str, place: Place) -> str:
    return place.endpoint if gate == ENDPOINT else "/".join(place.deployment)


def _is_idle(guard: Breaker | Gate, now_s: float) -> bool:
    return guard.is_idle(now_s)


def _digest(credential: tuple[tuple[bytes, bytes], ...]) -> str:
    said = b"\0".join(part for header in credential for part in header)
    return hashlib.sha256(said).hexdigest()[:_DIGEST_CHARS]
