"""Controls in, provenance out: every form of the contract's table over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from headgate.config import Config, ModelConfig
from headgate.testing import FakeProvider, Status

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def status_of(gate: Any, body: dict[str, Any] | None = None, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status: str = gate.post(CHAT, body or BODY, named).headers["cache-status"]
    return status


def test_a_miss_that_is_stored_and_the_hit_after_it(gate: Any) -> None:
    first, second = (gate.post(CHAT, BODY) for _ in range(2))
    assert first.headers["cache-status"] == "headgate; fwd=miss; stored"
    assert first.headers["headgate-target"] == second.headers["headgate-target"] == "openai/m"
    assert (first.headers["headgate-attempts"], second.headers["headgate-attempts"]) == ("1", "0")
    assert second.headers["cache-status"] in ("headgate; hit; ttl=3599", "headgate; hit; ttl=3598")
    assert second.headers["age"] in ("0", "1")
    assert len(first.headers["headgate-key"]) == 64
    assert first.headers["headgate-key"] == second.headers["headgate-key"]
    assert "age" not in first.headers
    assert first.body == second.body


def test_a_failure_is_a_miss_that_is_not_stored(gate: Any, provider: FakeProvider) -> None:
    provider.script(Status(500))
    assert status_of(gate) == "headgate; fwd=miss"
    assert status_of(gate) == "headgate; fwd=miss; stored"


def test_no_cache_asks_again_and_stores_the_fresh_answer(gate: Any, provider: FakeProvider) -> None:
    statuses = [status_of(gate), status_of(gate, cache_control="no-cache"), status_of(gate)]
    assert statuses[1] == "headgate; fwd=bypass; stored"
    assert "; hit; " in statuses[2]
    assert len(provider.calls) == 2


def test_no_store_neither_reads_nor_writes(gate: Any, provider: FakeProvider) -> None:
    assert status_of(gate, cache_control="no-store") == "headgate; fwd=bypass"
    assert status_of(gate) == "headgate; fwd=miss; stored"
    assert status_of(gate, cache_control="no-store") == "headgate; fwd=bypass"
    assert len(provider.calls) == 3


def test_max_age_zero_asks_again(gate: Any, provider: FakeProvider) -> None:
    status_of(gate)
    assert status_of(gate, cache_control="max-age=0") == "headgate; fwd=miss; stored"
    assert "; hit; " in status_of(gate, cache_control="max-age=60")
    assert len(provider.calls) == 2


def test_only_if_cached_never_asks(gate: Any, provider: FakeProvider) -> None:
    got = gate.post(CHAT, BODY, {"cache-control": "only-if-cached"})
    assert (got.status, got.json["error"]["code"]) == (504, "cache_only_miss")
    assert provider.calls == []
    status_of(gate)
    assert "; hit; " in status_of(gate, cache_control="only-if-cached")


@pytest.mark.parametrize(
    "more",
    [{"background": True}, {"store": True}, {"tools": [{"type": "web_search_preview"}]},
     {"messages": [{"role": "user", "content": [
         {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]}],
    ids=str,
)  # fmt: skip
def test_what_may_not_be_cached_goes_upstream_every_time(
    gate: Any, provider: FakeProvider, more: dict[str, Any]
) -> None:
    assert [status_of(gate, {**BODY, **more}) for _ in range(2)] == ["headgate; fwd=bypass"] * 2
    assert len(provider.calls) == 2


def test_identical_calls_under_way_join_and_say_so(gate: Any, provider: FakeProvider) -> None:
    provider.hold()
    statuses: list[str] = []
    lock = threading.Lock()

    def ask() -> None:
        status = status_of(gate)
        with lock:
            statuses.append(status)

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    provider.wait_for_calls(1)
    provider.release()
    for thread in threads:
        thread.join()
    assert len(provider.calls) == 1
    assert statuses.count("headgate; fwd=miss; stored") == 1
    others = [status for status in statuses if "stored" not in status]
    assert len(others) == 49
    assert all(
        status == "headgate; fwd=miss; collapsed" or "; hit; " in status for status in others
    )
    assert "headgate; fwd=miss; collapsed" in others


def test_no_store_is_not_joined(gate: Any, provider: FakeProvider) -> None:
    provider.hold()
    threads = [
        threading.Thread(target=status_of, args=(gate,), kwargs={"cache_control": "no-store"})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    provider.wait_for_calls(3)
    provider.release()
    for thread in threads:
        thread.join()


def test_an_answer_under_way_while_the_cache_is_cleared_is_not_stored(
    gate: Any, provider: FakeProvider
) -> None:
    provider.hold()
    statuses: list[str] = []
    asking = threading.Thread(target=lambda: statuses.append(status_of(gate)))
    asking.start()
    provider.wait_for_calls(1)
    assert gate.post("/api/admin/clear-cache", b"").json["entries_removed"] == 0
    provider.release()
    asking.join()
    assert statuses == ["headgate; fwd=miss"]
    assert gate.stats()["cache"]["not_stored"] == {"cleared": 1}


def test_a_namespace_narrows_who_shares(gate: Any, provider: FakeProvider) -> None:
    for namespace in ("a", "b", "a", "b"):
        status_of(gate, headgate_namespace=namespace)
    status_of(gate)
    assert len(provider.calls) == 3


def test_a_callers_ttl_bounds_what_it_stores_and_what_it_takes(
    gate: Any, provider: FakeProvider
) -> None:
    status_of(gate, headgate_ttl="30s")
    assert status_of(gate) in ("headgate; hit; ttl=29", "headgate; hit; ttl=28")
    status_of(gate, headgate_ttl="1ms")
    assert len(provider.calls) == 2


def test_two_credentials_never_share_an_answer(gate: Any, provider: FakeProvider) -> None:
    bodies = [{**BODY, "messages": [{"role": "user", "content": str(n)}]} for n in range(5)]
    for body in bodies:
        assert "stored" in status_of(gate, body, authorization="Bearer tenant-a")
    for number, body in enumerate(bodies):
        assert "fwd=miss" in status_of(gate, body, authorization="Bearer tenant-b")
        assert len(provider.calls) == 6 + number, "each of B's questions goes upstream"
    for headers in ({"x_api_key": "tenant-a"}, {}, {"authorization": "Bearer tenant-a "[:-2]}):
        before = len(provider.calls)
        status_of(gate, bodies[0], **headers)
        assert len(provider.calls) == before + 1
    assert "; hit; " in status_of(gate, bodies[0], authorization="Bearer tenant-a")


def test_two_credentials_never_share_a_call_under_way(gate: Any, provider: FakeProvider) -> None:
    provider.hold()
    threads = [
        threading.Thread(
            target=status_of, args=(gate,), kwargs={"authorization": f"Bearer tenant-{number}"}
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    provider.wait_for_calls(4)
    provider.release()
    for thread in threads:
        thread.join()


def test_a_prefix_is_taken_off_and_the_rest_of_the_body_stays(
    open_gate: Callable[[Config], Any], provider: FakeProvider, gate: Any
) -> None:
    body = b'{"x":[1.0e2 ],  "model" : "openai/org/m", "messages":[{"role":"user","content":"q"}]}'
    assert gate.post(CHAT, body).headers["headgate-target"] == "openai/org/m"
    assert provider.calls[0].raw == body.replace(b"openai/org/m", b"org/m")
    models = {"fast": ModelConfig(targets=("openai/m-2026",))}
    listed = open_gate(Config(providers=gate.runtime.config.providers, models=models))
    assert listed.post(CHAT, {**BODY, "model": "fast"}).status == 200
    assert provider.calls[1].body["model"] == "m-2026"
    assert provider.calls[1].body["messages"] == BODY["messages"]


def test_an_unknown_model_is_404_naming_the_configured_ones(
    open_gate: Callable[[Config], Any], gate: Any, provider: FakeProvider
) -> None:
    block = gate.runtime.config.providers["openai"]
    models = {"gpt-4o": ModelConfig(targets=("a/x",))}
    two = open_gate(Config(providers={"a": block, "b": block}, models=models))
    got = two.post(CHAT, {**BODY, "model": "gpt-4"})
    assert got.status == 404
    assert "did you mean 'gpt-4o'" in got.json["error"]["message"]
    assert "a/MODEL, b/MODEL" in got.json["error"]["message"]
    assert provider.calls == []
