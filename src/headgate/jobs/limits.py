"""What the batch APIs of providers take: a dated table, not constants; settings win over it.

A provider at its vendor's own address has its vendor's row. What else speaks a dialect has its
batch API only if somebody says so (`api`), with the row of its name, else that of the dialect.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from importlib import resources
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from headgate.core.units import parse_duration, parse_size
from headgate.jobs.limits_settings import BatchApiConfig
from headgate.providers.settings import DEFAULT_BASE_URLS, ProviderConfig

STALE_DAYS = 180
FILLED = 0.95
"""How full an input file gets: sizes are counted before a provider adds its own."""
_USUAL = BatchApiConfig()
_NO_LIMIT = 2**63 - 1


class BatchLimits(Struct, frozen=True):
    """What one provider takes."""

    name: str
    api: str
    """`openai` or `anthropic`; "": none that headgate speaks."""
    as_of: datetime.date
    source: tuple[str, ...] = ()
    requests_max: int = _NO_LIMIT
    file_max_bytes: int = _NO_LIMIT
    embedding_inputs_max: int | None = None
    enqueued_tokens_max: int | None = None
    endpoints: tuple[str, ...] = ()
    window_s: float = 86_400.0
    price_factor: Decimal = Decimal(1)
    reconcile: str = "none"
    """How a batch whose id was lost is found: `metadata`, `custom_id` (of its items), `none`."""
    batches_at_once: int = _USUAL.batches_at_once
    shard_requests_max: int = _USUAL.shard_requests_max
    poll_s: float = _USUAL.poll

    @property
    def shard_items(self) -> int:
        """Items of one batch."""
        return min(self.requests_max, self.shard_requests_max)

    @property
    def shard_bytes(self) -> int:
        """Bytes of its file."""
        return int(self.file_max_bytes * FILLED)

    def takes(self, endpoint: str) -> bool:
        """Whether batches of this endpoint can be handed in there."""
        return bool(self.api) and endpoint in self.endpoints


def shipped() -> dict[str, BatchLimits]:
    """The table that comes with headgate, by the names of its rows."""
    text = resources.files("headgate.jobs").joinpath("batch_api.toml").read_text("utf-8")
    # Decimals: a factor is exact.
    tree = tomllib.loads(text, parse_float=Decimal)
    return {name: _row(name, row) for name, row in tree.items()}


def limits_of(
    name: str,
    provider: ProviderConfig,
    settings: Mapping[str, BatchApiConfig],
    table: Mapping[str, BatchLimits],
) -> BatchLimits | None:
    """What provider `name` takes; None where it has no batch API that headgate speaks, or no key of
    ours: what a client sends is not kept until its job is done."""
    if not provider.has_key or provider.kind == "fake":
        return None
    said = settings.get(name, _USUAL)
    row = _of_vendor(provider, table)
    if said.api in ("openai", "anthropic"):
        row = _speaking(table.get(name), table[said.api])
    if row is None or said.api == "none" or row.api != provider.kind:
        return None
    return _overridden(name, row, said)


def stale(
    today: datetime.date,
    providers: Mapping[str, ProviderConfig],
    settings: Mapping[str, BatchApiConfig],
) -> list[str]:
    """A line for each row in use that is older than 180 days."""
    table = shipped()
    lines = []
    for name, provider in providers.items():
        row = limits_of(name, provider, settings, table)
        if row is not None and (today - row.as_of).days > STALE_DAYS:
            lines.append(
                f'batch_api."{name}": what its batch API takes was last looked up on {row.as_of};'
                " check it, then set as_of"
            )
    return lines


def day(text: str) -> datetime.date | None:
    """A day as 2026-11-12; None for anything else."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def _of_vendor(provider: ProviderConfig, table: Mapping[str, BatchLimits]) -> BatchLimits | None:
    own = DEFAULT_BASE_URLS[provider.kind]
    return table.get(provider.kind) if provider.base_url.rstrip("/") in ("", own) else None


def _speaking(row: BatchLimits | None, dialect: BatchLimits) -> BatchLimits:
    """The row with what the dialect decides."""
    if row is None or row.api == dialect.api:
        return dialect
    endpoints = row.endpoints or dialect.endpoints
    return replace(row, api=dialect.api, endpoints=endpoints, reconcile=dialect.reconcile)


def _overridden(name: str, row: BatchLimits, said: BatchApiConfig) -> BatchLimits:
    tokens_max = said.enqueued_tokens_max or row.enqueued_tokens_max
    factor = row.price_factor if said.price_factor is None else said.price_factor
    return BatchLimits(
        name=name,
        api=row.api,
        as_of=day(said.as_of) or row.as_of,
        source=row.source,
        requests_max=said.requests_max or row.requests_max,
        file_max_bytes=said.file_max_bytes or row.file_max_bytes,
        embedding_inputs_max=row.embedding_inputs_max,
        enqueued_tokens_max=tokens_max,
        endpoints=row.endpoints,
        window_s=said.window or row.window_s,
        price_factor=factor,
        reconcile=row.reconcile,
        batches_at_once=said.batches_at_once,
        shard_requests_max=said.shard_requests_max,
        poll_s=said.poll,
    )


def _row(name: str, row: dict[str, Any]) -> BatchLimits:
    return BatchLimits(
        name=name,
        api=row.get("api", ""),
        as_of=row["as_of"],
        source=tuple(row["source"]),
        requests_max=row.get("requests_max", _NO_LIMIT),
        file_max_bytes=parse_size(row["file_max_bytes"]) if "file_max_bytes" in row else _NO_LIMIT,
        embedding_inputs_max=row.get("embedding_inputs_max"),
        enqueued_tokens_max=row.get("enqueued_tokens_max"),
        endpoints=tuple(row.get("endpoints", ())),
        window_s=parse_duration(row.get("window", "24h")),
        price_factor=Decimal(row.get("price_factor", 1)),
        reconcile=row.get("reconcile", "none"),
    )
