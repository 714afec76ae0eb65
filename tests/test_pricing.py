"""Prices: the user's own first, then the table, else none; and nobody waits who must not."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest

from headgate import pricing
from headgate.config import Config, ModelConfig, PriceConfig, ProviderConfig
from headgate.core.money import Price, Rates, Tokens, cost_nanos
from headgate.pricing import Prices, configured, contract, unpriced
from headgate.testing import FakeClock

DAY_S = 86_400.0
PAID = PriceConfig(Decimal(1), Decimal(4), Decimal("0.1"), Decimal("1.25"), Decimal(2))
OPENAI = {"openai": ProviderConfig()}


NOW_S = 1_795_737_600.0
"""2026-11-27, after the tiers of the table began."""


def prices(config: Config | None = None, at_s: float = NOW_S) -> Prices:
    return Prices(config or Config(providers=OPENAI), clock=FakeClock(wall_s=at_s))


def settled(made: Prices) -> Prices:
    """With nothing on its way any more."""
    for thread in threading.enumerate():
        if thread.name == "headgate-prices":
            thread.join()
    return made


def test_a_model_that_nobody_knows_has_no_price() -> None:
    assert prices().resolve("openai", "no-such-model") is None


def test_the_first_question_does_not_wait_and_says_that_the_price_may_be_late() -> None:
    made = prices()
    assert made.price("openai", "gpt-5") is None
    assert made.is_pending("openai", "gpt-5") or made.price("openai", "gpt-5") is not None
    settled(made)
    assert not made.is_pending("openai", "gpt-5")
    assert made.price("openai", "gpt-5") == made.resolve("openai", "gpt-5") != None  # noqa: E711


def test_a_model_that_is_unknown_is_not_pending_for_ever() -> None:
    made = prices()
    assert made.price("openai", "no-such-model") is None
    assert not settled(made).is_pending("openai", "no-such-model")


def test_warming_finds_the_models_of_the_configuration() -> None:
    models = {"m": ModelConfig(("openai/gpt-5",), ("openai/gpt-4o=3",))}
    made = prices(Config(providers=OPENAI, models=models))
    made.warm()
    settled(made)
    assert made.price("openai", "gpt-5") is not None
    assert made.price("openai", "gpt-4o") is not None


def test_warming_some_models_leaves_the_others_pending() -> None:
    made = prices()
    made.warm([("openai", "gpt-5")])
    settled(made)
    assert made.price("openai", "gpt-5") is not None
    assert made.is_pending("openai", "gpt-4o")


def test_the_price_is_found_once_and_then_only_looked_up() -> None:
    made = prices()
    first = made.resolve("openai", "gpt-5")
    assert first is made.price("openai", "gpt-5") is made.price("openai", "gpt-5", "")


def test_a_new_day_is_looked_at_again() -> None:
    """The flex price of gpt-5 stands in the table from 2026-10-12 on."""
    clock = FakeClock(wall_s=1_791_763_200.0 - DAY_S)
    made = Prices(Config(providers=OPENAI), clock=clock)
    assert made.resolve("openai", "gpt-5", "flex") is None
    clock.advance(DAY_S)
    price = made.price("openai", "gpt-5", "flex")
    assert price is not None
    assert price.rates.input == 625_000_000


# The user's own prices.


def test_the_price_of_the_user_wins_over_the_table() -> None:
    made = prices(Config(providers=OPENAI, prices={"openai/gpt-5": PAID}))
    price = made.price("openai", "gpt-5")
    assert price is not None
    assert price.source == "config"
    assert price.rates == Rates(10**9, 10**8, 1_250_000_000, 4 * 10**9, 2 * 10**9)


def test_a_price_of_a_model_counts_at_every_provider_and_one_with_its_provider_wins() -> None:
    other = PriceConfig(Decimal(9), Decimal(9))
    made = prices(Config(prices={"gpt-5": PAID, "azure/gpt-5": other}))
    found = [made.price(provider, "gpt-5") for provider in ("openai", "azure")]
    assert [price.rates.input for price in found if price] == [10**9, 9 * 10**9]


def test_a_price_of_the_user_needs_no_table() -> None:
    made = prices(Config(prices={"mine": PAID}))
    assert not made.is_pending("any", "mine")
    made.price("any", "mine")
    assert made._table is None


def test_classes_that_the_user_leaves_out_cost_as_input_does() -> None:
    price = contract(PriceConfig(Decimal(3), Decimal(5)), "", batch=False)
    assert price is not None
    assert price.rates == Rates(3 * 10**9, 3 * 10**9, 3 * 10**9, 5 * 10**9, 3 * 10**9)
    price = contract(PriceConfig(Decimal(3), Decimal(5), cache_write=Decimal(4)), "", batch=False)
    assert price is not None
    assert (price.rates.cache_write, price.rates.cache_write_1h) == (4 * 10**9, 4 * 10**9)


@pytest.mark.parametrize("tier", ["flex", "priority", "other", "fast"])
def test_a_contract_says_nothing_about_other_tiers(tier: str) -> None:
    made = prices(Config(providers=OPENAI, prices={"gpt-5": PAID}))
    assert made.price("openai", "gpt-5", tier) is None
    assert not made.is_pending("openai", "gpt-5")


@pytest.mark.parametrize("tier", ["", "default", "standard"])
def test_the_standard_tier_has_several_names(tier: str) -> None:
    made = prices()
    assert made.resolve("openai", "gpt-5", tier) == made.resolve("openai", "gpt-5")


def test_batch_jobs_cost_the_factor_of_the_contract_or_have_no_price() -> None:
    assert contract(PAID, "", batch=True) is None
    half = PriceConfig(Decimal(1), Decimal(4), Decimal("0.1"), batch=Decimal("0.5"))
    for tier, batch in (("", True), ("batch", False), ("batch", True)):
        price = contract(half, tier, batch=batch)
        assert price is not None
        assert price.rates.output == 2 * 10**9
        assert price.rates.cache_read == 50_000_000
    assert contract(half, "flex", batch=True) is None


def test_a_changed_contract_is_another_version_and_the_same_one_is_not() -> None:
    def version(paid: PriceConfig) -> str:
        price = contract(paid, "", batch=False)
        assert price is not None
        return price.version

    changed = PriceConfig(Decimal(1), Decimal(5))
    assert version(PAID) == version(PAID) != version(changed)


def test_a_price_of_nothing_is_a_price() -> None:
    price = contract(PriceConfig(Decimal(0), Decimal(0)), "", batch=False)
    assert price is not None
    assert cost_nanos(price, Tokens(1, 1, 1, 1, 1)) == 0


# Who the provider is.


@pytest.mark.parametrize(
    ("provider", "settings"),
    [
        ("openai", ProviderConfig()),
        ("mine", ProviderConfig()),
        ("mine", ProviderConfig(base_url="https://api.openai.com/v1")),
        ("openai", ProviderConfig(base_url="http://127.0.0.1:9/v1")),
        ("mine", ProviderConfig(base_url="http://llm.internal/v1")),
        ("fake", ProviderConfig(kind="fake")),
    ],
)
def test_a_model_of_openais_has_its_price_under_any_name(
    provider: str, settings: ProviderConfig
) -> None:
    price = prices(Config(providers={provider: settings})).resolve(provider, "gpt-5")
    assert price is not None
    assert price.rates.input == 1_250_000_000


def test_a_kind_says_whose_price_counts_where_nothing_else_does() -> None:
    settings = ProviderConfig(kind="anthropic", base_url="http://llm.internal")
    made = prices(Config(providers={"mine": settings}))
    assert made.resolve("mine", "claude-opus-5") is not None
    assert made.resolve("mine", "gpt-5") is None


@pytest.mark.parametrize("provider", ["openai", "api.openai.com", "function"])
def test_a_provider_that_nobody_configured_is_known_by_address_name_or_model(
    provider: str,
) -> None:
    assert prices(Config()).resolve(provider, "gpt-5") is not None


@pytest.mark.parametrize("provider", ["127.0.0.1:8000", "llm.internal", "api.groq.com"])
def test_an_address_that_is_not_the_vendors_has_no_price_for_its_model(provider: str) -> None:
    assert prices(Config()).resolve(provider, "gpt-5") is None


def test_the_address_says_whose_price_counts() -> None:
    groq = ProviderConfig(base_url="https://api.groq.com/openai/v1")
    made = prices(Config(providers={"mine": groq}))
    assert made.resolve("mine", "llama-3.3-70b-versatile") is not None
    assert made.resolve("mine", "gpt-5") is None


# Bounds.


def test_many_unknown_names_neither_grow_nor_push_out_a_model_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pricing, "KNOWN_MAX", 8)
    made = prices()
    kept = made.resolve("openai", "gpt-5")
    for number in range(40):
        assert made.resolve("openai", f"bomb-{number}") is None
    assert len(made._absent) == 8
    assert made.price("openai", "gpt-5") is kept


def test_many_tiers_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "KNOWN_MAX", 8)
    made = prices()
    for number in range(40):
        assert made.resolve("openai", "gpt-5", f"tier-{number}") is None
    assert len(made._known) == 8
    assert made.resolve("openai", "gpt-5") is not None


def test_many_questions_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_WANTED_MAX", 8)
    made = prices()
    with made._loading:
        # The thread stands before the table with one in its hand.
        for number in range(40):
            made.price("openai", f"bomb-{number}")
        assert len(made._wanted) <= 8
    settled(made)


@pytest.mark.parametrize("model", ["", "x" * 257])
def test_a_name_that_is_none_is_never_looked_for(model: str) -> None:
    made = prices()
    assert made.resolve("openai", model) is None
    assert not made.is_pending("openai", model)
    assert made._table is None


def test_questions_from_many_threads_have_one_answer() -> None:
    made = prices()
    answers: list[Price | None] = []

    def ask() -> None:
        answers.append(made.resolve("openai", "gpt-5"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len({answer.version if answer else "" for answer in answers}) == 1


# What a configuration names.


def test_the_configured_models_are_every_target_once() -> None:
    config = Config(
        providers={"openai": ProviderConfig(), "try": ProviderConfig(kind="fake")},
        models={
            "a": ModelConfig(("openai/x=2", "try/y"), ("openai/z", "b"), ("openai/w",)),
            "b": ModelConfig(("openai/x",), content_fallbacks=("openai/v",)),
        },
    )
    assert configured(config) == [
        ("openai", "x"), ("openai", "z"), ("openai", "w"), ("openai", "v")
    ]  # fmt: skip


def test_what_has_no_price_is_named() -> None:
    models = {"m": ModelConfig(("openai/gpt-5", "openai/mine", "openai/paid"))}
    config = Config(providers=OPENAI, models=models, prices={"openai/paid": PAID})
    assert unpriced(config) == ["openai/mine"]
