"""/metrics: our own counters as Prometheus text, under the names of the seed's queries.

`rate()` and `histogram_quantile()` look at neither TYPE nor suffix, so bare names of type unknown
answer those queries as they are written; a `Counter` could not, because it appends `_total`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from prometheus_client.exposition import choose_encoder

from headgate.core.tally import SHARED_STORE, SINCE, Levels, Tally, combined
from headgate.stores.numbers import Told
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
from headgate.surfaces.exposition_targets import target_families
from headgate.surfaces.exposition_text import COUNTER, GAUGE, INFO, Family, labelled, written
from headgate.surfaces.numbers import Numbers

COMPAT, STANDARD, BOTH = "compat", "standard", "both"
_OPENMETRICS = "application/openmetrics-text"


class Exposition:
    """Renders /metrics in the format the scraper asks for. `naming` is `metrics.naming`."""

    def __init__(self, numbers: Numbers, naming: str) -> None:
        self._numbers = numbers
        self._naming = naming
        self._version = _installed()

    def render(self, accept: str) -> tuple[bytes, bytes]:
        """Body and content type, by the scraper's Accept header; one that makes no sense gets what
        one without gets. May wait for a disk."""
        try:
            _, content_type = choose_encoder(accept)
        except TypeError:  # The library compares the parts of a version as they come: "1.x", "abc".
            _, content_type = choose_encoder("")
        families = shown(self._numbers.told(), self._naming, self._version)
        body = written(families, openmetrics=content_type.startswith(_OPENMETRICS))
        return body, content_type.encode()


def _installed() -> str:
    """The version; "unknown" where the source tree is used as it is, not installed."""
    try:
        return version("headgate")
    except PackageNotFoundError:
        return "unknown"


def shown(told: Told, naming: str, installed: str) -> Iterator[Family]:
    """Every family under the names of `naming`."""
    totals, levels = told.totals, combined(told.levels)
    rows, sums = series_in(totals), sums_in(totals)
    if naming != STANDARD:
        yield from compat_families(rows)
    if naming != COMPAT:
        yield duration_family(rows)
    yield from call_families(rows)
    yield from token_families(rows, sums)
    yield from money_families(sums)
    yield from batch_families(totals)
    yield from _cache(totals, levels)
    yield from target_families(totals, levels)
    yield from _process(told, levels, installed)


def _cache(totals: Tally, levels: Levels) -> Iterator[Family]:
    entries = Family("headgate_cache_entries", "Entries in a store.", GAUGE)
    size = Family("headgate_cache_bytes", "Bytes of entries in a store.", GAUGE)
    for (kind, *values), value in levels.items():
        if kind in ("store_entries", f"{SHARED_STORE}_entries"):
            entries.add(labelled(store=values[0]), int(value))
        elif kind in ("store_bytes", f"{SHARED_STORE}_bytes"):
            size.add(labelled(store=values[0]), int(value))
    evictions = Family("headgate_cache_evictions", "Entries removed from a store, by why: to stay "
                       "within its bound, or because their time was over.", COUNTER)  # fmt: skip
    integrity = Family("headgate_cache_integrity_fail", "Entries that did not verify.", COUNTER)
    errors = Family("headgate_store_errors", "Reads and writes of a store that failed.", COUNTER)
    skipped = Family("headgate_cache_store_skipped", "Answers that were not stored, by reason.",
                     COUNTER)  # fmt: skip
    for (kind, *values), counts in totals.items():
        if kind == "skipped":
            skipped.add(labelled(reason=values[0]), counts[0])
        elif kind == "store":
            store = labelled(store=values[0])
            evictions.add(f'{store},reason="bound"', counts[0])
            evictions.add(f'{store},reason="ttl"', counts[1])
            integrity.add(store, counts[2])
            errors.add(store, counts[3])
    yield from (entries, size, evictions, integrity, errors, skipped)


def _process(told: Told, levels: Levels, installed: str) -> Iterator[Family]:
    build = Family("headgate_build", "What runs here.", INFO)
    build.add(labelled(version=installed), 1)
    loaded = Family("headgate_config_loaded_timestamp_seconds",
                    "When the configuration in use was loaded; the oldest of all workers.",
                    GAUGE)  # fmt: skip
    if (SINCE,) in levels:
        loaded.add("", levels[(SINCE,)])
    ages = Family("headgate_metrics_flush_age_seconds",
                  "Since a worker has added its numbers to those of all.", GAUGE)  # fmt: skip
    for worker, age_s in sorted(told.ages_s.items()):
        ages.add(labelled(worker=worker), round(age_s, 3))
    overflow = Family("headgate_label_overflow",
                      "Counts that went to `other` for want of a row.", COUNTER)  # fmt: skip
    overflow.add(labelled(family="model"), totals_of(told, "overflow"))
    yield from (build, loaded, ages, overflow)


def totals_of(told: Told, family: str) -> int:
    """The first number of everything in a family, added up."""
    return sum(counts[0] for name, counts in told.totals.items() if name[0] == family)
