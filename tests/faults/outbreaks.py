"""Faults of a provider that last, each with the row of the matrix that it belongs to."""

from __future__ import annotations

import gzip
from typing import Any, NamedTuple

from several import QUICK

from headgate.layers.settings import RetryConfig
from headgate.testing import (
    Answer,
    CutAt,
    End,
    Endless,
    ErrorEvent,
    FaultStep,
    ResetPeer,
    Slicer,
    SlowHeaders,
    Stall,
    Status,
    Usual,
)

LIMIT_S = 2.0
"""Longer than a healthy answer takes on a slow machine."""
ONCE = RetryConfig(attempts=1)
BOMB = gzip.compress(bytes(10_000_000))


class Outbreak(NamedTuple):
    """A fault that lasts, of the row of the matrix that it belongs to."""

    row: int
    steps: tuple[FaultStep, ...]
    """What every call meets; none: the port is closed."""
    is_noticed: bool = True
    """Whether the provider is left alone after some calls."""
    streamed: bool = False
    limits: dict[str, Any] = {}  # noqa: RUF012 - read only
    retry: RetryConfig = ONCE


OUTBREAKS = {
    "500": Outbreak(1, (Status(500),)),
    "529 with Retry-After": Outbreak(2, (Status(529, headers={"retry-after": "12"}),)),
    "429 with Retry-After": Outbreak(3, (Status(429, headers={"retry-after": "12"}),)),
    "closed port": Outbreak(4, ()),
    "slow head": Outbreak(7, (SlowHeaders(30.0), Usual()), limits={"first_byte_timeout": LIMIT_S}),
    "no first token": Outbreak(
        7, (Stall(at_chunk=1),), streamed=True, limits={"first_token_timeout": LIMIT_S}
    ),
    "silence": Outbreak(8, (Stall(at_chunk=9),), streamed=True, limits={"idle_timeout": LIMIT_S}),
    "reset": Outbreak(9, (ResetPeer(),)),
    "reset inside": Outbreak(9, (CutAt(900, by="rst"),), streamed=True),
    "half a JSON": Outbreak(10, (Answer(body=b'{"choices": ['),)),
    "no marker": Outbreak(11, (Usual(0, 5), End()), streamed=True),
    "slices": Outbreak(12, (Slicer(), Usual()), is_noticed=False, streamed=True),
    "a page": Outbreak(13, (Answer(body=b"<html>", headers={"content-type": "text/html"}),)),
    "endless": Outbreak(
        14, (Endless(),), is_noticed=False, limits={"reply_max_bytes": 200_000}
    ),
    "error event": Outbreak(15, (ErrorEvent(at_chunk=0),), streamed=True),
    "bomb": Outbreak(36, (Answer(body=BOMB, headers={"content-encoding": "gzip"}),)),
    "storm": Outbreak(37, (Status(500),), retry=QUICK),
}  # fmt: skip
