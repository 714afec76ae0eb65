"""The JSON over all workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate.surfaces.numbers import Numbers
from headgate.surfaces.statistics import over_workers

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def test_two_workers_are_told_like_one(open_door: Callable[..., Any], tmp_path: Path) -> None:
    doors = [open_door(), open_door()]
    parts, told = [], None
    for number, door in enumerate(doors):
        for _ in range(2 + number):
            assert door.post("/v1/chat/completions", QUESTION).status == 200
        numbers = Numbers(tmp_path / "n.db", str(number))
        numbers.follow(door.runtime)
        told = numbers.told()
        parts.append(door.runtime.stats())
    assert told is not None
    whole = over_workers(parts[0], told)
    assert set(whole) == {*parts[0], "workers"}
    assert (whole["workers"], whole["metrics"]["total_calls"]) == (2, 5)
    row, rows = whole["metrics"]["by_model"]["m"], [one["metrics"]["by_model"]["m"]
                                                   for one in parts]  # fmt: skip
    for name in ("calls", "tokens", "tokens_in", "cache_hits", "cache_misses", "errors"):
        assert row[name] == sum(one[name] for one in rows), name
    latest = [one["latency_avg"] * one["calls"] for one in rows]
    assert row["latency_avg"] * row["calls"] == pytest.approx(sum(latest), abs=0.01)
    assert (whole["cache"]["hits"], whole["cache"]["misses"]) == (3, 2)
    assert whole["cache"]["hit_rate"] == 0.6
    for name in ("billed_tokens", "avoided_tokens", "billed_usd"):
        assert whole["cost"][name] == sum(one["cost"][name] for one in parts), name
    assert whole["breakers"] == parts[0]["breakers"]


def test_nothing_counted_reads_as_zeros(door: Any) -> None:
    numbers = Numbers()
    numbers.follow(door.runtime)
    whole = over_workers(door.runtime.stats(), numbers.told())
    assert whole["metrics"] == door.runtime.stats()["metrics"]
    assert whole["cost"] == door.runtime.stats()["cost"]


def test_requests_for_embeddings_are_added_up_over_workers(
    open_door: Callable[..., Any], tmp_path: Path
) -> None:
    told, asked = None, {"model": "m", "input": ["a", "b", "c"]}
    for number in range(2):
        door = open_door()
        assert door.post("/v1/embeddings", asked).status == 200
        numbers = Numbers(tmp_path / "n.db", str(number))
        numbers.follow(door.runtime)
        told = numbers.told()
        own = door.runtime.stats()
    assert told is not None
    batching = over_workers(own, told)["batching"]
    assert (batching["requests"], batching["calls"], batching["items"]) == (2, 2, 6)
    assert batching["items_per_request"] == 3
