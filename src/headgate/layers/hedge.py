"""A second attempt at another deployment, where the first one takes unusually long to begin.

Off by default. The loser is cancelled, which its breaker ignores; what it had asked for may be
billed all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from headgate.attempts import Tried
from headgate.clock import Clock
from headgate.core.hedging import HedgeBudget, HedgeSettings
from headgate.core.outcome import NOWHERE, OK
from headgate.guards import Guards
from headgate.types import Call, Route

Attempt = Callable[[Route], Awaitable[Tried]]
_Task = asyncio.Future[Tried]
WON, LOST = "won", "lost"


class Hedging:
    """Decides about second attempts, and makes them. Several failures end as the first one's."""

    def __init__(self, settings: HedgeSettings, guards: Guards, clock: Clock) -> None:
        self._settings = settings
        self._guards = guards
        self._clock = clock
        self._budget = HedgeBudget(settings.budget_share)

    async def ask(
        self, call: Call, attempt: Attempt, route: Route, others: list[Route]
    ) -> tuple[Tried, list[Route]]:
        """What `attempt` of `route` came to, or of that one of `others` which was asked meanwhile
        and was sooner; and the routes that were asked, first the one it took. Raises Refused as
        `attempt` does."""
        if not (self._settings.is_enabled and call.repeatable):
            return await attempt(route), [route]
        started_s = self._clock.monotonic()
        tasks: dict[_Task, Route] = {asyncio.ensure_future(attempt(route)): route}
        kept: _Task | None = None
        try:
            winner = await self._race(call, attempt, tasks, others)
            await _let_go([task for task in tasks if task is not winner])
            kept = winner
        finally:
            # The winner too, where the caller left while the loser was ended.
            await _let_go([task for task in tasks if task is not kept])
        taken = tasks[winner]
        if taken is route and _is_good(winner):
            waits = self._guards.waits(route.target, started_s)
            waits.add(self._clock.monotonic() - started_s)
        asked = [taken, *(other for other in tasks.values() if other is not taken)]
        return winner.result(), asked

    async def _race(
        self, call: Call, attempt: Attempt, tasks: dict[_Task, Route], others: list[Route]
    ) -> _Task:
        """The first that has an answer; where none has, the first of all that was not refused."""
        ((first, route),) = tasks.items()
        other = self._other(call, route, others)
        delay_s = self._guards.waits(route.target, self._clock.monotonic()).delay_s(
            self._settings.delay_min_s
        )
        self._budget.deposit()
        if other is not None and delay_s is not None:
            await asyncio.wait({first}, timeout=delay_s)
            if not first.done() and call.allowance.attempts_left > 0 and self._may_ask(other):
                tasks[asyncio.ensure_future(attempt(other))] = other
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                if _is_good(one) or (one is first and _is_last_word(one)):
                    self._count(tasks, has_won=one is not first)
                    return one
        self._count(tasks, has_won=False)
        return next((task for task in tasks if task.exception() is None), first)

    def _may_ask(self, other: Route) -> bool:
        """Whether second attempts, and repeats at this destination, have not been too many."""
        now_s = self._clock.monotonic()
        return self._budget.withdraw() and self._guards.budget(other.target, now_s).withdraw(now_s)

    def _count(self, tasks: dict[_Task, Route], *, has_won: bool) -> None:
        if len(tasks) > 1:
            self._guards.hedges[WON if has_won else LOST] += 1

    def _other(self, call: Call, route: Route, others: list[Route]) -> Route | None:
        """Another deployment of the model that may be asked now."""
        now_s = self._clock.monotonic()
        fitting = (
            other
            for other in others
            if other.role == route.role and other.target.name != route.target.name
        )
        return next((o for o in fitting if not self._guards.wait_s(call, o.target, now_s)), None)


def _is_good(task: _Task) -> bool:
    return task.exception() is None and task.result().outcome.kind == OK


def _is_last_word(task: _Task) -> bool:
    """Whether nobody else would say anything better."""
    return task.exception() is None and task.result().outcome.elsewhere == NOWHERE


async def _let_go(tasks: list[_Task]) -> None:
    """Ends attempts whose answer is not wanted, and lets go of answers that are there."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and task.exception() is None:
            await task.result().aclose()
