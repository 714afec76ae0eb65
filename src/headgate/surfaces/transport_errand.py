"""One request of an SDK on its way: looked up, put through the stack, sent, and answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from headgate.admission import Plan
from headgate.admission_head import Head
from headgate.admission_relay import Address, RelayAdmission, relay_head
from headgate.errors import BadRequest, Closed, HeadgateError
from headgate.runtime import Runtime
from headgate.stream import Whole
from headgate.surfaces.dialect import error_body, error_headers
from headgate.surfaces.provenance import hit_headers, provenance_headers
from headgate.surfaces.transport_library import Library, Routes
from headgate.surfaces.transport_stream import Arriving, Handover, reader_class
from headgate.types import Headers, Reply, WireRequest

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})
"""Of a connection that ends here."""


class Side:
    """One library with its connections on the home loop, which all clients of it share."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.home = Routes(lambda proxy: library.sender(proxy, asynchronous=True))
        self.sync_reader = reader_class(library, asynchronous=False)
        self.async_reader = reader_class(library, asynchronous=True)


class Errand:
    """One request that may be a call: `look` first, then `answer` if it `is_call`."""

    def __init__(
        self,
        runtime: Runtime,
        side: Side,
        admission: RelayAdmission,
        address: Address,
        request: Any,
        proxies: Mapping[str, str],
    ) -> None:
        self.is_call = False
        self._runtime = runtime
        self._side = side
        self._library = side.library
        self._admission = admission
        self._address = address
        self._request = request
        self._proxies = proxies
        self._body = b""
        self._head: Head
        self._plan: Plan
        self._reply: Reply | None = None
        self._received: Headers = ()
        self._is_sent = False
        self._is_answered = False
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        self._read_s = limits.get("read")
        self._limit_s = sum(limit for limit in limits.values() if limit is not None) or None

    def look(self, body: bytes) -> Any:
        """The response from memory, or that of a refusal; None if it has to be asked for."""
        self._body = body
        address = self._address
        try:
            self._head = relay_head(tuple(self._request.headers.raw))
        except BadRequest as error:
            return self._refusal(error)
        try:
            self._plan, entry = self._runtime.find(
                address.operation, self._head, body, address.query, self._admission
            )
        except BadRequest:
            return None  # We cannot tell what it asks; its provider decides.
        self.is_call = True
        if entry is None:
            return None
        runtime = self._runtime
        headers = entry.headers + hit_headers(
            entry, runtime.now_s(), runtime.ledger.saved_usd(entry)
        )
        return self._library.response(entry.status, headers, entry.content)

    def passing(self) -> Any:
        """The request to send past the stack: as it came, but for our own controls."""
        return self._library.request(self._request, self._head.forwarded, self._body)

    def answer(self) -> Any:
        """The response by way of the stack, for a thread that waits. Raises the exceptions of its
        library."""
        try:
            asked = self._begin()
            try:
                reply = self._wait(asked)
                self._is_answered = True
            finally:
                self._end(asked)
        except HeadgateError as error:
            return self._failed(error)
        return self._response(reply, self._side.sync_reader)

    async def aanswer(self) -> Any:
        """As `answer`, in the caller's event loop."""
        try:
            asked = self._begin()
            try:
                reply = await self._await(asked)
                self._is_answered = True
            finally:
                self._end(asked)
        except HeadgateError as error:
            return self._failed(error)
        return self._response(reply, self._side.async_reader)

    def _begin(self) -> Future[Reply]:
        self._sender = self._side.home.to(self._request.url, self._proxies)
        return self._runtime.portal.spawn(self._put_through)

    async def _put_through(self) -> Reply:
        """On the home loop."""
        address = self._address
        query = "?" + address.query.decode("latin-1") if address.query else ""
        call = self._admission.call(
            address.path + query, self._head, self._body, self._plan, self._send, self._company()
        )
        self._reply = await self._runtime.put_through(call)
        return self._reply

    def _company(self) -> bytes:
        """Who is sent together has the same library, proxy and time limits."""
        limits = self._request.extensions.get("timeout")
        return f"{self._library.name} {id(self._sender)} {limits}".encode()

    def _wait(self, asked: Future[Reply]) -> Reply:
        wait((asked,), self._limit_s)
        if not asked.done() and not self._is_sent:
            raise self._library.late()
        # What was sent is bounded by the library's own limits, each for its own stage.
        try:
            return asked.result()
        except CancelledError:
            raise Closed("the runtime was closed during this call") from None

    async def _await(self, asked: Future[Reply]) -> Reply:
        waiting = asyncio.wrap_future(asked)
        await asyncio.wait({waiting}, timeout=self._limit_s)
        if not waiting.done() and not self._is_sent:
            waiting.cancel()
            raise self._library.late()
        return await self._runtime.portal.wait(waiting)

    def _end(self, asked: Future[Reply]) -> None:
        """Cancels what nobody waits for any more, and lets go of a reply that nobody took."""
        if self._is_answered:
            return
        asked.cancel()
        with contextlib.suppress(Closed):
            self._runtime.portal.spawn(self._drop)

    async def _drop(self) -> None:
        if self._reply is not None:
            await self._reply.body.aclose()

    async def _send(self, request: WireRequest) -> Reply:
        """Sends the request on the home loop by its own library. Raises UpstreamFailed, and
        BadRequest for what cannot be sent."""
        self._is_sent = True
        library = self._library
        outgoing = library.request(self._request, request.headers, request.body)
        try:
            response = await self._sender.handle_async_request(outgoing)
        except library.module.RequestError as error:
            raise library.ours(error) from error
        decodes = _accepts(outgoing, response)
        headers = tuple((name.lower(), value) for name, value in response.headers.raw)
        self._received = tuple(
            header
            for header in headers
            if header[0] not in _FRAMING and not (decodes and header[0] == b"content-encoding")
        )
        pieces = response.aiter_bytes() if decodes else response.aiter_raw()
        body = Arriving(response, pieces, library)
        if response.status_code < 400 and self._is_stream():
            return Reply(response.status_code, self._received, body)
        try:
            content = b"".join([piece async for piece in body])
        finally:
            await body.aclose()
        return Reply(response.status_code, self._received, Whole(content))

    def _is_stream(self) -> bool:
        kind = dict(self._received).get(b"content-type", b"")
        return self._plan.streamed or kind.startswith(b"text/event-stream")

    def _response(self, reply: Reply, reader: Any) -> Any:
        provenance = reply.provenance
        borrowed = provenance.hit or provenance.collapsed or provenance.forward == "stale"
        mine = self._is_sent and not borrowed
        headers = self._received if mine else reply.headers
        headers += provenance_headers(provenance, self._plan.key)
        if isinstance(reply.body, Whole):
            return self._library.response(reply.status, headers, reply.body.content)
        handover = Handover(reply.body, self._runtime.portal.spawn)
        limit_s = None if mine else self._read_s
        return self._library.response(
            reply.status, headers, reader(handover, self._library, limit_s)
        )

    def _failed(self, error: HeadgateError) -> Any:
        if self._runtime.portal.is_closed:
            # Whatever it looked like: connections are closed first.
            return self._refusal(Closed("the runtime is closed"))
        theirs = self._library.theirs(error)
        if theirs is not None:
            raise theirs from error
        return self._refusal(error)

    def _refusal(self, error: HeadgateError) -> Any:
        """A refusal of ours as the provider would spell it, so that the SDK raises as usual."""
        body = error_body(self._address.operation, error.status_hint, error.code, error.message)
        return self._library.response(error.status_hint, tuple(error_headers(error)), body)


def _accepts(request: Any, response: Any) -> bool:
    """Whether the library can decode the response: it is in no other encoding than it asked for."""
    asked = {name.partition(";")[0].strip() for name in _names(request, "accept-encoding")}
    return all(name in {*asked, "identity", ""} for name in _names(response, "content-encoding"))


def _names(message: Any, header: str) -> list[str]:
    return [name.strip().lower() for name in message.headers.get(header, "").split(",")]
