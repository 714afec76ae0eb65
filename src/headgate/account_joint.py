"""The account of a request that goes upstream for several calls: each is booked its part.

Looks to the layers below like the account of one call. Attempts are kept until it is known which of
them brought the answer; one that ends later was for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from headgate.account import Account
from headgate.core.apportion import Sums, usage_parts
from headgate.core.booking import Attempt, answer_of
from headgate.core.money import Price
from headgate.core.outcome import Outcome
from headgate.trail import Trail, Try
from headgate.types import Reply, Usage


class JointAccount:
    """Of `owners`, the accounts of those whose inputs these are, one for each input; what was
    counted is shared out by `weights`, as the reply is."""

    def __init__(self, owners: Sequence[Account], weights: Sequence[int]) -> None:
        self._owners = owners
        self._weights = weights
        self._attempts: list[Attempt] = []
        self._is_over = False
        self._calls = list({id(owner): owner for owner in owners}.values())
        trails = [owner.trail for owner in self._calls if owner.trail is not None]
        self.trail: JointTrail | None = JointTrail(trails) if trails else None

    def tried(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        if self._is_over:
            self._share(attempt)
        else:
            self._attempts.append(attempt)

    def billed(self, attempt: Attempt) -> int | None:
        """As `Account.billed`: what its parts are booked as together."""
        parts = [owner.billed(part) for owner, part in self._parts(attempt)]
        return None if None in parts else sum(part for part in parts if part is not None)

    async def standard_price(self, target: str) -> Price | None:
        """As `Account.standard_price`."""
        return await self._calls[0].standard_price(target)

    def over(self, reply: Reply | None) -> None:
        """The request has ended, without a reply where it is None; may be told again."""
        attempts, self._attempts = self._attempts, []
        self._is_over = True
        target = None if reply is None else reply.provenance.target
        answer = None if target is None else answer_of(attempts, target)
        for number, attempt in enumerate(attempts):
            self._share(replace(attempt, is_answer=number == answer))

    def _share(self, attempt: Attempt) -> None:
        for owner, part in self._parts(attempt):
            owner.tried(part)

    def _parts(self, attempt: Attempt) -> list[tuple[Account, Attempt]]:
        usages = self._by_call(usage_parts(attempt.usage, self._weights))
        estimates = self._by_call(usage_parts(attempt.estimate, self._weights))
        return [
            (owner, replace(attempt, usage=usages[id(owner)], estimate=estimates[id(owner)]))
            for owner in self._calls
        ]

    def _by_call(self, parts: Sequence[Usage]) -> dict[int, Usage]:
        sums = {id(owner): Sums() for owner in self._calls}
        for owner, part in zip(self._owners, parts, strict=True):
            sums[id(owner)].add(part)
        return {name: one.total for name, one in sums.items()}


class JointTrail:
    """Writes down in the trail of each call what happens to all of them."""

    def __init__(self, trails: Sequence[Trail]) -> None:
        self._trails = trails

    def begin(self, target: str) -> list[Try]:
        """As `Trail.begin`."""
        return [trail.begin(target) for trail in self._trails]

    def first(self, attempt: list[Try]) -> None:
        """As `Trail.first`."""
        for trail, one in zip(self._trails, attempt, strict=True):
            trail.first(one)

    def end(self, attempt: list[Try], outcome: Outcome, reply: Reply | None) -> None:
        """As `Trail.end`."""
        for trail, one in zip(self._trails, attempt, strict=True):
            trail.end(one, outcome, reply)
