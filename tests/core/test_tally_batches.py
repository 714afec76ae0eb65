"""What is counted of requests with several inputs."""

from __future__ import annotations

from headgate.core.tally_batches import MODELS_MAX, OTHER, SIZES, Batches, parts_of


def test_requests_calls_inputs_and_waits_are_counted() -> None:
    counts = Batches()
    counts.sent("m", 1, [0.0])
    counts.sent("m", 33, [0.004] * 31 + [0.002])
    numbers = counts.numbers()
    assert (numbers["requests"], numbers["calls"], numbers["items"]) == (2, 33, 34)
    assert numbers["items_per_request"] == 17
    counts.sent("other", 3, [0.0])
    assert counts.numbers()["items"] == 37
    assert round(numbers["wait_avg_ms"], 3) == round((31 * 4 + 2) / 33, 3)


def test_nothing_is_no_division_by_zero() -> None:
    assert Batches().numbers()["items_per_request"] == 0


def test_a_vector_holds_two_histograms() -> None:
    counts = Batches()
    for items in (1, 2, 3, 2048, 9999):
        counts.sent("m", items, [0.001, 5.0])
    sizes, waits, items, wait_us = parts_of(counts.models["m"].vector())
    assert dict(zip([*SIZES, 0], sizes, strict=True)) == {
        **dict.fromkeys(SIZES, 0), 1: 1, 2: 1, 4: 1, 2048: 1, 0: 1
    }  # fmt: skip
    assert (sum(waits), waits[0]) == (10, 5)
    assert items == 1 + 2 + 3 + 2048 + 9999
    assert wait_us == 5 * 5_001_000


def test_models_beyond_so_many_are_counted_together() -> None:
    counts = Batches()
    for number in range(MODELS_MAX + 50):
        counts.sent(f"m{number}", 1, [0.0])
    assert len(counts.models) == MODELS_MAX + 1
    assert counts.models[OTHER].requests == 50
