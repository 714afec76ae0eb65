"""The gateway's own routes: models, health, numbers, administration."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from headgate.config import Config, ModelConfig, ProviderConfig, ServerConfig
from headgate.layers.settings import CacheConfig
from headgate.stores.sqlite_file import CONNECTIONS_MAX
from headgate.surfaces.operations import Operations
from headgate.testing import Answer, FakeClock, FakeProvider
from headgate.types import Secret

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}
ADMIN = ("/api/metrics/llm", "/api/admin/cache")
LOCAL = {"host": "localhost"}


def ask_about(door: Any, *questions: str, model: str = "m", **headers: str) -> None:
    for question in questions:
        body = {"model": model, "messages": [{"role": "user", "content": question}]}
        got = door.post("/v1/chat/completions", body, {**LOCAL, **headers})
        assert got.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health/liveliness", "/health/readiness"])
def test_health_is_open_to_everybody(door: Any, path: str) -> None:
    got = door.get(path, {"host": "anything"}, client=("10.0.0.5", 1))
    assert (got.status, got.headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat", "/v1/chat/completions/", "/V1/models",
                                  "//healthz", "/healthz/", "/api/admin", "/x" * 500])  # fmt: skip
def test_an_unknown_route_is_404_and_named(door: Any, path: str) -> None:
    got = door.get(path)
    assert got.status == 404
    assert got.json["error"]["code"] == "no_such_route"
    assert path[:20] in got.json["error"]["message"]
    assert len(got.body) < 500


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [("POST", "/healthz", "GET"), ("DELETE", "/v1/models", "GET"), ("PUT", "/metrics", "GET"),
     ("GET", "/api/admin/clear-cache", "POST"), ("HEAD", "/api/admin/clear-cache", "POST"),
     ("TRACE", "/readyz", "GET")],
)  # fmt: skip
def test_a_wrong_method_is_405_and_names_the_right_one(
    door: Any, method: str, path: str, right: str
) -> None:
    got = door.ask(method, path, b"", {"host": "localhost"})
    assert got.status == 405
    assert got.json["error"]["message"] == f"{path} takes {right}"
    assert got.headers["allow"] == ("GET, HEAD" if right == "GET" else right)


def test_head_is_get_without_its_body_for_the_server_to_drop(door: Any) -> None:
    assert door.ask("HEAD", "/healthz", b"", {"host": "localhost"}).status == 200


@pytest.mark.parametrize("path", ADMIN)
def test_admin_routes_refuse_what_does_not_come_from_this_machine(door: Any, path: str) -> None:
    assert door.get(path).status == 200
    assert door.get(path, client=("10.0.0.5", 1)).status == 401
    assert door.get(path, client=None).status == 401
    assert door.get(path, {"host": "evil.example"}).status == 403
    assert door.get(path, {**LOCAL, "origin": "http://evil.example"}).status == 403
    assert door.get(path, {**LOCAL, "sec-fetch-site": "cross-site"}).status == 403
    assert door.get(path, {**LOCAL, "x-forwarded-for": "1.2.3.4"}).status == 401


def test_clearing_from_another_page_removes_nothing(door: Any) -> None:
    ask_about(door, "Hello?")
    headers = {**LOCAL, "origin": "http://evil.example"}
    assert door.post("/api/admin/clear-cache", b"", headers).status == 403
    assert door.runtime.stats()["cache"]["size"] == 1


def test_the_admin_token_opens_the_admin_routes(open_door: Callable[..., Any]) -> None:
    fake = {"fake": ProviderConfig(kind="fake")}
    server = ServerConfig(host="0.0.0.0", admin_token=Secret("t0ken"))
    door = open_door(Config(server=server, providers=fake))
    outside = {"host": "gate.example", "authorization": "Bearer t0ken"}
    for path in ADMIN:
        assert door.get(path).status == 401
        assert door.get(path, outside, client=("10.0.0.5", 1)).status == 200


def test_every_route_says_whom_it_serves(door: Any) -> None:
    open_routes = {
        path for path, route in door.gateway._serving.operations.routes.items() if not route.admin
    }
    assert open_routes == {
        "/v1/models", "/healthz", "/readyz", "/health/liveliness", "/health/readiness", "/metrics",
    }  # fmt: skip


def test_the_numbers_have_the_keys_of_the_seed_document(door: Any) -> None:
    ask_about(door, "a", "a", "b")
    numbers = door.get("/api/metrics/llm").json
    assert {"size", "maxsize", "ttl", "hits", "misses", "hit_rate"} <= set(numbers["cache"])
    assert (numbers["cache"]["hits"], numbers["cache"]["misses"]) == (1, 2)
    assert numbers["metrics"]["by_model"]["m"]["calls"] == 3
    assert numbers["metrics"]["total_calls"] == 3


def test_clear_cache_answers_how_many_entries_it_removed(door: Any) -> None:
    ask_about(door, "a", "b", "c")
    got = door.post("/api/admin/clear-cache", b"")
    assert (got.status, got.json) == (200, {"status": "cleared", "entries_removed": 3})
    assert door.post("/api/admin/clear-cache", b"").json["entries_removed"] == 0
    ask_about(door, "a")
    assert door.runtime.stats()["cache"]["misses"] == 4


@pytest.mark.parametrize(
    ("selection", "count"),
    [({"model": "m"}, 3), ({"model": "n"}, 1), ({"namespace": "team"}, 1), ({"tag": "faq"}, 1),
     ({"older_than": "1h"}, 0), ({"older_than": 0}, 4), ({"older_than": "0"}, 4), ({}, 4),
     ({"key": "ab" * 32}, 0)],
)  # fmt: skip
def test_clear_cache_removes_what_is_selected(
    open_door: Callable[..., Any], selection: dict[str, Any], count: int
) -> None:
    clock = FakeClock()
    door = open_door(clock=clock)
    ask_about(door, "a")
    ask_about(door, "a", model="n")
    ask_about(door, "a", **{"headgate-namespace": "team"})
    ask_about(door, "b", **{"headgate-tags": "faq, x"})
    clock.advance(60)
    dry = door.post("/api/admin/clear-cache", {**selection, "dry_run": True}).json
    assert dry == {"status": "counted", "entries_removed": count}
    got = door.post("/api/admin/clear-cache", selection).json
    assert got == {"status": "cleared", "entries_removed": count}
    assert door.runtime.stats()["cache"]["size"] == 4 - count


@pytest.mark.parametrize(
    "body",
    [{"modle": "m"}, {"model": 5}, {"model": None}, {"older_than": "soon"}, {"older_than": None},
     {"older_than": []}, {"older_than": True}, {"key": "zz"}, {"dry_run": "yes"}, [], b"{", b"NaN",
     b'{"model": "a", "model": "b"}'],
    ids=str,
)  # fmt: skip
def test_a_selection_that_makes_no_sense_removes_nothing(door: Any, body: Any) -> None:
    ask_about(door, "a")
    got = door.post("/api/admin/clear-cache", body)
    assert got.status == 400
    assert got.json["error"]["message"]
    assert door.runtime.stats()["cache"]["size"] == 1


def test_entries_are_listed_most_recently_used_first_without_their_content(door: Any) -> None:
    ask_about(door, "a")
    ask_about(door, "b", model="n")
    first, second = door.get("/api/admin/cache").json["entries"]
    assert (first["model"], second["model"]) == ("n", "m")
    assert first["operation"] == "chat"
    assert 0 < first["ttl_s"] <= 3600
    assert "content" not in first
    (one,) = door.get(f"/api/admin/cache?key={second['key']}").json["entries"]
    assert one["model"] == "m"
    assert '"choices"' in one["content"]
    assert len(door.get("/api/admin/cache?limit=1").json["entries"]) == 1
    assert len(door.get("/api/admin/cache?model=n").json["entries"]) == 1


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "limit=1001", "limit=99999999999", "limit=-1", "limit=%C2%B2",
     "key=zz", "unknown=1", "a", "&".join("model=a" for _ in range(30))],
)  # fmt: skip
def test_a_listing_that_makes_no_sense_is_a_bad_request(door: Any, query: str) -> None:
    assert door.get(f"/api/admin/cache?{query}").status == 400


def test_a_key_that_is_none_is_told_what_a_key_is(door: Any) -> None:
    got = door.get("/api/admin/cache?key=zz")
    assert got.json["error"]["message"] == '"key" must be 64 hexadecimal digits'


def test_metrics_are_served_in_the_scrapers_format(door: Any) -> None:
    got = door.get("/metrics", {"host": "x", "accept": "application/openmetrics-text"})
    assert got.headers["content-type"].startswith("application/openmetrics-text")
    assert got.body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/metrics", "/api/metrics/llm"])
def test_numbers_that_wait_for_the_disk_do_not_keep_others_waiting(
    open_door: Callable[..., Any], tmp_path: Path, path: str
) -> None:
    cache = CacheConfig(persist=True, persist_path=str(tmp_path / "cache.db"))
    door = open_door(Config(cache=cache))
    operations = Operations(door.runtime)
    other_answered = threading.Event()

    async def ask(path: str) -> int:
        headers = [(b"host", b"localhost")]
        scope = {"path": path, "method": "GET", "headers": headers, "client": ("127.0.0.1", 1)}
        return (await operations.answer(scope, b"")).status

    async def ask_both() -> list[int]:
        numbers = asyncio.ensure_future(ask(path))
        await asyncio.sleep(0)
        health = await ask("/healthz")
        other_answered.set()
        return [health, await numbers]

    with ExitStack() as connections:
        for _ in range(CONNECTIONS_MAX):
            connections.enter_context(door.runtime.tiers.below._engine.file.connection())
        in_time: list[bool] = []

        def free_the_disk() -> None:
            in_time.append(other_answered.wait(60))
            connections.close()

        waiting = threading.Thread(target=free_the_disk)
        waiting.start()
        assert door.run(ask_both()) == [200, 200]
        waiting.join()
    assert in_time == [True]


def test_configured_models_are_listed_for_both_sdks(open_door: Callable[..., Any]) -> None:
    models = {name: ModelConfig(targets=("fake/x",)) for name in ("b", "a")}
    door = open_door(Config(providers={"fake": ProviderConfig(kind="fake")}, models=models))
    listed = door.get("/v1/models").json
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("a", "b", False)
    assert listed["data"][0]["object"] == listed["data"][0]["type"] == "model"


def test_without_configured_models_the_only_provider_lists_its_own(door: Any) -> None:
    ids = [model["id"] for model in door.get("/v1/models").json["data"]]
    assert "fake-large" in ids


def test_a_list_of_models_that_is_a_stream_is_refused_and_let_go(
    open_door: Callable[..., Any],
) -> None:
    with FakeProvider() as provider:
        far = ProviderConfig(base_url=provider.base_url)
        door = open_door(Config(providers={"far": far}))
        provider.script(Answer(chunks=[b"data: 1\n\n", b"data: 2\n\n"], chunk_delay_s=60))
        got = door.get("/v1/models")
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_garbled")
        provider.wait_for_abandoned(1)


def test_without_a_provider_the_list_is_empty(open_door: Callable[..., Any]) -> None:
    listed = open_door(Config()).get("/v1/models").json
    assert (listed["data"], listed["first_id"]) == ([], None)


def test_an_empty_namespace_lists_the_entries_that_have_none(door: Any) -> None:
    ask_about(door, "in none")
    ask_about(door, "in one", **{"headgate-namespace": "night"})
    listed = door.get("/api/admin/cache?namespace=").json["entries"]
    assert [entry["namespace"] for entry in listed] == [""]
