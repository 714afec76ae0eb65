"""Uploads as they go wrong: too large, malformed, broken off, slow, too many; and large ones, which
never stand in memory.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from batchgates import (
    CHAT,
    EDGE,
    FORM,
    batch_gate,
    form,
    key,
    lines,
    openai_at,
    requests,
    upload,
)
from gates import Gate, Got
from oracle import bounded_memory, until
from rawclient import RawClient

from headgate.config import ServerConfig
from headgate.surfaces.job_desk import UPLOADS_OF_TENANT_MAX
from headgate.testing import FakeProvider

LIMIT = 100_000
ME = key("me")
HEAD = (
    f"POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer me\r\n"
    f"content-type: multipart/form-data; boundary={EDGE}\r\n"
).encode()


@pytest.fixture
def gate(tmp_path: Path, provider: FakeProvider) -> Iterator[Gate]:
    with batch_gate(tmp_path, provider, {"file_max_bytes": LIMIT}) as running:
        yield running


def kept(folder: Path) -> list[Path]:
    """What is on the disk."""
    files = folder / "jobs.db-files"
    return list(files.iterdir()) if files.exists() else []


def chunked(gate: Gate, path: str, pieces: Iterator[bytes], headers: dict[str, str]) -> Got:
    """A body whose size nobody says."""
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=20)
    try:
        connection.request("POST", path, pieces, headers, encode_chunked=True)
        reply = connection.getresponse()
        return Got(reply.status, {}, reply.read())
    finally:
        connection.close()


def cut(content: bytes, size: int = 10_000) -> Iterator[bytes]:
    for place in range(0, len(content), size):
        yield content[place : place + size]


def test_a_file_may_have_so_many_bytes_and_not_one_more(gate: Gate, tmp_path: Path) -> None:
    assert upload(gate, b"x" * LIMIT, ME).json["bytes"] == LIMIT
    got = upload(gate, b"x" * (LIMIT + 1), ME)
    assert (got.status, got.json["error"]["code"]) == (413, "file_too_large")
    headers = {**FORM, **ME, "transfer-encoding": "chunked"}
    got = chunked(gate, "/v1/files", cut(form(b"x" * (LIMIT + 1))), headers)
    assert (got.status, got.json["error"]["code"]) == (413, "file_too_large")
    assert len(kept(tmp_path)) == 1


def test_an_endless_upload_is_refused_while_it_comes(gate: Gate, tmp_path: Path) -> None:
    with RawClient(gate.port) as client:
        client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        start = form(b"").partition(b"\r\n\r\n--")[0]
        client.send(b"%x\r\n%s\r\n\r\n\r\n" % (len(start) + 4, start))
        piece = b"8000\r\n%s\r\n" % (b"x" * 0x8000)
        for _ in range(LIMIT // 0x8000 + 1):
            client.send(piece)
        assert b" 413 " in client.until(b"\r\n")
    assert kept(tmp_path) == []


def test_what_announces_too_much_is_not_even_asked_for(gate: Gate, tmp_path: Path) -> None:
    with RawClient(gate.port) as client:
        client.send(HEAD + b"content-length: %d\r\n\r\n" % (LIMIT + 200_000))
        assert b" 413 " in client.until(b"\r\n")
    for path, most in (("/v1/messages/batches", LIMIT), ("/v1/batches", 100_000)):
        got = gate.post(path, b"x" * (most + 1), ME)
        assert got.status == 413
    assert kept(tmp_path) == []


def test_the_usual_limit_is_200_mb(tmp_path: Path, provider: FakeProvider) -> None:
    with batch_gate(tmp_path, provider) as gate, RawClient(gate.port) as client:
        client.send(HEAD + b"content-length: 200200001\r\n\r\n")
        assert b" 413 " in client.until(b"\r\n")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (form(b"x").replace(EDGE.encode(), b"another"), FORM, 400),
        (form(b"x")[:-10], FORM, 400),
        (form(b"x", purpose="assistants"), FORM, 400),
        (form(b"x").replace(b'"purpose"', b'"other"'), FORM, 400),
        (form(b"x").replace(b'name="file"', b'name="fill"'), FORM, 400),
        (form(b"x").replace(b'"purpose"', b'"expires_after[seconds]"'), FORM, 400),
        (form(b"x"), {"content-type": "application/json"}, 415),
        (form(b"x"), {}, 415),
        (form(b"x"), {**FORM, "content-encoding": "gzip"}, 415),
        (b"", FORM, 400),
    ],
)  # fmt: skip
def test_what_is_no_form_with_a_file_leaves_nothing(
    gate: Gate, tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    got = gate.ask("POST", "/v1/files", body, {**headers, **ME})
    assert got.status == status
    assert got.json["error"]["type"] == "invalid_request_error"
    assert kept(tmp_path) == []
    assert gate.get("/v1/files", ME).json["data"] == []


def test_the_file_may_come_before_what_it_is_for(gate: Gate) -> None:
    part = f"--{EDGE}\r\nContent-Disposition: form-data; name=".encode()
    body = part + b'"file"; filename="a"\r\n\r\ncontent\r\n' + part
    body += b'"purpose"\r\n\r\n%s\r\n' + f"--{EDGE}--".encode()
    for purpose, status in ((b"batch", 200), (b"vision", 400)):
        assert gate.ask("POST", "/v1/files", body % purpose, {**FORM, **ME}).status == status


def test_who_leaves_in_the_middle_leaves_nothing(gate: Gate, tmp_path: Path) -> None:
    for by in ("fin", "rst"):
        with RawClient(gate.port) as client:
            client.send(HEAD + b"content-length: 50000\r\n\r\n" + form(b"x" * 10_000)[:-20])
            until(lambda: kept(tmp_path), "it has begun")
            client.leave(by)
        until(lambda: not kept(tmp_path), "nothing of it is left")
    assert gate.get("/v1/files", ME).json["data"] == []


def test_a_slow_upload_keeps_nobody_from_anything(gate: Gate, tmp_path: Path) -> None:
    content = lines(1)
    body = form(content)
    slow = [RawClient(gate.port) for _ in range(UPLOADS_OF_TENANT_MAX)]
    try:
        for client in slow:
            client.send(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body[:-30])
        until(lambda: len(kept(tmp_path)) == len(slow), "all of them have begun")
        got = upload(gate, content, ME)
        assert (got.status, got.json["error"]["code"]) == (503, "queue_full")
        assert upload(gate, content, key("another")).status == 200
        assert gate.get("/v1/batches", ME).status == 200
        for client in slow:
            client.send(body[-30:])
            assert b" 200 " in client.until(b"\r\n")
    finally:
        for client in slow:
            client.socket.close()
    until(lambda: upload(gate, content, ME).status == 200, "there is room again")


def test_an_upload_that_stands_still_is_given_up(tmp_path: Path, provider: FakeProvider) -> None:
    server = ServerConfig(body_timeout=0.2)
    with batch_gate(tmp_path, provider, server=server) as gate, RawClient(gate.port) as client:
        client.send(HEAD + b"content-length: 50000\r\n\r\n" + form(b"x" * 10_000)[:-20])
        assert b" 408 " in client.until(b"\r\n")
        until(lambda: not kept(tmp_path), "nothing of it is left")


def test_a_large_file_is_never_in_memory(tmp_path: Path, provider: FakeProvider) -> None:
    size_bytes = 60_000_000
    line = json.dumps(
        {"custom_id": "a", "method": "POST", "url": CHAT,
         "body": {"model": "m", "messages": [{"role": "user", "content": "x" * 5_000_000}]}}
    ).encode() + b"\n"  # fmt: skip
    source = tmp_path / "large.jsonl"
    with source.open("wb") as opened:
        while opened.tell() < size_bytes:
            opened.write(line)
    with batch_gate(tmp_path, provider) as gate, openai_at(gate) as client:
        small = client.files.create(file=("a.jsonl", lines(1)), purpose="batch")
        assert client.files.content(small.id).read() == lines(1)
        with bounded_memory(lambda: 50_000_000):
            with source.open("rb") as opened:
                made = client.files.create(file=opened, purpose="batch")
            assert made.bytes == source.stat().st_size
            with client.files.with_streaming_response.content(made.id) as reply:
                assert sum(map(len, reply.iter_bytes())) == made.bytes


def test_a_large_message_batch_is_never_in_memory(tmp_path: Path, provider: FakeProvider) -> None:
    one = requests(1)[0]
    one["params"]["messages"][0]["content"] = "x" * 1_000_000

    def body() -> Iterator[bytes]:
        yield b'{"requests": ['
        for number in range(60):
            one["custom_id"] = "same" if number in (7, 59) else f"r-{number}"
            yield b"," * bool(number) + json.dumps(one).encode()
        yield b"]}"

    headers = {"x-api-key": "me", "transfer-encoding": "chunked"}
    with batch_gate(tmp_path, provider) as gate:
        assert gate.post("/v1/messages/batches", {"requests": []}, ME).status == 400
        with bounded_memory(lambda: 50_000_000):
            # Two have one name, so that nothing of it is asked.
            got = chunked(gate, "/v1/messages/batches", body(), headers)
        assert (got.status, got.json["error"]["code"]) == (400, "duplicate_custom_id")
    assert kept(tmp_path) == []
    assert provider.calls == []


def test_uploads_at_the_same_time_do_not_mix(gate: Gate) -> None:
    names: dict[int, Any] = {}

    def send(number: int) -> None:
        got = upload(gate, b"%d" % number * 20_000, key(f"tenant-{number % 4}"))
        names[number] = got.json["id"]

    threads = [threading.Thread(target=send, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, name in names.items():
        got = gate.get(f"/v1/files/{name}/content", key(f"tenant-{number % 4}"))
        assert got.body == b"%d" % number * 20_000
    assert len(names) == 12


def test_what_clients_keep_together_is_bounded(tmp_path: Path, provider: FakeProvider) -> None:
    with batch_gate(tmp_path, provider, {"stored_max_bytes": 10_000}) as gate:
        first = upload(gate, b"x" * 9_000, ME).json["id"]
        assert upload(gate, b"x", key("another")).status == 200
        for headers in (ME, key("a third")):
            got = upload(gate, b"x", headers)
            assert (got.status, got.json["error"]["code"]) == (507, "storage_full")
            got = gate.post("/v1/messages/batches", {"requests": requests(1)}, headers)
            assert (got.status, got.headers["x-should-retry"]) == (507, "false")
        assert gate.ask("DELETE", f"/v1/files/{first}", None, ME).status == 200
        assert upload(gate, b"x", ME).status == 200
