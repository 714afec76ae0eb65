"""The transport below the official SDKs: their requests go through the Runtime of this process.

A request is looked up in the caller's own thread; a miss goes to the home loop and out by the
library that it came in by. What is no call passes, untouched, in the caller's thread or loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any, NoReturn
from urllib.request import getproxies

from headgate.admission_relay import Address, RelayAdmission, address_of
from headgate.runtime import Runtime
from headgate.surfaces.transport_errand import Errand, Side
from headgate.surfaces.transport_library import Library, Routes, library_of

ADDRESSES_MAX = 32


class Sdks:
    """The SDK side of one runtime: its libraries, their connections, and the addresses asked."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._lock = threading.Lock()
        self._sides: dict[str, Side] = {}
        self._admissions: dict[tuple[object, ...], RelayAdmission] = {}

    def client(self, asynchronous: bool, library: str) -> Any:
        """A client of that library, as `Runtime.http_client` describes it."""
        return self.side(library).library.client(self.transport(), asynchronous=asynchronous)

    def transport(self) -> Transport:
        """For a client of any library, sync or async."""
        return Transport(self)

    def side(self, name: str) -> Side:
        """What belongs to one library; loaded when first asked for."""
        side = self._sides.get(name)
        if side is None:
            with self._lock:
                side = self._sides.setdefault(name, Side(Library(name)))
        return side

    def admission(self, address: Address) -> RelayAdmission:
        """Remembered, with the plans it made, for the addresses last met first."""
        known = (address.kind, address.base_url, address.model, address.is_streamed)
        admission = self._admissions.get(known)
        if admission is None:
            admission = RelayAdmission(self.runtime.config, address)
            with self._lock:
                while len(self._admissions) >= ADDRESSES_MAX:
                    del self._admissions[next(iter(self._admissions))]
                self._admissions[known] = admission
        return admission

    async def aclose(self) -> None:
        """Closes connections; on the home loop."""
        for side in [*self._sides.values()]:
            for sender in side.home:
                await sender.aclose()


class Transport:
    """A transport of either library, for sync and async clients alike: it looks at the request."""

    def __init__(self, sdks: Sdks) -> None:
        self._sdks = sdks
        self._portal = sdks.runtime.portal
        self._process_id = os.getpid()
        # The environment of this moment, as a client of the library's own would have read it.
        self._proxies = getproxies()
        self._direct: dict[tuple[str, bool], Routes[Any]] = {}

    def handle_request(self, request: Any) -> Any:
        """As `BaseTransport.handle_request` of the request's library."""
        errand = self._errand(request)
        if errand is None:
            return self._past(request, asynchronous=False).handle_request(request)
        response = errand.look(request.read())
        if response is not None:
            return response
        if errand.is_call and not self._portal.is_home():
            return errand.answer()
        # A sync client stops the loop it is used in; on the home loop its answer would never come.
        request = errand.passing()
        return self._past(request, asynchronous=False).handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        """As `AsyncBaseTransport.handle_async_request` of the request's library."""
        errand = self._errand(request) if _in_asyncio() else None
        if errand is None:
            return await self._past(request, asynchronous=True).handle_async_request(request)
        response = errand.look(await request.aread())
        if response is not None:
            return response
        if errand.is_call:
            return await errand.aanswer()
        request = errand.passing()
        return await self._past(request, asynchronous=True).handle_async_request(request)

    def close(self) -> None:
        """Closes the connections of what passed; the runtime and its own stay open."""
        for (_, asynchronous), routes in self._direct.items():
            for sender in () if asynchronous else routes:
                sender.close()

    async def aclose(self) -> None:
        """As `close`, for an async client."""
        for (_, asynchronous), routes in self._direct.items():
            for sender in routes if asynchronous else ():
                await sender.aclose()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a transport is not pickled: make one in each process")

    def _errand(self, request: Any) -> Errand | None:
        if os.getpid() != self._process_id:
            raise RuntimeError("this client was made before a fork: make one in each process")
        side = self._sdks.side(library_of(request))
        headers = tuple((name.lower(), value) for name, value in request.headers.raw)
        address = address_of(request.method, str(request.url), headers)
        if address is None:
            return None
        admission = self._sdks.admission(address)
        return Errand(self._sdks.runtime, side, admission, address, request, self._proxies)

    def _past(self, request: Any, *, asynchronous: bool) -> Any:
        """The library's own sender for what is no call, made for this client alone."""
        known = (library_of(request), asynchronous)
        routes = self._direct.get(known)
        if routes is None:
            library = self._sdks.side(known[0]).library
            made = Routes(lambda proxy: library.sender(proxy, asynchronous=asynchronous))
            routes = self._direct.setdefault(known, made)
        return routes.to(request.url, self._proxies)


def _in_asyncio() -> bool:
    """Whether asyncio runs the caller; trio, say, cannot wait for the home loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
