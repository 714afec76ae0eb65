"""The table: what it lists for each tier, to the nano-dollar what its own calculator says."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TimeOfDateConstraint
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.money import Price, Tokens, cost_nanos, dollars
from headgate.pricing_table import Listing, Table, Vendor

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
TABLE = Table()
MILLION = Tokens(input=1_000_000, output=100_000)


def listing(vendor: str, model: str) -> Listing:
    found = TABLE.find(Vendor("", (vendor,)), model)
    assert found is not None
    return found


def price(vendor: str, model: str, tier: str = "", *, batch: bool = False) -> Price | None:
    return listing(vendor, model).price(tier, NOW, batch=batch)


def theirs(vendor: str, model: str, tokens: Tokens, context: dict[str, str] | None) -> int:
    """What the table's own calculator says, in nano-dollars."""
    usage = TheirUsage(
        input_tokens=tokens.all_input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write + tokens.cache_write_1h,
        cache_write_1h_tokens=tokens.cache_write_1h,
    )
    found = calc_price(
        usage, model, provider_id=vendor, genai_request_timestamp=NOW, price_context=context
    )
    exact = found.total_price * 10**9
    return int(exact.to_integral_value(ROUND_HALF_EVEN))


GOLDEN = [
    ("openai", "gpt-5", "", "2.25"),
    ("openai", "gpt-5", "default", "2.25"),
    ("openai", "gpt-5", "flex", "1.125"),
    ("openai", "gpt-5", "priority", "4.5"),
    ("openai", "gpt-5", "batch", "1.125"),
    ("openai", "gpt-5.6", "", "11"),
    ("openai", "gpt-5.6", "flex", "5.5"),
    ("openai", "gpt-5.6", "priority", "22"),
    ("openai", "gpt-5.6", "batch", "5.5"),
    ("anthropic", "claude-opus-5", "standard", "7.5"),
    ("anthropic", "claude-opus-5", "batch", "3.75"),
    ("google", "gemini-2.5-pro", "", "4"),
    ("google", "gemini-2.5-pro", "batch", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "model", "tier", "wanted"), GOLDEN)
def test_the_golden_figures(vendor: str, model: str, tier: str, wanted: str) -> None:
    found = price(vendor, model, tier)
    assert found is not None
    assert dollars(cost_nanos(found, MILLION)) == wanted


@pytest.mark.parametrize(
    ("vendor", "model"),
    [("openai", "gpt-5"), ("anthropic", "claude-opus-5"), ("google", "gemini-2.5-pro")],
)
def test_a_batch_job_costs_what_the_batch_tier_costs(vendor: str, model: str) -> None:
    assert price(vendor, model, batch=True) == price(vendor, model, "batch")
    assert price(vendor, model, "default", batch=True) == price(vendor, model, "batch")


@pytest.mark.parametrize(
    ("vendor", "model", "tier"),
    [
        ("anthropic", "claude-opus-5", "priority"),
        ("anthropic", "claude-opus-5", "flex"),
        ("anthropic", "claude-opus-5", "batch+fast"),
        ("google", "gemini-2.5-pro", "flex"),
        ("google", "gemini-2.5-pro", "provisioned_throughput"),
        ("openai", "gpt-5", "scale"),
        ("openai", "gpt-5", "auto"),
        ("openai", "gpt-5", "other"),
    ],
)
def test_a_tier_that_the_table_lacks_is_unpriced_and_not_the_standard_one(
    vendor: str, model: str, tier: str
) -> None:
    standard = theirs(vendor, model, MILLION, {"service_tier": tier})
    assert standard == theirs(vendor, model, MILLION, None), "the trap is still there"
    assert price(vendor, model, tier) is None


def test_a_batch_job_in_another_tier_is_unpriced() -> None:
    assert price("openai", "gpt-5", "flex", batch=True) is None


def test_a_model_without_a_batch_price_has_none_in_batch_jobs() -> None:
    assert price("deepseek", "deepseek-chat") is not None
    assert price("deepseek", "deepseek-chat", batch=True) is None


def test_fast_is_a_speed_at_one_vendor_and_a_tier_at_another() -> None:
    fast = price("anthropic", "claude-opus-5", "fast")
    assert fast is not None
    assert fast.rates.input == 10 * 10**9
    fast = price("openai", "gpt-5", "fast")
    assert fast is not None
    assert fast.rates.input == 2_500_000_000


def test_writes_to_the_cache_cost_by_how_long_they_are_kept() -> None:
    found = price("anthropic", "claude-opus-5")
    assert found is not None
    assert (found.rates.cache_read, found.rates.cache_write, found.rates.cache_write_1h) == (
        500_000_000, 6_250_000_000, 10_000_000_000,
    )  # fmt: skip


def test_a_long_prompt_costs_more_from_its_threshold_on() -> None:
    found = price("google", "gemini-2.5-pro")
    assert found is not None
    assert [step.above for step in found.thresholds] == [200_000]
    for count in (200_000, 200_001):
        tokens = Tokens(input=count, output=7)
        assert cost_nanos(found, tokens) == theirs("google", "gemini-2.5-pro", tokens, None)


def test_the_version_names_the_table() -> None:
    found = price("openai", "gpt-5")
    assert found is not None
    assert (found.source, found.version) == ("genai-prices", TABLE.version)
    assert TABLE.version.startswith("genai-prices 0.")


def test_a_model_that_costs_by_the_request_has_no_price_here() -> None:
    assert price("perplexity", "sonar") is None


def test_an_embedding_costs_input_only() -> None:
    found = price("openai", "text-embedding-3-small")
    assert found is not None
    assert cost_nanos(found, Tokens(input=1)) == 20
    assert found.rates.output == 0


@pytest.mark.parametrize("model", ["gpt-5", "claude-opus-5"])
def test_what_a_provider_resells_has_no_tiers_of_the_vendors(model: str) -> None:
    """The calculator ignores them there, too: it would say the standard price."""
    assert listing("azure", model).model.price_variants
    standard = price("azure", model)
    assert standard is not None
    batch = theirs("azure", model, MILLION, {"processing": "batch"})
    assert batch == cost_nanos(standard, MILLION)
    assert price("azure", model, "batch") is None


def test_an_unknown_model_or_vendor_is_not_listed() -> None:
    assert TABLE.find(Vendor("", ("openai",)), "no-such-model") is None
    assert TABLE.find(Vendor("", ("nobody",)), "gpt-5") is None
    assert TABLE.find(Vendor("https://example.com/v1"), "gpt-5") is None
    assert TABLE.find(Vendor("", (), is_anybody=True), "no-such-model") is None


def test_the_table_never_refreshes_itself() -> None:
    assert get_snapshot().from_auto_update is False


def test_prices_change_on_the_half_hour_at_the_finest() -> None:
    """`pricing` looks again as often as that."""
    constraints = [
        step.constraint
        for provider in get_snapshot().providers
        for model in provider.models
        for step in (model.prices if isinstance(model.prices, list) else ())
        if isinstance(step.constraint, TimeOfDateConstraint)
    ]
    assert constraints
    for constraint in constraints:
        for time in (constraint.start_time, constraint.end_time):
            assert (time.minute % 30, time.second) == (0, 0)


COUNT = st.integers(0, 3_000_000)
CONTEXTS: dict[str, Any] = {
    "": None, "batch": {"processing": "batch"}, "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}  # fmt: skip
EVERY = [
    (provider.id, model.id)
    for provider in get_snapshot().providers
    if provider.id in ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "groq")
    for model in provider.models
]


@settings(max_examples=300)
@given(st.sampled_from(EVERY), st.sampled_from([*CONTEXTS]), st.builds(Tokens, *[COUNT] * 5))
def test_every_price_that_there_is_equals_the_calculators(
    name: tuple[str, str], tier: str, tokens: Tokens
) -> None:
    found = TABLE.find(Vendor("", (name[0],)), name[1])
    made = found.price(tier, NOW, batch=False) if found else None
    if made is not None:
        assert cost_nanos(made, tokens) == theirs(*name, tokens, CONTEXTS[tier])


def test_without_its_list_no_model_has_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert Table().find(Vendor(names=("openai",)), "gpt-5") is None
