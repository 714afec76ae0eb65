"""A client's connection that is given up when its reader does not come along.

uvicorn waits for ever for a client to read: its answer, the buffers under it and the provider's
connection would wait too. Nothing else is looked at here.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Paced(HttpToolsProtocol):
    """Cuts the connection when what was to be written could not be for `write_s` seconds.

    The transport tells when more than 64 KB wait for the client, and when a quarter of it is left:
    an answer that is read, however slowly it comes, costs two calls for each of these.
    """

    write_s = 60.0
    _gives_up: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The client does not read: its time begins."""
        super().pause_writing()
        self._gives_up = self.loop.call_later(self.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        self._stays()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._stays()
        super().connection_lost(exc)

    def _stays(self) -> None:
        if self._gives_up is not None:
            self._gives_up.cancel()
            self._gives_up = None
