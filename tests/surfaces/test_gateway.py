"""The data plane as an ASGI application: routes, bodies, controls, errors, streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from headgate.config import Config, ProviderConfig, ServerConfig
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.surfaces.gateway import DATA_PLANE

QUESTION = [{"role": "user", "content": "Hello?"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": QUESTION},
    "/v1/completions": {"model": "m", "prompt": "Hello?"},
    "/v1/embeddings": {"model": "m", "input": "Hello?", "dimensions": 4},
    "/v1/responses": {"model": "m", "input": "Hello?"},
    "/v1/messages": {"model": "m", "messages": QUESTION, "max_tokens": 50},
}
ROUTES = list(DATA_PLANE)
CACHED = list(BODIES)
CHAT = "/v1/chat/completions"
TEXT = "x" * 2000


def error_of(got: Any) -> dict[str, Any]:
    assert got.headers["content-type"] == "application/json"
    error: dict[str, Any] = got.json["error"]
    return error


def is_anthropic(path: str) -> bool:
    return "messages" in path


@pytest.mark.parametrize("path", CACHED)
def test_the_second_equal_request_is_a_hit_with_the_same_bytes(door: Any, path: str) -> None:
    first, second = (door.post(path, BODIES[path]) for _ in range(2))
    assert first.headers["cache-status"] == "headgate; fwd=miss; stored"
    assert second.headers["cache-status"].startswith("headgate; hit; ttl=3")
    assert second.body == first.body
    assert second.headers["headgate-key"] == first.headers["headgate-key"]
    assert second.headers["content-length"] == str(len(first.body))
    assert second.headers["content-type"] == first.headers["content-type"]
    assert "age" in second.headers
    assert "age" not in first.headers


def test_count_tokens_passes_through_and_is_never_cached(door: Any) -> None:
    body = {"model": "m", "messages": QUESTION}
    for _ in range(2):
        got = door.post("/v1/messages/count_tokens", body)
        assert got.headers["cache-status"] == "headgate; fwd=bypass"
        assert got.json["input_tokens"] > 0


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"])
def test_a_wrong_method_is_405_in_the_dialect_of_the_route(
    door: Any, path: str, method: str
) -> None:
    got = door.ask(method, path, b"", {"host": "localhost"})
    assert got.status == 405
    assert error_of(got)["message"] == f"{path} takes POST"
    assert got.headers["allow"] == "POST"
    assert got.json.get("type") == ("error" if is_anthropic(path) else None)


MALFORMED = {
    "empty": b"",
    "not JSON": b"hello",
    "cut off": b'{"model": "m"',
    "NaN": b'{"model": "m", "temperature": NaN}',
    "1e400": b'{"model": "m", "temperature": 1e400}',
    "duplicate key": b'{"model": "m", "model": "n"}',
    "lone surrogate": b'{"model": "m", "user": "\\ud800 text"}',
    "invalid UTF-8": b'{"model": "\xff"}',
    "byte order mark": b'\xef\xbb\xbf{"model": "m"}',
    "depth": b'{"model": "m", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "array": b'[{"model": "m"}]',
    "string": b'"model"',
    "null": b"null",
    "number": b"5",
    "no model": b'{"messages": []}',
    "null model": b'{"model": null}',
    "number as model": b'{"model": 5}',
    "empty model": b'{"model": ""}',
    "list as model": b'{"model": ["m"]}',
    "stream as text": b'{"model": "m", "stream": "yes"}',
    "stream as number": b'{"model": "m", "stream": 1}',
    "huge integer": b'{"model": "m", "n": 99999999999999999999}',
    "long array": b'{"model": "m", "x": [' + b"0," * 10_000 + b"0]}",
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_body_is_400_in_the_dialect_and_nothing_is_cached(
    door: Any, path: str, body: bytes
) -> None:
    got = door.post(path, body)
    assert got.status == 400
    error = error_of(got)
    assert error["type"] == "invalid_request_error"
    assert 10 < len(error["message"]) < 300
    assert "Traceback" not in got.body.decode()
    assert got.headers["x-should-retry"] == "false"
    assert door.runtime.stats()["cache"]["size"] == 0
    good = BODIES.get(path, {"model": "m", "messages": QUESTION})
    assert door.post(path, good).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"cache-control": "max-age=soon"}, {"headgate-ttl": "0"}, {"headgate-ttl": "x"},
     {"headgate-namespace": "a b"}, {"headgate-tags": "a b"}, {"headgate-deadline": "-1"},
     {"headgate-semantic": "maybe"}, {"headgate-namspace": "x"}, {"headgate-": "x"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_an_ill_formed_control_is_400_and_nothing_is_cached(
    door: Any, path: str, headers: dict[str, str]
) -> None:
    got = door.post(path, BODIES[path], {"host": "x", **headers})
    assert got.status == 400
    assert next(iter(headers)) in error_of(got)["message"].lower()
    assert door.runtime.stats()["cache"]["size"] == 0


def small_bodies(open_door: Callable[..., Any]) -> Any:
    fake = {"fake": ProviderConfig(kind="fake")}
    return open_door(Config(server=ServerConfig(body_max_bytes=1024), providers=fake))


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_over_the_limit_is_413_by_its_length_alone(
    open_door: Callable[..., Any], path: str
) -> None:
    door = small_bodies(open_door)
    got = door.converse("POST", path, [], {"host": "x", "content-length": "1025"})
    assert got.status == 413
    assert "1024 bytes (server.body_max_bytes)" in error_of(got)["message"]


def test_a_body_over_the_limit_is_413_without_a_length(open_door: Callable[..., Any]) -> None:
    door = small_bodies(open_door)
    piece = {"type": "http.request", "body": b"x" * 400, "more_body": True}
    got = door.converse("POST", CHAT, [piece] * 3, {"host": "x"})
    assert got.status == 413


def test_a_single_message_over_the_limit_is_413_too(open_door: Callable[..., Any]) -> None:
    door = small_bodies(open_door)
    assert door.post(CHAT, b" " * 2000 + json.dumps(BODIES[CHAT]).encode()).status == 413


def test_a_body_at_the_limit_is_taken_in_pieces(open_door: Callable[..., Any]) -> None:
    door = small_bodies(open_door)
    body = json.dumps(BODIES[CHAT]).encode().ljust(1024)
    pieces = [
        {"type": "http.request", "body": body[:500], "more_body": True},
        {"type": "http.request", "body": body[500:], "more_body": False},
    ]
    headers = {"host": "x", "content-length": "1024"}
    assert door.converse("POST", CHAT, pieces, headers).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "GZIP", "gzip, identity"])
def test_a_compressed_body_is_415(door: Any, encoding: str) -> None:
    got = door.post(CHAT, BODIES[CHAT], {"host": "x", "content-encoding": encoding})
    assert got.status == 415
    assert "identity" in error_of(got)["message"]


def test_a_client_that_leaves_inside_its_body_is_no_call(door: Any) -> None:
    messages = [
        {"type": "http.request", "body": b'{"model": "m"', "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert door.converse("POST", CHAT, messages, {"host": "x"}).status == 400
    assert door.runtime.stats()["metrics"]["total_calls"] == 0


def test_only_if_cached_is_504_on_a_miss_and_a_hit_afterwards(door: Any) -> None:
    only = {"host": "x", "cache-control": "only-if-cached"}
    missed = door.post(CHAT, BODIES[CHAT], only)
    assert (missed.status, error_of(missed)["code"]) == (504, "cache_only_miss")
    door.post(CHAT, BODIES[CHAT])
    assert "; hit;" in door.post(CHAT, BODIES[CHAT], only).headers["cache-status"]


@pytest.mark.parametrize(
    ("more", "control"),
    [({"stream": True}, "only-if-cached"), ({"store": True}, "only-if-cached"),
     ({}, "no-cache, only-if-cached"), ({}, "no-store, only-if-cached")],
)  # fmt: skip
def test_only_if_cached_never_goes_upstream_even_if_the_cache_is_not_consulted(
    door: Any, more: dict[str, Any], control: str
) -> None:
    headers = {"host": "x", "cache-control": control}
    assert door.post(CHAT, {**BODIES[CHAT], **more}, headers).status == 504


CONTROLS = [
    ("no-cache", "headgate; fwd=bypass; stored", True),
    ("no-store", "headgate; fwd=bypass", False),
    ("max-age=0", "headgate; fwd=miss; stored", True),
]


@pytest.mark.parametrize(("control", "status", "stored"), CONTROLS)
def test_a_control_keeps_a_stored_answer_from_being_used(
    door: Any, control: str, status: str, stored: bool
) -> None:
    headers = {"host": "x", "cache-control": control}
    assert door.post(CHAT, BODIES[CHAT], headers).headers["cache-status"] == status
    assert door.runtime.stats()["cache"]["size"] == (1 if stored else 0)
    door.post(CHAT, BODIES[CHAT])
    assert door.post(CHAT, BODIES[CHAT], headers).headers["cache-status"] == status
    assert "; hit;" in door.post(CHAT, BODIES[CHAT]).headers["cache-status"]


def test_a_namespace_keeps_answers_apart(door: Any) -> None:
    statuses = [
        door.post(CHAT, BODIES[CHAT], {"host": "x", **headers}).headers["cache-status"]
        for headers in ({}, {"headgate-namespace": "a"}, {"headgate-namespace": "b"},
                        {"headgate-namespace": "a"})
    ]  # fmt: skip
    assert ["hit" in status for status in statuses] == [False, False, False, True]


def test_the_callers_ttl_is_clamped_to_the_operators(door: Any) -> None:
    door.post(CHAT, BODIES[CHAT], {"host": "x", "headgate-ttl": "5m"})
    (entry,) = door.get("/api/admin/cache").json["entries"]
    assert 290 < entry["ttl_s"] <= 300
    other = {**BODIES[CHAT], "seed": 1}
    door.post(CHAT, other, {"host": "x", "headgate-ttl": "7d"})
    entries = door.get("/api/admin/cache").json["entries"]
    assert max(entry["ttl_s"] for entry in entries) <= 3600


def test_a_disabled_model_is_forwarded_and_not_stored(open_door: Callable[..., Any]) -> None:
    cache = CacheConfig(models={"m": ModelCacheConfig(enabled=False)})
    door = open_door(Config(cache=cache, providers={"fake": ProviderConfig(kind="fake")}))
    for _ in range(2):
        got = door.post(CHAT, BODIES[CHAT])
        assert got.headers["cache-status"] == "headgate; fwd=bypass"
    other = {**BODIES[CHAT], "model": "n"}
    assert "stored" in door.post(CHAT, other).headers["cache-status"]


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"])
def test_a_stream_passes_through_in_its_own_chunks(door: Any, path: str) -> None:
    got = door.post(path, {**BODIES[path], "stream": True})
    assert got.headers["content-type"].startswith("text/event-stream")
    assert got.headers["cache-status"] == "headgate; fwd=miss"
    assert "content-length" not in got.headers
    assert len(got.chunks) > 3
    assert all(chunk.endswith(b"\n\n") for chunk in got.chunks[:-1])


def test_a_model_that_no_provider_serves_is_404_naming_what_is_configured(
    open_door: Callable[..., Any],
) -> None:
    providers = {name: ProviderConfig(kind="fake") for name in ("east", "west")}
    door = open_door(Config(providers=providers))
    for path in ROUTES:
        got = door.post(path, BODIES.get(path, {"model": "m"}))
        assert got.status == 404
        assert "east/MODEL, west/MODEL" in error_of(got)["message"]
    assert door.post(CHAT, {**BODIES[CHAT], "model": "west/m"}).status == 200


def test_without_any_provider_the_refusal_says_so(open_door: Callable[..., Any]) -> None:
    got = open_door(Config()).post(CHAT, BODIES[CHAT])
    assert (got.status, error_of(got)["code"]) == (404, "model_not_found")
    assert "no configured provider" in error_of(got)["message"]


def test_a_deadline_that_passes_is_504(open_door: Callable[..., Any]) -> None:
    door = open_door(Config(providers={"fake": ProviderConfig(kind="fake", latency=30.0)}))
    got = door.post(CHAT, BODIES[CHAT], {"host": "x", "headgate-deadline": "20ms"})
    assert got.status == 504
    assert "deadline of 0.02 s" in error_of(got)["message"]
    assert door.runtime.stats()["cache"]["size"] == 0


def test_a_websocket_is_closed(door: Any) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    door.run(door.gateway({"type": "websocket", "path": "/v1/responses"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_client_that_leaves_takes_its_call_along(open_door: Callable[..., Any]) -> None:
    door = open_door(Config(providers={"fake": ProviderConfig(kind="fake", latency=30.0)}))
    body = json.dumps(BODIES[CHAT]).encode()
    messages = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def leave() -> int:
        waiting = iter(messages)

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            return next(waiting)

        async def send(message: dict[str, Any]) -> None:
            raise AssertionError("nobody is there to read")

        scope = {"type": "http", "method": "POST", "path": CHAT, "query_string": b"",
                 "headers": [], "client": ("127.0.0.1", 1)}  # fmt: skip
        await door.gateway(scope, receive, send)
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert door.run(leave()) == 1, "only this test's own task is left"
    assert door.runtime.stats()["metrics"]["total_errors"] == 0
