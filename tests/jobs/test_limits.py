"""What batch APIs take: the table that comes with headgate, and what is said over it."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from headgate.jobs.limits import day, limits_of, shipped, stale
from headgate.jobs.limits_settings import BatchApiConfig
from headgate.providers.settings import ProviderConfig
from headgate.types import Secret

KEY = Secret("sk-one")
OPENAI = ProviderConfig(api_key=KEY)
ANTHROPIC = ProviderConfig(kind="anthropic", api_key=KEY)
ELSEWHERE = ProviderConfig(api_key=KEY, base_url="http://127.0.0.1:1/v1")


def test_every_row_says_when_and_where_it_was_read() -> None:
    table = shipped()
    assert {"openai", "anthropic", "gemini", "mistral", "together", "vllm"} <= table.keys()
    for row in table.values():
        assert row.source, row.name
        assert row.as_of >= datetime.date(2026, 11, 1), row.name
        assert 0 < row.price_factor <= 1, row.name
    assert {name for name, row in table.items() if row.api} == {"openai", "anthropic"}


def test_openai_and_anthropic_are_as_they_were_read() -> None:
    table = shipped()
    openai, anthropic = table["openai"], table["anthropic"]
    assert (openai.requests_max, openai.file_max_bytes) == (50_000, 200_000_000)
    assert (anthropic.requests_max, anthropic.file_max_bytes) == (100_000, 256_000_000)
    assert openai.price_factor == anthropic.price_factor == Decimal("0.5")
    assert openai.takes("/v1/embeddings")
    assert not openai.takes("/v1/messages")
    assert anthropic.takes("/v1/messages")
    assert (openai.reconcile, anthropic.reconcile) == ("metadata", "custom_id")


def test_a_shard_stays_below_all_limits() -> None:
    row = shipped()["openai"]
    assert row.shard_items == 10_000, "the blast radius is ours"
    assert row.shard_bytes == 190_000_000


@pytest.mark.parametrize(
    ("name", "provider", "said", "api"),
    [
        ("openai", OPENAI, {}, "openai"),
        ("mine", OPENAI, {}, "openai"),
        ("mine", ProviderConfig(api_key=KEY, base_url="https://api.openai.com/v1/"), {}, "openai"),
        ("claude", ANTHROPIC, {}, "anthropic"),
        ("openai", ANTHROPIC, {}, "anthropic"),
        ("mine", ELSEWHERE, {"mine": BatchApiConfig(api="openai")}, "openai"),
        ("together", ELSEWHERE, {"together": BatchApiConfig(api="openai")}, "openai"),
    ],
)
def test_a_row_is_found_by_the_vendors_address_or_by_word(
    name: str, provider: ProviderConfig, said: dict[str, BatchApiConfig], api: str
) -> None:
    row = limits_of(name, provider, said, shipped())
    assert row is not None
    assert (row.api, row.name) == (api, name)


@pytest.mark.parametrize(
    ("name", "provider", "said"),
    [
        ("mine", ELSEWHERE, {}),
        ("openai", ELSEWHERE, {}),
        ("vllm", ELSEWHERE, {}),
        ("together", ELSEWHERE, {}),
        ("openai", ProviderConfig(), {}),
        ("openai", OPENAI, {"openai": BatchApiConfig(api="none")}),
        ("openai", OPENAI, {"openai": BatchApiConfig(api="anthropic")}),
        ("fake", ProviderConfig(kind="fake"), {}),
    ],
)
def test_nobody_has_a_batch_api_by_accident(
    name: str, provider: ProviderConfig, said: dict[str, BatchApiConfig]
) -> None:
    assert limits_of(name, provider, said, shipped()) is None


def test_a_row_without_a_dialect_keeps_its_limits_when_it_is_given_one() -> None:
    said = {"together": BatchApiConfig(api="openai")}
    row = limits_of("together", ELSEWHERE, said, shipped())
    assert row is not None
    assert (row.file_max_bytes, row.enqueued_tokens_max) == (100_000_000, 30_000_000_000)
    assert (row.endpoints, row.reconcile) == (("/v1/chat/completions",), "metadata")


def test_settings_win_over_the_table() -> None:
    said = BatchApiConfig(
        as_of="2027-01-01",
        requests_max=10,
        file_max_bytes=2000,
        enqueued_tokens_max=5,
        window=3600.0,
        price_factor=Decimal("0.25"),
        batches_at_once=2,
        shard_requests_max=7,
        poll=1.0,
    )
    row = limits_of("openai", OPENAI, {"openai": said}, shipped())
    assert row is not None
    assert (row.shard_items, row.shard_bytes, row.enqueued_tokens_max) == (7, 1900, 5)
    assert (row.window_s, row.price_factor, row.batches_at_once, row.poll_s) == (
        3600.0, Decimal("0.25"), 2, 1.0,
    )  # fmt: skip
    assert row.as_of == datetime.date(2027, 1, 1)
    assert row.takes("/v1/responses"), "the rest stays"


def test_old_rows_in_use_are_named_and_a_new_day_silences_them() -> None:
    providers = {"openai": OPENAI, "local": ELSEWHERE}
    young, old = datetime.date(2027, 5, 11), datetime.date(2027, 5, 12)
    assert stale(young, providers, {}) == []
    (line,) = stale(old, providers, {})
    assert line.startswith('batch_api."openai": ')
    assert "2026-11-12" in line
    assert stale(old, providers, {"openai": BatchApiConfig(as_of="2027-05-01")}) == []


def test_days_are_read_or_not() -> None:
    assert day("2026-11-12") == datetime.date(2026, 11, 12)
    assert day("soon") is None
