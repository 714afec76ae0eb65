"""The outermost layer: counts every call, its latency and its failure. Tokens are booked where an
answer comes in, in `fill`."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from headgate.account import Account
from headgate.calllog import CallLog
from headgate.clock import Clock
from headgate.core.verdict import exception_error, is_callers_mistake, status_error
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.stream import Tap, Value, Whole
from headgate.types import Call, Layer, Reply, Service

_LEFT = (asyncio.CancelledError, GeneratorExit)


def observe(metrics: Metrics, clock: Clock, ledger: Ledger, calls: CallLog | None = None) -> Layer:
    """Records a call when its reply ends: at once for a whole answer, at the last chunk (or the
    break, or the reader's leaving) for a stream. Then it is booked, too, and goes into the log."""

    def layer(below: Service) -> Service:
        async def service(call: Call) -> Reply:
            started_s = clock.monotonic()
            account = ledger.open(call)
            entry = _Entry(calls, call, account, started_s)
            try:
                reply = await below(replace(call, account=account))
            except BaseException as error:
                account.failed(error)
                _failed(metrics, call, clock.monotonic() - started_s, error)
                entry.close(error)
                raise
            entry.answered(reply)
            if isinstance(reply.body, Whole | Value):
                _finished(metrics, call, clock.monotonic() - started_s, reply)
                priced = account.answered(reply)
                entry.close(None)
                return priced

            def on_end(error: BaseException | None) -> None:
                elapsed_s = clock.monotonic() - started_s
                account.finished(reply, error)
                entry.close(error)
                if error is None:
                    _finished(metrics, call, elapsed_s, reply)
                else:
                    _failed(metrics, call, elapsed_s, error)

            tap = Tap(reply.body, on_end)
            return Reply(
                reply.status, reply.headers, tap, reply.usage, reply.provenance, reply.tier
            )

        return service

    return layer


class _Entry:
    """One call in the log, where there is one."""

    __slots__ = ("_account", "_call", "_calls", "_record")

    def __init__(
        self, calls: CallLog | None, call: Call, account: Account, started_s: float
    ) -> None:
        self._calls = calls if calls is not None and calls.is_on else None
        self._call, self._account = call, account
        if self._calls is not None:
            self._record = self._calls.open(call, account, started_s)

    def answered(self, reply: Reply) -> None:
        if self._calls is not None:
            self._calls.answered(self._record, reply)

    def close(self, error: BaseException | None) -> None:
        if self._calls is not None:
            self._calls.close(self._record, self._call, self._account.end, error)


def _finished(metrics: Metrics, call: Call, elapsed_s: float, reply: Reply) -> None:
    if reply.provenance.hit:
        metrics.record_hit(call.model, elapsed_s * 1000)
        return
    metrics.record_call(call.model, elapsed_s * 1000, miss=_consulted(call))
    if reply.status >= 400 and not is_callers_mistake(reply.status):
        metrics.record_error(call.model, status_error(reply.status))


def _failed(metrics: Metrics, call: Call, elapsed_s: float, error: BaseException) -> None:
    metrics.record_call(call.model, elapsed_s * 1000, miss=_consulted(call))
    if not isinstance(error, _LEFT):
        metrics.record_error(call.model, exception_error(error))


def _consulted(call: Call) -> bool:
    return not call.bypass and call.controls.may_read
