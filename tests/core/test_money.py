"""Money is whole nano-dollars: parts sum, nothing is negative, nothing is a float."""

from __future__ import annotations

import ast
import inspect
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core import money
from headgate.core.money import (
    Price,
    Rates,
    Threshold,
    Tokens,
    cost_nanos,
    divided,
    dollars,
    nanos_of,
    sum_of,
    times,
    tokens_of,
)
from headgate.types import NO_USAGE, Usage

COUNTS = st.integers(0, 10**9)
RATES = st.builds(Rates, *[st.integers(0, 10**15)] * 5)
TOKENS = st.builds(Tokens, *[COUNTS] * 5)
USAGES = st.builds(Usage, *[COUNTS] * 6)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    starts = sorted(draw(st.sets(st.integers(0, 10**6), max_size=3)))
    steps = tuple(Threshold(start, draw(RATES)) for start in starts)
    return Price(draw(RATES), "v", "", steps)


def rates(input: int, output: int = 0, cache_read: int = 0, write: int = 0, hour: int = 0) -> Rates:
    return Rates(input, cache_read, write, output, hour)


def test_two_cents_per_million_are_twenty_nano_dollars_a_token() -> None:
    assert cost_nanos(Price(rates(20_000_000), "v"), Tokens(input=1)) == 20


def test_every_class_has_its_own_rate() -> None:
    price = Price(Rates(1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000), "v")
    found = [
        cost_nanos(price, Tokens(input=7)),
        cost_nanos(price, Tokens(cache_read=7)),
        cost_nanos(price, Tokens(cache_write=7)),
        cost_nanos(price, Tokens(output=7)),
        cost_nanos(price, Tokens(cache_write_1h=7)),
    ]
    assert found == [7, 14, 21, 28, 35]


def test_a_threshold_counts_for_the_whole_call_and_only_above_it() -> None:
    price = Price(rates(1_000_000), "v", "", (Threshold(100, rates(2_000_000)),))
    assert cost_nanos(price, Tokens(input=100)) == 100
    assert cost_nanos(price, Tokens(input=101)) == 202


def test_cached_and_written_input_counts_towards_a_threshold() -> None:
    price = Price(rates(0, output=1_000_000), "v", "", (Threshold(9, rates(0, output=2_000_000)),))
    for tokens in (Tokens(5, 5, 0, 1), Tokens(5, 0, 5, 1), Tokens(5, 0, 0, 1, 5)):
        assert cost_nanos(price, tokens) == 2


def test_the_last_threshold_that_is_passed_counts() -> None:
    steps = (Threshold(10, rates(2_000_000)), Threshold(20, rates(3_000_000)))
    price = Price(rates(1_000_000), "v", "", steps)
    found = [cost_nanos(price, Tokens(input=count)) for count in (10, 11, 20, 21)]
    assert found == [10, 22, 40, 63]


@pytest.mark.parametrize(("half", "rounded"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_halves_go_to_the_even_nano_dollar(half: int, rounded: int) -> None:
    assert cost_nanos(Price(rates(500_000), "v"), Tokens(input=half)) == rounded


@given(prices(), TOKENS)
def test_a_cost_is_a_whole_number_and_never_negative(price: Price, tokens: Tokens) -> None:
    cost = cost_nanos(price, tokens)
    assert type(cost) is int
    assert cost >= 0


@given(RATES, TOKENS)
def test_a_cost_equals_decimal_arithmetic_rounded_once(rate: Rates, tokens: Tokens) -> None:
    exact = sum(
        Decimal(getattr(rate, name)) * getattr(tokens, name) for name in Tokens.__struct_fields__
    )
    rounded = (exact / 10**6).quantize(Decimal(1), ROUND_HALF_EVEN)
    assert cost_nanos(Price(rate, "v"), tokens) == int(rounded)


@given(st.lists(st.tuples(RATES, TOKENS), min_size=1, max_size=5))
def test_a_call_split_into_its_classes_costs_the_same_but_for_one_rounding_each(
    rows: list[tuple[Rates, Tokens]],
) -> None:
    for rate, tokens in rows:
        price = Price(rate, "v")
        parts = [
            cost_nanos(price, Tokens(**{name: getattr(tokens, name)}))
            for name in Tokens.__struct_fields__
        ]
        assert abs(sum(parts) - cost_nanos(price, tokens)) <= 3


@given(st.lists(TOKENS, max_size=6), RATES)
def test_parts_sum_to_the_whole_class_by_class(rows: list[Tokens], rate: Rates) -> None:
    total = sum_of(rows)
    for name in Tokens.__struct_fields__:
        assert getattr(total, name) == sum(getattr(row, name) for row in rows)
    # With whole nano-dollars per token nothing is rounded, so the sums are exact.
    whole = Price(Rates(*(getattr(rate, n) * 10**6 for n in Rates.__struct_fields__)), "v")
    assert cost_nanos(whole, total) == sum(cost_nanos(whole, row) for row in rows)


@given(prices(), TOKENS, st.sampled_from(Tokens.__struct_fields__), COUNTS)
def test_more_tokens_never_cost_less_without_thresholds(
    price: Price, tokens: Tokens, name: str, more: int
) -> None:
    flat = Price(price.rates, "v")
    grown = Tokens(
        **{
            field: getattr(tokens, field) + (more if field == name else 0)
            for field in Tokens.__struct_fields__
        }
    )
    assert cost_nanos(flat, grown) >= cost_nanos(flat, tokens)


@given(USAGES)
def test_every_token_of_a_usage_lands_in_exactly_one_class(usage: Usage) -> None:
    tokens = tokens_of(usage)
    assert (tokens.all_input, tokens.output) == (usage.tokens_in, usage.tokens_out)
    assert min(getattr(tokens, name) for name in Tokens.__struct_fields__) >= 0


def test_the_classes_of_a_usage_are_disjoint() -> None:
    usage = Usage(100, 30, 50, 20, 5, 12)
    assert tokens_of(usage) == Tokens(30, 50, 15, 30, 5)
    assert tokens_of(NO_USAGE) == Tokens()


@pytest.mark.parametrize(
    ("written", "wanted"),
    [("0.02", 20_000_000), ("0.0000000005", 0), ("0.0000000015", 2), ("3", 3 * 10**9)],
)
def test_dollars_become_whole_nano_dollars(written: str, wanted: int) -> None:
    assert nanos_of(Decimal(written)) == wanted


def test_the_precision_of_the_program_around_does_not_count() -> None:
    with localcontext() as context:
        context.prec = 3
        assert nanos_of(Decimal("1234.123456789")) == 1_234_123_456_789
        assert times(1_234_567_891, Decimal("0.5")) == 617_283_946


@given(st.integers(-(10**24), 10**24), st.integers(1, 10**9))
def test_division_rounds_as_decimal_does(whole: int, by: int) -> None:
    nearest = divided(whole, by)
    assert abs(2 * (whole - nearest * by)) <= by
    if abs(2 * (whole - nearest * by)) == by:
        assert nearest % 2 == 0


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0"), (20, "0.00000002"), (1_250_000_000, "1.25"), (-1, "-0.000000001"),
     (3_000_000_000, "3")],
)  # fmt: skip
def test_dollars_are_exact(nanos: int, text: str) -> None:
    assert dollars(nanos) == text


@given(st.integers(-(10**20), 10**20))
def test_dollars_read_back_are_the_same_sum(nanos: int) -> None:
    assert Decimal(dollars(nanos)) * 10**9 == nanos


def test_there_is_no_float_in_the_file() -> None:
    tree = ast.parse(inspect.getsource(money))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Div), "a true division makes a float"
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not (isinstance(node, ast.Name) and node.id in ("float", "round"))
