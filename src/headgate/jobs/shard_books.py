"""What answers of a batch cost and save, and where else they are written down: the ledger of this
process, and the cache, from which the next who asks the same is answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, NamedTuple

from headgate.core.booking import ANSWER, AT_RISK, AVOIDED_BATCH, Row
from headgate.core.money import Price, Tokens, cost_nanos, times, tokens_of
from headgate.core.verdict import tier_in, usage_in
from headgate.errors import Unpriced
from headgate.jobs.asking import Asker
from headgate.jobs.disk import Disk
from headgate.jobs.limits import BatchLimits
from headgate.jobs.model import Item, Settled, Shard
from headgate.jobs.shard_plan import read_lines
from headgate.jobs.states import SUCCEEDED
from headgate.runtime import Runtime
from headgate.stream import Whole
from headgate.types import NO_USAGE, Call, Provenance, Reply, Target, Usage

TIER = "batch"
_HEADERS = ((b"content-type", b"application/json"),)


class Paid(NamedTuple):
    """What one answer came to; None: nobody knows the price."""

    usage: Usage
    cost_nanos: int | None
    saved_nanos: int


class Books:
    """Of one job. On the home loop of `runtime`."""

    def __init__(
        self, runtime: Runtime, disk: Disk, asker: Asker, file: BinaryIO, limits: BatchLimits,
        purse: Any = None,
    ) -> None:  # fmt: skip
        self._runtime, self._disk, self._asker = runtime, disk, asker
        self._file, self._limits, self._purse = file, limits, purse

    @asynccontextmanager
    async def reserved(self, target: Target, items: Sequence[Item]) -> AsyncIterator[None]:
        """While these are in a batch, the budget of the key that made the job is reserved for them.
        Raises SpendExhausted, and Unpriced where nobody knows what they take of it."""
        purse = self._purse
        if purse is None:
            yield
            return
        await self.know_price(target.provider, target.model)
        usage = Usage(tokens_in=sum(item.tokens_estimated for item in items))
        cost = self._batch_nanos(target.provider, target.model, usage, "")[0]
        if cost is None and not purse.takes_unpriced:
            raise Unpriced(f"nobody knows what a batch of {target.name} costs")
        hold = purse.reserve(cost or 0)
        try:
            yield
        finally:
            purse.release(hold)

    async def know_price(self, provider: str, model: str) -> None:
        """Waits for the table of prices where it must."""
        await self._runtime.off_loop(lambda: self._runtime.ledger.prices.resolve(provider, model))

    def paid(self, shard: Shard, body: bytes) -> Paid:
        """What the provider bills for an answer, and what it would have billed besides outside of a
        batch."""
        usage, tier = usage_in(body), tier_in(body)
        if usage is NO_USAGE:
            return Paid(usage, 0, 0)
        usual = "" if tier == TIER else tier
        batch, whole = self._batch_nanos(shard.provider, shard.model, usage, usual)
        saved_nanos = 0 if whole is None or batch is None else max(0, whole - batch)
        return Paid(usage, batch, saved_nanos)

    def _batch_nanos(
        self, provider: str, model: str, usage: Usage, tier: str
    ) -> tuple[int | None, int | None]:
        """What a usage costs in a batch, and outside of one."""
        prices = self._runtime.ledger.prices
        whole = _cost(prices.price(provider, model, tier), usage)
        batch = _cost(prices.price(provider, model, tier, batch=True), usage)
        if batch is None and whole is not None:
            batch = times(whole, self._limits.price_factor)
        return batch, whole

    async def book(self, ended: Sequence[tuple[Item, Settled]]) -> None:
        """Writes down items that have ended, after they were kept for good: what is lost of this in
        a crash is an entry of the cache, and a row of sums that begin anew with each process."""
        good = {item.custom_id: one for item, one in ended if one.state == SUCCEEDED}
        if self._purse is not None:
            spent_nanos = sum(one.cost_nanos or 0 for one in good.values())
            self._purse.settle(self._purse.reserve(0), spent_nanos)
        items = [item for item, _ in ended if item.custom_id in good]
        for item, line in await self._disk.do(lambda _: read_lines(self._file, items)):
            call = self._asker.call_of(line)
            if call is not None:
                settled = good[item.custom_id]
                await self._keep(call, settled)
                self._runtime.ledger.book(self._runtime.ledger.name(), call, rows_of(settled))

    async def _keep(self, call: Call, settled: Settled) -> None:
        made = Provenance(attempts=1, target=settled.target)
        reply = Reply(settled.status_code, _HEADERS, Whole(settled.body), NO_USAGE, made)

        async def answered(_: Call) -> Reply:
            return reply

        await self._runtime.fill(answered)(call)


def rows_of(settled: Settled) -> list[Row]:
    """The rows of an answer that a batch has brought: billed, and besides what the batch has
    avoided, which has no tokens of its own; what was perhaps billed before is at risk."""
    tokens = tokens_of(settled.usage)
    rows = [Row(ANSWER, settled.target, tokens, settled.cost_nanos, tier=TIER)]
    if settled.saved_batch_nanos:
        saved_nanos = settled.saved_batch_nanos
        rows.append(Row(AVOIDED_BATCH, settled.target, Tokens(), saved_nanos, tier=TIER))
    if settled.at_risk_nanos:
        risk_nanos = settled.at_risk_nanos
        rows.append(Row(AT_RISK, settled.target, tokens, risk_nanos, is_estimated=True, tier=TIER))
    return rows


def _cost(price: Price | None, usage: Usage) -> int | None:
    return None if price is None else cost_nanos(price, tokens_of(usage))
