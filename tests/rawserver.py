"""A TCP server that does what its script says, byte for byte: for the faults that no HTTP server
would make. The script is a coroutine that is given each connection as a `Peer`."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = b"5\r\nhello\r\n"
LAST = b"0\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
# Closing with this set sends a reset instead of an end of file.
_NO_LINGER = struct.pack("ii", 1, 0)


class Peer:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.is_quiet = asyncio.Event()
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """Head and body of the next request. Raises IncompleteReadError if the client leaves."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        declared = _LENGTH.search(head)
        return head + await self._reader.readexactly(int(declared[1]) if declared else 0)

    async def send(self, *pieces: bytes, every_s: float = 0.0) -> None:
        """Sends each piece by itself, `every_s` apart."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(every_s)

    async def leaves(self) -> None:
        """Returns when the client has closed or reset the connection; says nothing until then."""
        self.is_quiet.set()
        while await self._reader.read(65536):
            pass

    def reset(self) -> None:
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
        )
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class RawServer:
    """`async with RawServer(script) as server`: serves on 127.0.0.1; a connection is closed when
    its script returns."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.accepted = 0
        self.open = 0
        self._script = script
        self._tls = tls
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._begin, "127.0.0.1", 0, ssl=self._tls, limit=2**20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def quiet(self) -> None:
        """Waits until the next connection's script has nothing more to say, and for its bytes to
        be read."""
        await (await self._peers.get()).is_quiet.wait()
        await asyncio.sleep(0.02)

    async def closed(self, within_s: float = 10.0) -> None:
        """Waits until no connection is open. Raises TimeoutError: the client holds on to one."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: not self.open)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        peer = Peer(reader, writer)
        self._peers.put_nowait(peer)
        try:
            await self._script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            async with self._changed:
                self.open -= 1
                self._changed.notify_all()


def saying(*pieces: bytes, every_s: float = 0.0) -> Script:
    """Answers one request with these bytes, then closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces, every_s=every_s)

    return script


def holding(*pieces: bytes) -> Script:
    """Answers one request with these bytes, then says nothing until the client leaves."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        await peer.leaves()

    return script


def resetting(*pieces: bytes) -> Script:
    """Answers one request with these bytes, then resets the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces, every_s=0.02)
        peer.reset()

    return script


async def serving(peer: Peer) -> None:
    """A well-behaved server that keeps connections open."""
    while True:
        await peer.request()
        await peer.send(OK)


def certificate(folder: Path, *, host: str = "127.0.0.1", is_expired: bool = False) -> Path:
    """A file with a fresh key and its self-signed certificate for `host`; one that is expired was
    valid for a day in 2020."""
    file = folder / f"certificate-{host}-{is_expired}.pem"
    name = "IP" if host[0].isdigit() else "DNS"
    settings = folder / "openssl.cnf"
    settings.write_text(_AUTHORITY.format(folder=folder, name=f"{name}:{host}"))
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    dates = ["20200101000000Z", "20200102000000Z" if is_expired else "20400101000000Z"]
    key, asked = folder / "key.pem", folder / "asked.pem"
    _openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes", "-subj",
             f"/CN={file.stem}", "-keyout", str(key), "-out", str(asked))  # fmt: skip
    _openssl("ca -batch -selfsign -notext", "-config", str(settings), "-in",
             str(asked), "-keyfile", str(key), "-startdate", dates[0], "-enddate", dates[1],
             "-out", str(file))  # fmt: skip
    file.write_text(key.read_text() + file.read_text())
    return file


_AUTHORITY = """[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = {name}
"""


def _openssl(command: str, *more: str) -> None:
    subprocess.run(["openssl", *command.split(), *more], check=True, capture_output=True)


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
