"""The settings of providers' batch APIs: where the table that comes with headgate is wrong, or old.

Field names are the keys of `headgate.toml`; what is absent is as the table says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from headgate.core.units import Bounds, Bytes, Factor, Seconds


@dataclass(frozen=True)
class BatchApiConfig:
    """`[batch_api."NAME"]`: what the batch API of a provider takes; absent: as the table says."""

    api: Literal["table", "openai", "anthropic", "none"] = "table"
    """Whose batch API it has; table: its vendor's, at the vendor's own address; none: none."""
    as_of: str = ""
    """The day on which you looked, as 2026-11-12; `headgate check` warns after 180 days."""
    requests_max: Annotated[int | None, Bounds(1, 10_000_000)] = None
    """Items of one batch."""
    file_max_bytes: Annotated[Bytes | None, Bounds(1024)] = None
    """Of an input file, or of the request that makes a batch."""
    enqueued_tokens_max: Annotated[int | None, Bounds(1, 1_000_000_000_000_000)] = None
    """Tokens that may wait there, as your account has them; absent: not known."""
    window: Annotated[Seconds | None, Bounds(60)] = None
    """How long it may take for a batch."""
    price_factor: Annotated[Factor | None, Bounds(0, 1)] = None
    """What batches cost of the standard price, where no price list says it."""
    batches_at_once: Annotated[int, Bounds(1, 1000)] = 4
    """Batches of one job that are under way there at a time."""
    shard_requests_max: Annotated[int, Bounds(1, 100_000)] = 10_000
    """Items that headgate puts into one batch: what is lost with it, if it is lost."""
    poll: Annotated[Seconds, Bounds(0.001, 3600)] = 30.0
    """Shortest time between two looks at a batch; up to twice as long, by chance."""
