"""What tokens cost: disjoint classes of tokens, prices in whole nano-dollars, one rounding. Pure.

A nano-dollar is a billionth of a dollar. A price is nano-dollars per million tokens, so that $0.02
per million is 20_000_000 and no listed price is a fraction. There is no float in this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from headgate.types import Usage

NANOS_PER_DOLLAR = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000


class Tokens(Struct, frozen=True):
    """Tokens of one row, each token in exactly one class (all >= 0)."""

    input: int = 0
    """Plain input: neither read from the provider's prompt cache nor written to it."""
    cache_read: int = 0
    cache_write: int = 0
    """Written to the prompt cache for five minutes, or where there is one price for all writes."""
    output: int = 0
    """Reasoning inside it."""
    cache_write_1h: int = 0
    """Written to the prompt cache for an hour."""

    @property
    def all_input(self) -> int:
        """The whole input; what thresholds are compared with."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h


class Rates(Struct, frozen=True):
    """Nano-dollars per million tokens of each class (all >= 0)."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    cache_write_1h: int


class Threshold(Struct, frozen=True):
    """Rates for a call with more than `above` tokens of input: for all its tokens."""

    above: int
    rates: Rates


class Price(Struct, frozen=True):
    """What a model costs at a provider, in one tier, on one day."""

    rates: Rates
    version: str
    """What a row keeps of it: which table, in which state."""
    source: str = ""
    """`config` or the name of the table."""
    thresholds: tuple[Threshold, ...] = ()
    """Ascending; the last one that is passed counts."""


def tokens_of(usage: Usage) -> Tokens:
    """The classes of a reported usage. A part that is larger than its whole takes all of it."""
    if not (usage.tokens_cached or usage.tokens_cache_write):
        return Tokens(usage.tokens_in, 0, 0, usage.tokens_out, 0)
    read = min(usage.tokens_cached, usage.tokens_in)
    written = min(usage.tokens_cache_write, usage.tokens_in - read)
    hour = min(usage.tokens_cache_write_1h, written)
    return Tokens(
        input=usage.tokens_in - read - written,
        cache_read=read,
        cache_write=written - hour,
        output=usage.tokens_out,
        cache_write_1h=hour,
    )


def rates_for(price: Price, tokens: Tokens) -> Rates:
    """The rates that hold for a call with so many tokens of input."""
    rates = price.rates
    for threshold in price.thresholds:
        if tokens.all_input <= threshold.above:
            break
        rates = threshold.rates
    return rates


def cost_nanos(price: Price, tokens: Tokens) -> int:
    """What the tokens cost in nano-dollars, rounded once, half to even."""
    rates = rates_for(price, tokens)
    exact = (
        rates.input * tokens.input
        + rates.cache_read * tokens.cache_read
        + rates.cache_write * tokens.cache_write
        + rates.cache_write_1h * tokens.cache_write_1h
        + rates.output * tokens.output
    )
    return divided(exact, TOKENS_PER_PRICE)


def nanos_of(dollars: Decimal) -> int:
    """Whole nano-dollars, half to even; whatever precision Decimal's own arithmetic is set to."""
    return times(NANOS_PER_DOLLAR, dollars)


def times(whole: int, factor: Decimal) -> int:
    """`whole * factor` rounded half to even."""
    numerator, denominator = factor.as_integer_ratio()
    return divided(whole * numerator, denominator)


def divided(whole: int, by: int) -> int:
    """`whole / by` rounded half to even; both whole numbers, `by` > 0."""
    quotient, rest = divmod(whole, by)
    return quotient + (2 * rest > by or (2 * rest == by and quotient % 2 == 1))


def sum_of(parts: Iterable[Tokens]) -> Tokens:
    """Tokens of several rows together, class by class."""
    total = Tokens()
    for part in parts:
        total = Tokens(
            total.input + part.input,
            total.cache_read + part.cache_read,
            total.cache_write + part.cache_write,
            total.output + part.output,
            total.cache_write_1h + part.cache_write_1h,
        )
    return total


def dollars(nanos: int) -> str:
    """A sum as people read it, exact: 1_250_000_000 is `1.25`, 20 is `0.00000002`."""
    if nanos == 0:
        return "0"
    sign, digits = ("-" if nanos < 0 else ""), f"{abs(nanos):010d}"
    fraction = digits[-9:].rstrip("0")
    return f"{sign}{digits[:-9]}.{fraction}" if fraction else f"{sign}{digits[:-9]}"
