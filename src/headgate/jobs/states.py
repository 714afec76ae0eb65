"""The states of jobs, shards and items, and which may follow which. Pure: two tables and no more.

An item that is terminal stays what it is; the store says so a second time, with a trigger.
"""

from __future__ import annotations

# Items.
QUEUED, SHARDED, SUBMITTED = "queued", "sharded", "submitted"
CACHE_HIT, SUCCEEDED, FAILED = "cache_hit", "succeeded", "failed"
EXPIRED, CANCELLED = "expired", "cancelled"

TERMINAL = frozenset({CACHE_HIT, SUCCEEDED, FAILED, EXPIRED, CANCELLED})
ITEM_STATES = (QUEUED, SHARDED, SUBMITTED, CACHE_HIT, SUCCEEDED, FAILED, EXPIRED, CANCELLED)
ITEM_AFTER: dict[str, frozenset[str]] = {
    # What is asked on the ordinary path goes from `queued` to its end in one step.
    QUEUED: frozenset({CACHE_HIT, SHARDED, SUCCEEDED, FAILED, EXPIRED, CANCELLED}),
    SHARDED: frozenset({SUBMITTED, QUEUED, CANCELLED}),
    # On the ordinary path the cache may have what was submitted.
    SUBMITTED: frozenset({CACHE_HIT, SUCCEEDED, FAILED, EXPIRED, CANCELLED, QUEUED}),
}

# Shards: one batch at a provider.
INTENT, UPLOADED, CREATED, POLLING = "intent", "uploaded", "created", "polling"
FETCHED, APPLIED, NEEDS_REVIEW, ABANDONED = "fetched", "applied", "needs_review", "abandoned"

SHARD_ENDS = frozenset({APPLIED, ABANDONED})
SHARD_STATES = (INTENT, UPLOADED, CREATED, POLLING, FETCHED, APPLIED, NEEDS_REVIEW, ABANDONED)
SHARD_AFTER: dict[str, frozenset[str]] = {
    INTENT: frozenset({UPLOADED, CREATED, NEEDS_REVIEW, ABANDONED}),
    UPLOADED: frozenset({CREATED, NEEDS_REVIEW, ABANDONED}),
    CREATED: frozenset({POLLING, FETCHED, NEEDS_REVIEW, ABANDONED}),
    POLLING: frozenset({FETCHED, NEEDS_REVIEW, ABANDONED}),
    FETCHED: frozenset({APPLIED, NEEDS_REVIEW}),
    NEEDS_REVIEW: frozenset({CREATED, ABANDONED}),
}

# Jobs, as OpenAI's API names them.
VALIDATING, IN_PROGRESS, FINALIZING = "validating", "in_progress", "finalizing"
COMPLETED, JOB_FAILED, JOB_EXPIRED = "completed", "failed", "expired"
CANCELLING, JOB_CANCELLED = "cancelling", "cancelled"

JOB_ENDS = frozenset({COMPLETED, JOB_FAILED, JOB_EXPIRED, JOB_CANCELLED})


def may_follow(state: str, following: str) -> bool:
    """Whether an item in `state` may become `following`."""
    return following in ITEM_AFTER.get(state, frozenset())


def shard_may_follow(state: str, following: str) -> bool:
    """Whether a shard in `state` may become `following`."""
    return following in SHARD_AFTER.get(state, frozenset())
