"""Bad input over real sockets, to one long-lived process: clear 4xx, no trace, healthy after."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
ROUTES = (CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses", MESSAGES,
          "/v1/messages/count_tokens")  # fmt: skip
GOOD: dict[str, Any] = {
    "model": "m", "messages": [{"role": "user", "content": "q"}], "max_tokens": 50, "prompt": "q",
    "input": "q",
}  # fmt: skip

BODIES = {
    "empty": b"",
    "not JSON": b"hello",
    "form": b"model=m&stream=true",
    "NaN": b'{"model": "m", "temperature": NaN}',
    "1e400": b'{"model": "m", "temperature": 1e400}',
    "duplicate keys": b'{"model": "m", "x": {"a": 1, "a": 2}}',
    "lone surrogate": b'{"model": "m", "user": "\\ud800"}',
    "lone surrogate in text": b'{"model": "m", "prompt": "a \\udfff b"}',
    "invalid UTF-8": b'{"model": "m", "prompt": "\xc3\x28"}',
    "depth": b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "half a document": b'{"model": "m", "messages": [',
    "array": b"[]",
    "null": b"null",
    "no model": b"{}",
    "ill-typed model": b'{"model": {"name": "m"}}',
    "stream is yes": b'{"model": "m", "stream": "yes"}',
    "NULs": b"\x00" * 100,
    "UTF-16": '{"model": "m"}'.encode("utf-16"),
}


def request(*lines: str, body: bytes = b"", path: str = CHAT) -> bytes:
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: x", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body


@pytest.fixture
def healthy(gate: Any) -> Iterator[Any]:
    """A gateway that must be as good as new after the test."""
    yield gate
    assert gate.stats()["cache"]["size"] == 0, "bad input leaves nothing in the cache"
    after = gate.post(CHAT, GOOD)
    assert (after.status, after.headers["cache-status"]) == (200, "headgate; fwd=miss; stored")


def is_refused(got: Any, path: str, status: int) -> None:
    """The reply is a refusal of that status in the dialect of its route."""
    assert got.status == status
    assert got.headers["content-type"] == "application/json"
    error = got.json["error"]
    assert error["message"]
    assert "Traceback" not in error["message"]
    if path.startswith(MESSAGES):
        assert got.json["type"] == "error"
        assert error["type"] in ("invalid_request_error", "request_too_large", "not_found_error")
    else:
        assert error["type"] == "invalid_request_error"
        assert {"message", "type", "param", "code"} == set(error)


@pytest.mark.parametrize("name", BODIES)
def test_a_malformed_body_is_400_on_every_route(healthy: Any, provider: Any, name: str) -> None:
    for path in ROUTES:
        is_refused(healthy.post(path, BODIES[name]), path, 400)
    assert provider.calls == []


def test_a_body_over_ten_megabytes_is_413_before_it_is_sent(healthy: Any, provider: Any) -> None:
    for path in ROUTES:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 10000001\r\nconnection: close\r\n"
        )
        answer = healthy.raw(head.encode() + b"expect: 100-continue\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"server.body_max_bytes" in answer
    assert provider.calls == []


@pytest.mark.parametrize(
    "lines", [("x-a: " + "y" * 1_000_000,), tuple(f"x-{number}: y" for number in range(5_000))]
)
def test_headers_over_the_limit_are_431(
    healthy: Any, provider: Any, lines: tuple[str, ...]
) -> None:
    for path in (*ROUTES, "/healthz"):
        body = json.dumps(GOOD).encode()
        more = (*lines, f"content-length: {len(body)}", "connection: close")
        assert healthy.raw(request(*more, body=body, path=path)).startswith(b"HTTP/1.1 431 ")
    assert provider.calls == []


def test_a_query_over_the_limit_is_414(healthy: Any, provider: Any) -> None:
    for path in ROUTES:
        is_refused(healthy.post(f"{path}?x={'y' * 10_000}", GOOD), path, 414)
    assert provider.calls == []


def test_a_chunked_body_over_ten_megabytes_is_413(healthy: Any, provider: Any) -> None:
    block = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", healthy.port), timeout=60) as connection:
        connection.sendall(request("transfer-encoding: chunked"))
        try:
            for _ in range(200):
                connection.sendall(block)
        except ConnectionError:
            pass  # the refusal came before the whole body was read
        else:
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert provider.calls == []


def test_a_body_just_under_the_limit_is_taken(gate: Any, provider: Any) -> None:
    body = {**GOOD, "prompt": "x" * (10_000_000 - 200)}
    assert gate.post("/v1/completions", body).status == 200
    assert len(provider.calls[0].raw) > 9_999_000


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd"])
def test_a_compressed_body_is_415(healthy: Any, encoding: str) -> None:
    body = gzip.compress(json.dumps(GOOD).encode())
    for path in ROUTES:
        got = healthy.ask("POST", path, body, {"content-encoding": encoding})
        is_refused(got, path, 415)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_wrong_method_is_405(healthy: Any, method: str) -> None:
    for path in ROUTES:
        is_refused(healthy.ask(method, path, None), path, 405)
    for path in ("/healthz", "/metrics", "/v1/models"):
        assert healthy.ask("DELETE", path, None).status == 405


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/chat/completions/", "/v1//chat/completions", "/v2/chat/completions",
     "/v1/chat/completions%2f", "/v1/images/generations", "/../v1/models", "/%00", "/v1/modelsx",
     "/api/admin/../../v1/models", "/" + "x" * 5000],
)  # fmt: skip
def test_an_unknown_route_is_404(healthy: Any, path: str) -> None:
    got = healthy.post(path, GOOD)
    assert (got.status, got.json["error"]["code"]) == (404, "no_such_route")


@pytest.mark.parametrize(
    ("path", "headers"), [("/v1/messages/x", {}), ("/v1/x", {"anthropic-version": "2023-06-01"})]
)
def test_an_unknown_route_is_refused_in_the_dialect_of_its_caller(
    healthy: Any, path: str, headers: dict[str, str]
) -> None:
    got = healthy.post(path, GOOD, headers)
    assert (got.status, got.json["type"]) == (404, "error")
    assert got.json["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("name", "value"),
    [("headgate-ttl", "soon"), ("headgate-ttl", "0"), ("headgate-namespace", "a/b"),
     ("headgate-namespace", "x" * 200), ("headgate-tags", "a b"), ("headgate-deadline", "never"),
     ("headgate-semantic", "perhaps"), ("cache-control", "max-age=x"), ("headgate-tll", "5m"),
     ("headgate-secret", "x"), ("headgate-namespace", "\xe4")],
)  # fmt: skip
def test_an_ill_formed_or_unknown_control_is_400_under_its_name(
    healthy: Any, provider: Any, name: str, value: str
) -> None:
    for path in ROUTES:
        got = healthy.post(path, GOOD, {name: value})
        is_refused(got, path, 400)
        assert name in got.json["error"]["message"].lower()
    assert provider.calls == []


INNER = b"GET /healthz HTTP/1.1\r\nhost: smuggled\r\n\r\n"
LAST = b"0\r\n\r\n"
SMUGGLING = {
    "CL and TE": request("content-length: 6", "transfer-encoding: chunked", body=LAST + INNER),
    "TE and CL": request("transfer-encoding: chunked", "content-length: 6", body=LAST + INNER),
    "two lengths": request("content-length: 0", f"content-length: {len(INNER)}", body=INNER),
    "two equal lengths": request("content-length: 2", "content-length: 2", body=b"{}"),
    "list of lengths": request("content-length: 2, 2", body=b"{}"),
    "negative length": request("content-length: -1", body=INNER),
    "signed length": request("content-length: +2", body=b"{}"),
    "hexadecimal length": request("content-length: 0x2", body=b"{}"),
    "unknown coding": request("transfer-encoding: xchunked", body=b"0\r\n\r\n"),
    "chunked not last": request("transfer-encoding: chunked, identity", body=b"0\r\n\r\n"),
    "bad chunk size": request("transfer-encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
    "negative chunk size": request("transfer-encoding: chunked", body=b"-2\r\n{}\r\n0\r\n\r\n"),
    "huge chunk size": request("transfer-encoding: chunked", body=b"f" * 20 + b"\r\n{}\r\n"),
    "space before the colon": request("content-length : 2", body=b"{}"),
    "folded header": request("x-a: 1", " content-length: 2", body=b"{}"),
    "NUL in a header": request("x-a: 1\x00", "content-length: 2", body=b"{}"),
    "bare CR in a header": request("x-a: 1\rx-b: 2", "content-length: 2", body=b"{}"),
    "unknown method": b"SMUGGLE / HTTP/1.1\r\nhost: x\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}  # fmt: skip


@pytest.mark.parametrize("name", SMUGGLING)
def test_an_ambiguous_request_is_400_and_ends_the_connection(healthy: Any, name: str) -> None:
    answer = healthy.raw(SMUGGLING[name])
    assert answer.count(b"HTTP/1.1 ") <= 1, "nothing behind it may be taken for a request"
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert b"ok" not in answer.partition(b"\r\n\r\n")[2]


def test_a_request_that_stops_in_the_middle_is_forgotten(healthy: Any, provider: Any) -> None:
    for part in (b"POST /v1/chat", request("content-length: 100", body=b'{"model"')):
        with socket.create_connection(("127.0.0.1", healthy.port), timeout=60) as connection:
            connection.sendall(part)
    assert provider.calls == []


def test_pipelined_requests_are_answered_one_by_one(gate: Any) -> None:
    two = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = gate.raw(two)
    assert answer.index(b"HTTP/1.1 200 ") < answer.index(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1 ") == 2


def test_a_head_request_has_no_body(gate: Any) -> None:
    answer = gate.raw(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("host", ["a/?x=", "a/../../", "127.0.0.1:4000/api/admin", "x" * 300])
def test_a_poisoned_host_never_opens_an_admin_route(gate: Any, host: str) -> None:
    for path in ("/api/metrics/llm", "/api/admin/cache", "/api/admin/clear-cache", "/healthz"):
        method = "POST" if "clear" in path else "GET"
        line = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        answer = gate.raw(line.encode())
        allowed = path == "/healthz"
        assert answer.startswith(b"HTTP/1.1 200 " if allowed else b"HTTP/1.1 403 ")


def test_a_process_prints_no_stack_trace_for_any_of_it(
    start_process: Callable[..., Any], provider: Any
) -> None:
    process = start_process()
    for body in BODIES.values():
        for path in ROUTES:
            assert process.post(path, body).status == 400
    for raw in SMUGGLING.values():
        with socket.create_connection(("127.0.0.1", process.port), timeout=60) as connection:
            connection.sendall(raw)
    assert process.post(CHAT, GOOD).status == 200
    assert "Traceback" not in process.output()
    assert provider.calls[0].body == GOOD
