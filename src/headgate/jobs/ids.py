"""Names nobody can guess, for jobs, files, shards and what is sent to providers."""

from __future__ import annotations

from headgate.clock import secret_bytes

_BYTES = 16
_TOKEN_BYTES = 10


def job_id() -> str:
    """`job_` and 32 random characters."""
    return f"job_{secret_bytes(_BYTES).hex()}"


def file_id() -> str:
    """`file_` and 32 random characters."""
    return f"file_{secret_bytes(_BYTES).hex()}"


def shard_id() -> str:
    """`shard_` and 32 random characters."""
    return f"shard_{secret_bytes(_BYTES).hex()}"


def submit_token() -> str:
    """`hg` and 20 random characters: short enough to begin a `custom_id` of 64."""
    return f"hg{secret_bytes(_TOKEN_BYTES).hex()}"
