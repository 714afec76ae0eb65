"""Prices of models: the user's own first, then the table of genai-prices, else none.

Asking is a look in a dictionary. The table is loaded and searched in a thread of its own; until
that has answered, a model is pending: whoever books a call asks `resolve`, which waits.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from headgate.clock import Clock, SystemClock
from headgate.config import Config
from headgate.core.money import Price, Rates, nanos_of, times
from headgate.pricing_table import BATCH, STANDARD, Listing, Table, Vendor
from headgate.providers.settings import DEFAULT_BASE_URLS, PriceConfig
from headgate.routing import read_target

CONFIG = "config"
KNOWN_MAX = 4096
"""Prices and models that are remembered; the oldest goes first."""
_WANTED_MAX = 1024
_NAME_MAX = 256
# Some prices of the table change at an hour of the day, at the finest on the half hour.
_PERIOD_S = 1800

Name = tuple[str, str]
"""Provider and model."""
_Key = tuple[str, str, str, bool]
_Any = TypeVar("_Any")
_Value = TypeVar("_Value")


class Prices:
    """What each model costs. None is "unpriced": counted and shown, never free. Safe from any
    thread."""

    def __init__(
        self, config: Config, *, clock: Clock | None = None, uses_list: bool = True
    ) -> None:
        self.uses_list = uses_list
        """False: only the user's own prices count. The list's package imports an HTTP library, and
        openai 2 in the same process fails while another thread does that."""
        self._config = config
        self._clock: Clock = clock or SystemClock()
        self._known: dict[_Key, tuple[int, Price | None]] = {}
        self._listings: dict[Name, Listing] = {}
        # Apart, so that many names nobody knows never push out a model in use.
        self._absent: dict[Name, None] = {}
        self._wanted: dict[Name, None] = {}
        self._thread: threading.Thread | None = None
        self._table: Table | None = None
        # The one guards what is wanted, the other the table while it is being loaded.
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def price(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None:
        """The price of a model in the tier that the reply named, today. Never waits.

        None where nobody knows it, or where it `is_pending`.
        """
        key = (provider, model, tier, batch)
        period = int(self._clock.epoch()) // _PERIOD_S
        known = self._known.get(key)
        if known is not None and known[0] == period:
            return known[1]
        return self._look_up(key, period)

    def is_pending(self, provider: str, model: str) -> bool:
        """Whether a price that is None may only be late."""
        if not self.uses_list:
            return False
        name = (provider, model)
        is_found = name in self._listings or name in self._absent
        return not is_found and self._override(name) is None and _is_sane(name)

    def resolve(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None:
        """As `price`, and waits for the table: for a thread that books, not for the event loop."""
        if self.is_pending(provider, model):
            self._find((provider, model))
        return self.price(provider, model, tier, batch=batch)

    def warm(self, names: Iterable[Name] | None = None) -> None:
        """Has a thread find these models (default: those of the configuration); does not wait."""
        self._want(configured(self._config) if names is None else names)

    def _look_up(self, key: _Key, period: int) -> Price | None:
        provider, model, tier, batch = key
        override = self._override((provider, model))
        listing = self._listings.get((provider, model))
        if override is not None:
            price = contract(override, tier, batch=batch)
        elif listing is not None:
            moment = datetime.fromtimestamp(self._clock.epoch(), UTC)
            price = listing.price(tier, moment, batch=batch)
        else:
            if self.is_pending(provider, model):
                self._want([(provider, model)])
            return None
        with self._lock:
            _bounded(self._known)[key] = (period, price)
        return price

    def _override(self, name: Name) -> PriceConfig | None:
        prices = self._config.prices
        return (prices.get(f"{name[0]}/{name[1]}") or prices.get(name[1])) if prices else None

    def _want(self, names: Iterable[Name]) -> None:
        with self._lock:
            for name in islice(names, _WANTED_MAX):
                if len(self._wanted) < _WANTED_MAX:
                    self._wanted[name] = None
            if self._wanted and self._thread is None:
                self._thread = threading.Thread(target=self._find_wanted, name="headgate-prices")
                self._thread.start()

    def _find_wanted(self) -> None:
        while (name := self._next()) is not None:
            self._find(name)

    def _next(self) -> Name | None:
        with self._lock:
            name = next(iter(self._wanted), None)
            if name is None:
                self._thread = None
            else:
                del self._wanted[name]
        return name

    def _find(self, name: Name) -> None:
        with self._loading:
            if self._table is None:
                self._table = Table()
        listing = self._table.find(self._vendor(name[0]), name[1])
        with self._lock:
            if listing is None:
                _bounded(self._absent)[name] = None
            else:
                _bounded(self._listings)[name] = listing

    def _vendor(self, provider: str) -> Vendor:
        settings = self._config.providers.get(provider)
        if settings is not None and settings.kind != "fake":
            base_url = settings.base_url or DEFAULT_BASE_URLS[settings.kind]
            return Vendor(base_url, (provider, settings.kind))
        if settings is None and ("." in provider or ":" in provider):
            # An address that an SDK asked by itself.
            return Vendor(f"https://{provider}")
        return Vendor("", (provider,), is_anybody=True)


def configured(config: Config) -> list[Name]:
    """Provider and model of every target that the configuration names; the fake provider's cost
    nothing and are left out."""
    texts = [
        text
        for model in config.models.values()
        for text in (*model.targets, *model.fallbacks, *model.context_fallbacks,
                     *model.content_fallbacks)
    ]  # fmt: skip
    written = [(target[0], target[1]) for text in texts if (target := read_target(text))]
    return [
        name
        for name in dict.fromkeys(written)
        if name[0] in config.providers and config.providers[name[0]].kind != "fake"
    ]


def unpriced(config: Config) -> list[str]:
    """`provider/model` of the configured models without a standard price. Waits for the table."""
    prices = Prices(config)
    names = configured(config)
    return ["/".join(name) for name in names if prices.resolve(*name) is None]


def contract(paid: PriceConfig, tier: str, *, batch: bool) -> Price | None:
    """The price that a `[prices]` block says: of the standard tier, and of batch jobs where it has
    a factor for them."""
    is_batch = batch or tier == BATCH
    usual = tier in STANDARD or tier == BATCH
    if not usual or paid.input is None or paid.output is None or (is_batch and paid.batch is None):
        return None
    factor = paid.batch if is_batch and paid.batch is not None else Decimal(1)

    def rate(*asked: Decimal | None) -> int:
        said = next(price for price in (*asked, paid.input, Decimal(0)) if price is not None)
        return times(nanos_of(said), factor)

    rates = Rates(
        input=rate(),
        cache_read=rate(paid.cache_read),
        cache_write=rate(paid.cache_write),
        output=rate(paid.output),
        cache_write_1h=rate(paid.cache_write_1h, paid.cache_write),
    )
    digest = hashlib.sha256(repr(rates).encode()).hexdigest()
    return Price(rates, f"{CONFIG} {digest[:8]}", CONFIG)


def _is_sane(name: Name) -> bool:
    return len(name[0]) <= _NAME_MAX and 0 < len(name[1]) <= _NAME_MAX


def _bounded(kept: dict[_Any, _Value]) -> dict[_Any, _Value]:
    """`kept` with room for one more."""
    if len(kept) >= KNOWN_MAX:
        del kept[next(iter(kept))]
    return kept
