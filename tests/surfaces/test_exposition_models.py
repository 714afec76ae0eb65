"""Series of models, from what was counted."""

from __future__ import annotations

from headgate.core.booking import ANSWER, AVOIDED_EXACT
from headgate.core.series import STALE, ModelSeries
from headgate.core.tally_batches import Batches
from headgate.core.totals import Sum
from headgate.surfaces.exposition_models import (
    batch_families,
    call_families,
    compat_families,
    duration_family,
    money_families,
    series_in,
    sums_in,
    token_families,
)
from headgate.surfaces.exposition_text import Family


def a_row() -> ModelSeries:
    row = ModelSeries("m")
    row.calls, row.hits, row.misses = 6, 3, 2
    row.results[0], row.results[STALE] = 2, 1
    row.tokens_in, row.tokens_out, row.cached, row.written = 100, 20, 30, 10
    row.counts[-1] = 6
    row.hit_buckets[0] = 0
    row.errors["timeout"], row.refusals["queue_full"], row.mistakes = 1, 2, 4
    return row


def lines(*families: Family) -> list[str]:
    return [line for family in families for line in family.samples]


def test_the_names_of_the_seed_carry_the_model_alone() -> None:
    found = lines(*compat_families([a_row()]))
    assert 'llm_calls{model="m"} 6' in found
    assert 'llm_errors{model="m"} 3' in found
    assert 'llm_cache_hits{model="m"} 3' in found
    assert 'llm_cache_misses{model="m"} 2' in found
    assert 'llm_tokens{model="m",type="input"} 100' in found
    assert 'llm_latency_ms{le="+Inf",model="m"} 6' in found


def test_a_model_has_every_series_at_0_from_its_first_call_on() -> None:
    found = lines(*compat_families([ModelSeries("m")]), *call_families([ModelSeries("m")]))
    assert len([line for line in found if line.startswith("llm_")]) == 4 + 2 + 27
    assert all(line.endswith(" 0") for line in found)
    assert 'headgate_errors_total{model="m",type="caller"} 0' in found
    assert 'headgate_calls_total{model="m",result="refused"} 0' in found


def test_lookups_are_hits_misses_and_what_did_not_ask() -> None:
    found = lines(*call_families([a_row()]))
    for result, count in (("hit", 3), ("miss", 2), ("bypass", 1)):
        assert f'headgate_cache_lookups_total{{model="m",result="{result}"}} {count}' in found
    assert 'headgate_cache_hits_total{model="m",layer="exact"} 2' in found
    assert 'headgate_cache_hits_total{model="m",layer="stale"} 1' in found
    assert 'headgate_errors_total{model="m",type="timeout"} 1' in found
    assert 'headgate_refusals_total{model="m",reason="queue_full"} 2' in found


def test_each_token_is_in_one_class() -> None:
    sums = {"m": {AVOIDED_EXACT: Sum(2, 50, plain_input=20, cache_read=5), ANSWER: Sum(1, 9)}}
    found = lines(*token_families([a_row()], sums))
    for kind, count in (("input", 60), ("cache_read", 30), ("cache_write", 10), ("output", 20)):
        assert f'headgate_tokens_total{{model="m",type="{kind}"}} {count}' in found
    for kind, count in (("input", 20), ("cache_read", 5), ("cache_write", 0), ("output", 25)):
        assert f'headgate_tokens_saved_total{{model="m",type="{kind}"}} {count}' in found


def test_dollars_go_by_the_kinds_of_the_ledger() -> None:
    sums = {"m": {ANSWER: Sum(3, 30, 1_500_000_000, 1, 0, 2), AVOIDED_EXACT: Sum(1, 10, 250)}}
    found = lines(*money_families(sums))
    assert found == [
        'headgate_cost_dollars_total{model="m",kind="answer"} 1.5',
        'headgate_saved_dollars_total{model="m",kind="avoided_exact"} 2.5e-07',
        'headgate_unpriced_calls_total{model="m"} 1',
        'headgate_estimated_usage_total{model="m"} 2',
    ]


def test_the_duration_of_hits_is_apart() -> None:
    row = a_row()
    row.counts[-1], row.counts[0], row.hit_buckets[0] = 1, 5, 5
    row.sum_ms, row.hit_sum_ms = 1005.0, 5.0
    found = lines(duration_family([row]))
    name = "headgate_call_duration_seconds"
    assert f'{name}_count{{model="m",cached="true"}} 5' in found
    assert f'{name}_count{{model="m",cached="false"}} 1' in found
    assert f'{name}_sum{{model="m",cached="false"}} 1.0' in found


def test_what_was_counted_is_read_back() -> None:
    row = a_row()
    totals = {("model", "m"): row.vector(), ("error", "m", "timeout"): [1],
              ("refusal", "m", "queue_full"): [2], ("ledger", "m", ANSWER): [1, 2, 3],
              ("error", "alone", "reset"): [5]}  # fmt: skip
    first, second = series_in(totals)
    assert (first.vector(), first.errors, first.refusals) == (
        row.vector(), {"timeout": 1}, {"queue_full": 2},
    )  # fmt: skip
    assert (second.model, second.failures) == ("alone", 5)
    assert sums_in(totals) == {"m": {ANSWER: Sum(1, 2, 3)}}


def test_requests_for_embeddings_have_their_size_and_the_wait_for_them() -> None:
    counts = Batches()
    counts.sent("m", 3, [0.001, 0.3])
    found = lines(*batch_families({("batch", "m"): counts.models["m"].vector()}))
    assert 'headgate_batch_size_bucket{model="m",le="2"} 0' in found
    assert 'headgate_batch_size_bucket{model="m",le="4"} 1' in found
    assert 'headgate_batch_size_sum{model="m"} 3' in found
    assert 'headgate_batch_wait_seconds_bucket{model="m",le="0.005"} 1' in found
    assert 'headgate_batch_wait_seconds_count{model="m"} 2' in found
    assert 'headgate_batch_wait_seconds_sum{model="m"} 0.301' in found
