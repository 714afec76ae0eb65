"""What the client library would do by itself and must not, and what exactly goes over the wire."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from rawserver import OK, Peer, RawServer, Script, certificate, saying, server_tls

from headgate.errors import BadRequest, UpstreamTimeout, UpstreamUnreachable
from headgate.providers.wire import Upload, WireLimits, WireReply
from headgate.providers.wire_aiohttp import AiohttpWire
from headgate.types import Headers

LIMITS = WireLimits(connect_s=5, first_byte_s=5, idle_s=5, total_s=5)

# Run by itself: the library reads the certificates it trusts once, when it is imported.
TRUSTING = """
import asyncio, sys
from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import WireLimits
from headgate.providers.wire_client import open_wire

async def main():
    wire = open_wire(ProviderConfig())
    reply = await wire.send("POST", sys.argv[1], (), b"{}", WireLimits())
    sys.stdout.buffer.write(await reply.read())
    await reply.aclose()
    await wire.aclose()

asyncio.run(main())
"""


class Recorder:
    """Answers every request with the next of `answers`, the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self._answers = list(answers)

    async def __call__(self, peer: Peer) -> None:
        while True:
            self.requests.append(await peer.request())
            await peer.send(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


def exchange(
    script: Script, *calls: tuple[str, str, Headers, bytes | Upload], tls: Any = None
) -> list[tuple[WireReply, bytes]]:
    """Sends the calls (method, path, headers, body) one after the other: replies and bodies."""

    async def run() -> list[tuple[WireReply, bytes]]:
        wire = AiohttpWire(10)
        replies = []
        async with asyncio.timeout(60), RawServer(script, tls) as server:
            try:
                for method, path, headers, body in calls:
                    reply = await wire.send(method, server.url + path, headers, body, LIMITS)
                    replies.append((reply, await reply.read()))
                    await reply.aclose()
            finally:
                await wire.aclose()
        return replies

    return asyncio.run(run())


def test_a_reader_that_was_held_up_does_not_put_off_the_end_of_a_drip_for_ever() -> None:
    """A standstill while nobody waited was given back at each wait, again and again."""
    limits = WireLimits(connect_s=20, first_byte_s=20, idle_s=20, total_s=1)
    head, piece = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"

    async def run() -> None:
        wire = AiohttpWire(10)
        drip = saying(head, *[piece] * 5_000, every_s=0.02)
        async with asyncio.timeout(60), RawServer(drip) as server:
            reply = await wire.send("POST", server.url, (), b"{}", limits)
            chunks = reply.chunks()
            await anext(chunks)
            time.sleep(1.5)
            with pytest.raises(UpstreamTimeout) as caught:
                async for _ in chunks:
                    pass
            assert caught.value.stage == "total"
            await reply.aclose()
            await wire.aclose()

    asyncio.run(run())


def fields(request: bytes) -> dict[bytes, bytes]:
    lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)}


def test_nothing_is_added_to_a_request_but_what_http_needs() -> None:
    record = Recorder(OK)
    headers = ((b"content-type", b"application/json"), (b"x-one", b"caf\xc3\xa9"))
    exchange(record, ("POST", "/v1/x", headers, b'{ "a":1.0e0 }'))
    (request,) = record.requests
    assert request.endswith(b'\r\n\r\n{ "a":1.0e0 }')
    sent = fields(request)
    assert sent.pop(b"host").startswith(b"127.0.0.1:")
    assert sent == {
        b"content-type": b"application/json",
        b"x-one": b"caf\xc3\xa9",
        b"content-length": b"13",
        b"accept": b"*/*",
        b"accept-encoding": b"identity",
        b"user-agent": b"headgate",
    }


def test_a_body_from_disk_is_sent_whole_with_its_length(tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(bytes(range(256)) * 10_000)
    opened: list[BinaryIO] = []

    def read_again() -> BinaryIO:
        opened.append(file.open("rb"))
        return opened[-1]

    record = Recorder(OK)
    upload = Upload(read_again)
    exchange(record, ("POST", "/", (), upload), ("POST", "/", (), upload))
    assert [request.endswith(file.read_bytes()) for request in record.requests] == [True, True]
    assert fields(record.requests[0])[b"content-length"] == b"2560000"
    for one in opened:
        one.close()


def test_what_the_caller_says_replaces_what_is_added() -> None:
    record = Recorder(OK)
    headers = ((b"accept", b"text/event-stream"), (b"accept-encoding", b"identity"))
    exchange(record, ("POST", "/", headers, b"{}"))
    (request,) = record.requests
    assert request.lower().count(b"accept-encoding") == 1
    assert fields(request)[b"accept"] == b"text/event-stream"


@pytest.mark.parametrize("path", ["/v1/a%2Fb/%41?q=%20a+b&q=c&r", "/v1/files/a:b,c@d;e=f?x=%C3%A9"])
def test_a_path_is_sent_as_it_stands(path: str) -> None:
    record = Recorder(OK)
    exchange(record, ("GET", path, (), b""))
    assert record.requests[0].split(b" ")[:2] == [b"GET", path.encode()]
    assert b"content-type" not in fields(record.requests[0])


@pytest.mark.parametrize("size_bytes", [1, 2**20, 3 * 2**20])
def test_a_body_of_any_size_arrives_whole_with_its_length(size_bytes: int) -> None:
    record = Recorder(OK)
    body = bytes(range(256)) * (size_bytes // 256 + 1)
    exchange(record, ("POST", "/", (), body))
    assert fields(record.requests[0])[b"content-length"] == str(len(body)).encode()
    assert record.requests[0].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"secret\r\nb: c"),
        (b"x", b"secret\xe9"),
        (b"x", b"secret\x00"),
        (b"x\r\ny", b"secret"),
    ],
)
def test_a_header_that_cannot_be_sent_is_a_bad_request_that_does_not_quote_it(
    name: bytes, value: bytes
) -> None:
    record = Recorder(OK)
    with pytest.raises(BadRequest) as caught:
        exchange(record, ("POST", "/", ((name, value),), b"{}"))
    assert record.requests == []
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_headers_of_a_reply_keep_order_and_raw_values_under_lower_case_names() -> None:
    head = b"HTTP/1.1 429 Slow\r\nX-One: caf\xe9\r\nx-TWO:  b \r\nX-One: c\r\n"
    answer = head + b"content-length: 0\r\n\r\n"
    ((reply, body),) = exchange(Recorder(answer), ("POST", "/", (), b"{}"))
    assert (reply.status, body) == (429, b"")
    assert reply.headers == (
        (b"x-one", b"caf\xe9"), (b"x-two", b"b"), (b"x-one", b"c"), (b"content-length", b"0"),
    )  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_reply_like_any_other(status: int) -> None:
    record = Recorder(b"HTTP/1.1 %d Go\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n" % status)
    ((reply, _),) = exchange(record, ("POST", "/", ((b"authorization", b"Bearer k"),), b"{}"))
    assert reply.status == status
    assert (b"location", b"/other") in reply.headers
    assert len(record.requests) == 1


def test_a_compressed_body_is_not_unpacked() -> None:
    packed = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    ((_, body),) = exchange(Recorder(head + packed), ("POST", "/", (), b"{}"))
    assert body == packed


def test_cookies_are_not_kept() -> None:
    record = Recorder(OK.replace(b"\r\n\r\n", b"\r\nset-cookie: a=b; path=/\r\n\r\n"))
    exchange(record, ("POST", "/", (), b"{}"), ("POST", "/", (), b"{}"))
    assert b"cookie" not in fields(record.requests[1])


def test_neither_proxies_nor_netrc_of_the_environment_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    record = Recorder(OK)
    exchange(record, ("POST", "/", (), b"{}"))
    assert b"authorization" not in fields(record.requests[0])


def test_a_certificate_nobody_vouches_for_is_unreachable(tmp_path: Path) -> None:
    record = Recorder(OK)
    with pytest.raises(UpstreamUnreachable, match="self-signed certificate") as caught:
        exchange(record, ("POST", "/", (), b"{}"), tls=server_tls(certificate(tmp_path)))
    assert not caught.value.sent
    assert record.requests == []


def test_a_server_that_does_not_speak_tls_is_unreachable() -> None:
    async def speaking(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.leaves()

    async def run() -> None:
        wire = AiohttpWire(10)
        async with RawServer(speaking) as server:
            with pytest.raises(UpstreamUnreachable, match=r"WRONG_VERSION_NUMBER|RECORD"):
                await wire.send("POST", server.url.replace("http", "https"), (), b"{}", LIMITS)
        await wire.aclose()

    asyncio.run(run())


def test_certificates_of_ssl_cert_file_are_trusted(tmp_path: Path) -> None:
    trusted = certificate(tmp_path)
    answer = Recorder(OK)

    async def run() -> bytes:
        async with RawServer(answer, server_tls(trusted)) as server:
            program = await asyncio.create_subprocess_exec(
                sys.executable, "-c", TRUSTING, server.url, stdout=subprocess.PIPE,
                env={"SSL_CERT_FILE": str(trusted)},
            )  # fmt: skip
            return (await program.communicate())[0]

    assert asyncio.run(run()) == b"hello"


def test_the_library_is_loaded_when_a_provider_is_opened_and_not_before() -> None:
    program = (
        "import json, sys, headgate.providers.wire_client as w\n"
        "from headgate.providers.settings import ProviderConfig\n"
        "before = 'aiohttp' in sys.modules\n"
        "w.open_wire(ProviderConfig())\n"
        "print(json.dumps([before, 'aiohttp' in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert json.loads(done.stdout) == [False, True]
