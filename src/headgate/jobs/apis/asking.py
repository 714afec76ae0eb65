"""Requests to a batch API over the project's own wire: bounded tries, a Retry-After obeyed, and no
try that could do something twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from headgate.clock import Clock
from headgate.core.backoff import BackoffSettings, header_map, retry_after_s, wait_s
from headgate.errors import HeadgateError, UpstreamFailed, UpstreamGarbled
from headgate.jobs.apis.base import Refused, Uncertain, Vanished
from headgate.providers.http import credentials_of, redactor_of, root_of
from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import Upload, Wire, WireLimits, WireReply
from headgate.types import Headers

TRIES = 6
"""Of one request that fails by itself."""
CROWDED_TRIES = 30
"""Of one that is put off (429): for a quarter of an hour at least."""
WAIT_MAX_S = 600.0
"""A longer Retry-After is cut to this."""
_CONTROL_BYTES_MAX = 16_000_000
_RESULTS_BYTES_MAX = 2**40
_TRANSFER_S = 3600.0
_NOT_FOUND = (404, 410)
_CROWDED = 429
_FAILS, _THEIRS = 400, 500
_MESSAGE_CHARS = 500
_BACKOFF = BackoffSettings(backoff_base_s=0.5, backoff_max_s=60.0)
_JSON = ((b"content-type", b"application/json"),)


class Patience(NamedTuple):
    """How long it is tried."""

    tries: int = TRIES
    crowded_tries: int = CROWDED_TRIES
    backoff: BackoffSettings = _BACKOFF


class _Error(msgspec.Struct):
    message: str | None = ""
    code: str | None = ""
    type: str | None = ""


class _Failure(msgspec.Struct):
    error: _Error | None = None


class Asking:
    """One provider. Belongs to one event loop."""

    def __init__(
        self,
        config: ProviderConfig,
        wire: Wire,
        clock: Clock,
        headers: Headers = (),
        patience: Patience = Patience(),
    ) -> None:
        self._wire, self._clock, self._patience = wire, clock, patience
        self._root = root_of(config)
        self._headers = headers + next(iter(credentials_of(config).values()), ())
        self.redact = redactor_of(config)
        """Takes our credentials out of what a provider says: it quotes them in errors."""
        self._limits = WireLimits(
            connect_s=config.connect_timeout,
            first_byte_s=max(config.first_byte_timeout, _TRANSFER_S),
            idle_s=config.idle_timeout,
            total_s=_TRANSFER_S,
            reply_max_bytes=_CONTROL_BYTES_MAX,
        )

    async def do(
        self,
        method: str,
        path: str,
        body: bytes | Upload = b"",
        headers: Headers = _JSON,
        *,
        is_repeatable: bool = True,
    ) -> Any:
        """The JSON of the reply. Raises Vanished (404), Refused, Uncertain (where it is not
        repeatable and may have been done) and UpstreamFailed."""
        failed = crowded = 0
        while True:
            try:
                return await self._once(method, path, body, headers)
            except _PutOff as off:
                crowded += off.status == _CROWDED
                failed += off.status != _CROWDED
                may_be_done = off.status >= _THEIRS
                error: HeadgateError = UpstreamFailed(off.message)
                after_s = off.after_s
            except UpstreamFailed as raised:
                failed += 1
                may_be_done, error, after_s = raised.sent, raised, None
            if may_be_done and not is_repeatable:
                raise Uncertain(error.message) from error
            if failed >= self._patience.tries or crowded >= self._patience.crowded_tries:
                raise error
            await self._wait(failed + crowded - 1, after_s)

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[WireReply]:
        """A reply whose body is read as it comes. Raises as `do`; a body that breaks off is up to
        the reader."""
        limits = msgspec.structs.replace(self._limits, reply_max_bytes=_RESULTS_BYTES_MAX)
        reply = await self._wire.send("GET", self._root + path, self._headers, b"", limits)
        try:
            if reply.status >= _FAILS:
                self._fail(reply, await reply.read())
            yield reply
        finally:
            await reply.aclose()

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def _once(self, method: str, path: str, body: bytes | Upload, headers: Headers) -> Any:
        sent = headers if body else ()
        reply = await self._wire.send(
            method, self._root + path, sent + self._headers, body, self._limits
        )
        try:
            content = await reply.read()
        finally:
            await reply.aclose()
        if reply.status >= _FAILS:
            self._fail(reply, content)
        try:
            return msgspec.json.decode(content)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise UpstreamGarbled("the batch API did not answer with JSON") from None

    def _fail(self, reply: WireReply, content: bytes) -> None:
        """Raises what a status says."""
        message = self._told(reply.status, content)
        if reply.status in _NOT_FOUND:
            raise Vanished(message)
        if reply.status == _CROWDED or reply.status in (408, 409, 425) or reply.status >= _THEIRS:
            headers = header_map(reply.headers)
            raise _PutOff(reply.status, message, retry_after_s(headers, self._clock.wall()))
        raise Refused(message)

    def _told(self, status: int, content: bytes) -> str:
        try:
            error = msgspec.json.decode(self.redact(content), type=_Failure).error
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            error = None
        said = (error.message or error.code or error.type) if error is not None else ""
        return f"status {status}: {(said or 'no reason given')[:_MESSAGE_CHARS]}"

    async def _wait(self, retries: int, after_s: float | None) -> None:
        after_s = None if after_s is None else min(after_s, WAIT_MAX_S)
        chance = self._clock.random()
        await asyncio.sleep(wait_s(self._patience.backoff, retries, chance, after_s))


class _PutOff(UpstreamFailed):
    """The provider says: not now, or that it failed."""

    def __init__(self, status: int, message: str, after_s: float | None) -> None:
        super().__init__(message)
        self.status, self.after_s = status, after_s
