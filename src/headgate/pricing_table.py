"""The price table: the snapshot inside the wheel of genai-prices, read as whole nano-dollars.

Its import takes half a second, so this happens in a thread or on a command's own time. Nothing here
asks the network; its own refresh is never started. A tier that the table does not list for a model
has no price: its calculator would silently take the standard one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from headgate.core.money import Price, Rates, Threshold, nanos_of

SOURCE = "genai-prices"
STANDARD = frozenset({"", "default", "standard", "on_demand"})
"""What replies call the tier that everybody gets."""
BATCH = "batch"
_CLASSES = {
    "input": ("input_mtok",),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "cache_write": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "output": ("output_mtok",),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
}
"""Each class of tokens and the keys of its price, the first that is there counts."""
_NOT_COUNTED = ("requests_kcount", "output_reasoning_mtok", "output_citation_mtok")
"""A model that costs by these has no price here: leaving them out would understate it."""


class Vendor(NamedTuple):
    """What is known of a provider."""

    base_url: str = ""
    names: tuple[str, ...] = ()
    """What it may be called in the table, the best first; used where no address is known there."""
    is_anybody: bool = False
    """Nothing tells who it is: the name of the model does."""


class Listing(NamedTuple):
    """A model in the table."""

    model: Any
    variants: tuple[Any, ...]
    version: str

    def price(self, tier: str, moment: datetime, *, batch: bool) -> Price | None:
        """Its price in a tier at a moment; None where the table does not list that tier for it."""
        contexts = _contexts(tier, batch=batch)
        if contexts:
            contexts = [context for context in contexts if self._has(context, moment)]
            if not contexts:
                return None
        found = self.model.get_prices(moment, contexts[0] if contexts else None)
        return _price(vars(found), self.version)

    def _has(self, context: dict[str, str], moment: datetime) -> bool:
        return any(
            variant.when == context
            and (variant.constraint is None or variant.constraint.active(moment))
            for variant in self.variants
        )


class Table:
    """Loads the snapshot when made: half a second and 30 MB. Safe from any thread."""

    def __init__(self) -> None:
        package = importlib.import_module("genai_prices")
        snapshot = importlib.import_module("genai_prices.data_snapshot").get_snapshot()
        self._providers: list[Any] = snapshot.providers
        self.version = f"{SOURCE} {package.__version__}"

    def find(self, vendor: Vendor, model: str) -> Listing | None:
        """The model at this vendor; the first vendor in the table that fits decides."""
        for provider in self._fitting(vendor, model):
            found = provider.find_model(model, all_providers=self._providers)
            if found is None:
                return None
            # What a provider resells it lists without the tiers of the vendor.
            is_own = any(found is own for own in provider.models)
            variants = tuple(found.price_variants or ()) if is_own else ()
            return Listing(found, variants, self.version)
        return None

    def _fitting(self, vendor: Vendor, model: str) -> Iterator[Any]:
        if vendor.base_url:
            url = vendor.base_url
            yield from (it for it in self._providers if re.match(it.api_pattern, url))
        for name in vendor.names:
            yield from (it for it in self._providers if it.id == name)
        if vendor.is_anybody:
            low = model.lower()
            for provider in self._providers:
                if provider.model_match is not None and provider.model_match.is_match(low):
                    yield provider


def _contexts(tier: str, *, batch: bool) -> list[dict[str, str]]:
    """How the table may spell a tier; nothing for the standard one."""
    if batch or tier == BATCH:
        usual = tier in STANDARD or tier == BATCH
        return [{"processing": BATCH}] if usual else [{"processing": BATCH, "service_tier": tier}]
    return [] if tier in STANDARD else [{"service_tier": tier}, {"speed": tier}]


def _price(listed: dict[str, Any], version: str) -> Price | None:
    if listed.get("input_mtok") is None or any(listed.get(key) is not None for key in _NOT_COUNTED):
        return None
    classes = {
        name: next((listed[key] for key in keys if listed.get(key) is not None), Decimal(0))
        for name, keys in _CLASSES.items()
    }
    starts = {tier.start for price in classes.values() for tier in _steps(price)}
    thresholds = [Threshold(start, _rates(classes, start)) for start in sorted(starts)]
    return Price(_rates(classes, -1), version, SOURCE, tuple(thresholds))


def _rates(classes: dict[str, Any], start: int) -> Rates:
    return Rates(**{name: nanos_of(_at(price, start)) for name, price in classes.items()})


def _at(price: Any, start: int) -> Decimal:
    """The price just above `start` tokens of input; -1 is below every threshold."""
    reached = [tier.price for tier in _steps(price) if tier.start <= start]
    base: Decimal = getattr(price, "base", price)
    return reached[-1] if reached else base


def _steps(price: Any) -> list[Any]:
    return list(getattr(price, "tiers", ()))
