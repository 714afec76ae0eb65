"""The settings of durable jobs: where they are kept, and how they are worked off.

Field names are the keys of `headgate.toml`. What providers' batch APIs take stands elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from headgate.core.units import Bounds, Bytes, Seconds


@dataclass(frozen=True)
class JobsConfig:
    """`[batch.jobs]`: files of requests that are worked off durably."""

    path: str = "headgate-jobs.db"
    """The database of jobs, their files in a folder beside it; its own folder must exist."""
    lane: Literal["auto", "batch", "live"] = "auto"
    """At the providers' batch APIs, on the ordinary path, or wherever is best; a job may say."""
    deadline: Annotated[Seconds, Bounds(60, 30 * 86_400)] = 86_400.0
    """When a job is to be done, counted from its creation; a job may say."""
    rescue: bool = True
    """Ask on the ordinary path what a batch has not finished in time; it may be billed twice."""
    resubmit: bool = True
    """Send a batch again if a crash left it unknown whether it was sent; false: you decide."""
    concurrency: Annotated[int, Bounds(1, 10_000)] = 16
    """Lines of a job that are under way at a time on the ordinary path."""
    lines_max: Annotated[int, Bounds(1, 1_000_000)] = 100_000
    """Lines of a file; one with more is refused."""
    file_max_bytes: Annotated[Bytes, Bounds(1024)] = 200_000_000
    """A larger file is refused."""
    line_max_bytes: Annotated[Bytes, Bounds(1024, 100_000_000)] = 10_000_000
    """A file with a longer line is refused."""
    stored_max_bytes: Annotated[Bytes, Bounds(0)] = 20_000_000_000
    """What clients have uploaded takes no more together; one more upload is refused (507)."""
    keep: Annotated[Seconds, Bounds(3600)] = 30 * 86_400.0
    """Files of clients, and jobs of theirs that have ended, are deleted after so long."""
