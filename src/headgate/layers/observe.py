"""The outermost layer: counts every call, its latency and its failure. Tokens are booked where an
answer comes in, in `fill`."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from headgate.account import Account
from headgate.calllog import CallLog
from headgate.clock import Clock
from headgate.core.series import CANCELLED, FAILED, FOLLOWER, REFUSED, STALE, UPSTREAM
from headgate.core.verdict import exception_error, is_callers_mistake, status_error
from headgate.errors import Refused
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.stream import Tap, Value, Whole
from headgate.types import Call, Invocation, Layer, Reply, Service

STALE_DETAIL = "stale-if-error"
"""What the cache writes into the provenance of a stale answer that stands in."""
_FAILS = 400
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

            if reply.status < _FAILS and not reply.provenance.hit:
                # The attempt has waited for the first content before it handed the stream on.
                metrics.record_first_chunk(call.model, (clock.monotonic() - started_s) * 1000)

            def on_end(error: BaseException | None) -> None:
                elapsed_s = clock.monotonic() - started_s
                account.finished(reply, error)
                entry.close(error)
                if error is None or _is_delivered(reply, error):
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


def _is_delivered(reply: Reply, error: BaseException) -> bool:
    """Whether a client that left had all of the answer."""
    return isinstance(error, GeneratorExit) and getattr(reply.body, "is_delivered", False)


def _finished(metrics: Metrics, call: Call, elapsed_s: float, reply: Reply) -> None:
    origin, latency_ms = reply.provenance, elapsed_s * 1000
    if origin.detail == STALE_DETAIL:
        miss = _consulted(call) and not origin.hit
        metrics.record_call(call.model, latency_ms, miss=miss, result=STALE)
    elif origin.hit:
        metrics.record_hit(call.model, latency_ms)
    elif reply.status >= _FAILS:
        _refused(metrics, call, latency_ms, reply.status)
    else:
        result = FOLLOWER if origin.collapsed else UPSTREAM
        metrics.record_call(call.model, latency_ms, miss=_consulted(call), result=result)


def _refused(metrics: Metrics, call: Call, latency_ms: float, status: int) -> None:
    """The provider has answered, and the answer is a failure."""
    model = _label(metrics, call)
    metrics.record_call(model, latency_ms, miss=_consulted(call), result=FAILED)
    if is_callers_mistake(status):
        metrics.record_mistake(model)
    else:
        metrics.record_error(model, status_error(status))


def _failed(metrics: Metrics, call: Call, elapsed_s: float, error: BaseException) -> None:
    model, refused = _label(metrics, call), isinstance(error, Refused)
    result = CANCELLED if isinstance(error, _LEFT) else REFUSED if refused else FAILED
    metrics.record_call(model, elapsed_s * 1000, miss=_consulted(call), result=result)
    if result != CANCELLED:
        metrics.record_error(model, exception_error(error), refused=refused)


def _label(metrics: Metrics, call: Call) -> str:
    """The model of a call that has failed: what a client of the gateway has misspelt is no row.
    What a program asks for itself is."""
    request = call.request
    is_own = isinstance(request, Invocation) or request.send is not None
    return call.model if is_own else metrics.known(call.model)


def _consulted(call: Call) -> bool:
    return not call.bypass and call.controls.may_read
