"""`GET /api/calls`: whom it answers, which calls, and each with its why."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.errors import BadRequest
from headgate.surfaces.calls import Asked, read_asked

LOCAL = {"host": "127.0.0.1:4000", "authorization": "Bearer sk-canary"}


def ask(door: Any, text: str = "Hello?", **fields: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    assert door.post("/v1/chat/completions", body, LOCAL).status == 200


def found(door: Any, query: str = "") -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = door.get(f"/api/calls{query}", LOCAL).json["calls"]
    return calls


def test_it_is_an_admin_route(door: Any) -> None:
    assert door.get("/api/calls", {"host": "evil.example"}).status == 403
    assert door.get("/api/calls", client=("10.0.0.5", 1)).status == 401
    assert door.post("/api/calls", b"").status == 405


def test_the_last_call_comes_first_with_its_why(door: Any) -> None:
    for temperature in (0, 0, 0.7):
        ask(door, temperature=temperature)
    calls = found(door)
    assert [call["cache"] for call in calls] == ["miss", "hit", "miss"]
    assert [call["why"]["reason"] for call in calls] == ["differs", "hit", "first"]
    assert calls[0]["why"]["compared_with"] == calls[2]["call"]
    assert door.get("/api/calls", LOCAL).json["kept"] == 3


def test_calls_are_chosen_by_model_cache_and_number(door: Any) -> None:
    for model in ("a", "b", "a"):
        ask(door, model=model)
    assert [call["model"] for call in found(door, "?model=a")] == ["a", "a"]
    assert [call["model"] for call in found(door, "?cache=hit")] == ["a"]
    assert len(found(door, "?limit=1")) == 1
    assert found(door, "?model=c") == []


def test_one_call_is_found_by_its_id_or_not_at_all(door: Any) -> None:
    ask(door)
    (call,) = found(door)
    assert found(door, f"?call={call['call']}") == [call]
    missing = door.get("/api/calls?call=x-1", LOCAL)
    assert (missing.status, missing.json["error"]["code"]) == (404, "no_such_call")


def test_slow_calls_come_slowest_first(door: Any) -> None:
    for n in range(4):
        ask(door, seed=n)
    took = [call["total_ms"] for call in found(door, "?slow=0s")]
    assert sorted(took, reverse=True) == took
    assert found(door, "?slow=1h") == []


@pytest.mark.parametrize("query", ["?limit=0", "?limit=1001", "?limit=x", "?slow=soon", "?what=1"])
def test_a_wrong_query_is_400(door: Any, query: str) -> None:
    assert door.get(f"/api/calls{query}", LOCAL).status == 400


def test_a_query_says_which_calls_are_asked_for() -> None:
    assert read_asked({}) == Asked()
    assert read_asked({"slow": ""}).slow_s == 1.0
    assert read_asked({"slow": "2s", "limit": "7", "model": "m"}) == Asked(7, model="m", slow_s=2.0)
    with pytest.raises(BadRequest, match="unknown field 'how'; known: call, "):
        read_asked({"how": "x"})
