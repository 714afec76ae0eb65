"""Row 36: bodies that grow when they are unpacked, in both directions. A client's is refused with
415 before it is read; a provider's, which nobody asked for, is bounded as it comes, is no answer,
and is never kept. Nothing here is unpacked, so nothing grows.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import pytest
from events import has_failed
from lab import KEY, PATHS, Lab, fields_for, is_refused
from rawclient import CHAT, MESSAGES, RawClient

from headgate.testing import Answer, Chunk, End, Head

UNPACKED_BYTES = 100_000_000
ROUTES = (*PATHS, "/v1/embeddings", "/v1/messages/count_tokens")


def deflated(begin: bytes, size: int, wbits: int = 15) -> bytes:
    """`begin` and so many spaces, which JSON ignores: about a thousandth of that in bytes."""
    packer = zlib.compressobj(9, wbits=wbits)
    blanks = b" " * 1_000_000
    pieces = [packer.compress(begin), *(packer.compress(blanks) for _ in range(size // 1_000_000))]
    return b"".join([*pieces, packer.flush()])


QUESTION = json.dumps(fields_for(CHAT)).encode()
SMALL = gzip.compress(QUESTION)
BOMBS = {
    "gzip": deflated(QUESTION, UNPACKED_BYTES, 31),
    "deflate": deflated(QUESTION, UNPACKED_BYTES),
    # Not made here: what is refused by its header need not be one.
    "br": bytes(100_000),
    "zstd": bytes(100_000),
    "x-gzip": deflated(QUESTION, UNPACKED_BYTES, 31),
    "gzip, gzip": gzip.compress(deflated(QUESTION, UNPACKED_BYTES, 31)),
    "identity, gzip": deflated(QUESTION, UNPACKED_BYTES, 31),
}
MEMBERS = SMALL * 5_000
"""Many small ones, one behind the other: what takes the square of their number to unpack."""


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.memory_growth_max_bytes = 30_000_000
    return lab


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_of_a_client_is_415_on_every_route(lab: Lab, coding: str) -> None:
    for path in ROUTES:
        reply = lab.tell(path, BOMBS[coding], f"content-encoding: {coding}")
        is_refused(reply, path, 415)
        is_refused(lab.tell(path, MEMBERS, f"content-encoding: {coding}"), path, 415)
    assert (lab.server.calls, lab.server.connections, lab.stored()) == ([], [], 0)
    lab.is_healthy()


def test_a_bomb_is_refused_before_its_body_is_sent(lab: Lab) -> None:
    """Whoever waits to be asked for it is not asked."""
    head = (f"POST {CHAT} HTTP/1.1", "host: x", f"authorization: Bearer {KEY}",
            "content-length: 9000", "content-encoding: gzip", "expect: 100-continue")  # fmt: skip
    with RawClient(lab.gate.port) as client:
        client.send("\r\n".join(head).encode() + b"\r\n\r\n")
        assert client.until(b" ") + client.until(b" ") == b"HTTP/1.1 415 "


@pytest.mark.parametrize("coding", ["gzip", "deflate", "compress", "x-gzip"])
def test_a_bomb_in_the_transfer_coding_is_415(lab: Lab, coding: str) -> None:
    body = BOMBS["gzip"]
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for path in (CHAT, MESSAGES):
        head = (f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {KEY}",
                f"transfer-encoding: {coding}, chunked", "connection: close")  # fmt: skip
        with RawClient(lab.gate.port) as client:
            client.send("\r\n".join(head).encode() + b"\r\n\r\n" + chunks)
            assert client.until(b" ") + client.until(b" ") == b"HTTP/1.1 415 "
    assert lab.server.calls == []


def test_a_bomb_without_its_header_is_no_json(lab: Lab) -> None:
    for path in ROUTES:
        is_refused(lab.tell(path, BOMBS["gzip"]), path, 400)
    assert lab.server.calls == []


CODINGS = ("gzip", "deflate", "br", "zstd")


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_of_a_provider_is_no_answer_and_not_kept(lab: Lab, coding: str) -> None:
    """It was told to send none: `accept-encoding: identity`. Unopened, it is no JSON."""
    for path in (CHAT, MESSAGES, "/v1/responses", "/v1/embeddings"):
        for body in (BOMBS[coding], MEMBERS):
            lab.server.script(Answer(body=body, headers={"content-encoding": coding}))
            assert lab.ask(path).status == 502
    assert lab.stored() == 0
    assert {call.headers["accept-encoding"] for call in lab.server.calls} == {"identity"}
    lab.is_healthy()


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_that_calls_itself_an_error_is_handed_on_unopened(lab: Lab, coding: str) -> None:
    headers = {"content-encoding": coding}
    lab.server.script(Answer(status=500, body=BOMBS[coding], headers=headers), times=None)
    reply = lab.ask()
    assert (reply.status, reply.body, lab.stored()) == (500, BOMBS[coding], 0)
    lab.is_healthy()


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_in_a_stream_is_told_as_an_error_and_not_kept(lab: Lab, coding: str) -> None:
    """No event of its dialect is in it, so it is no answer, whatever it would unpack to."""
    headers = {"content-type": "text/event-stream", "content-encoding": coding}
    for path in PATHS:
        lab.server.script(Head(200, headers), Chunk(BOMBS[coding]), End())
        reply = lab.ask(path, stream=True)
        assert reply.status in (200, 502)
        assert has_failed(reply.body) or reply.status == 502
    assert lab.stored() == 0
    lab.is_healthy()


def test_what_is_packed_counts_as_it_comes(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(reply_max_bytes=50_000)
    lab.memory_growth_max_bytes = 30_000_000
    assert len(BOMBS["gzip"]) > 50_000
    lab.server.script(Answer(body=BOMBS["gzip"], headers={"content-encoding": "gzip"}))
    reply = lab.ask()
    assert (reply.status, reply.code) == (502, "upstream_too_large")
    lab.is_healthy()
