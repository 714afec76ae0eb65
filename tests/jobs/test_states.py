"""The tables of states agree with each other."""

from __future__ import annotations

import pytest

from headgate.jobs.states import (
    ITEM_AFTER,
    ITEM_STATES,
    SHARD_AFTER,
    SHARD_ENDS,
    SHARD_STATES,
    TERMINAL,
    may_follow,
    shard_may_follow,
)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_terminal_item_is_followed_by_nothing(state: str) -> None:
    assert not any(may_follow(state, following) for following in ITEM_STATES)


def test_every_state_of_an_item_can_be_reached_from_queued() -> None:
    reached, found = set[str](), {"queued"}
    while found:
        reached |= found
        found = {after for state in found for after in ITEM_AFTER.get(state, ())} - reached
    assert reached == set(ITEM_STATES)


@pytest.mark.parametrize("state", [state for state in ITEM_STATES if state not in TERMINAL])
def test_every_open_item_can_be_cancelled(state: str) -> None:
    assert may_follow(state, "cancelled")


def test_a_shard_ends_only_where_nothing_follows() -> None:
    ends = {state for state in SHARD_STATES if not SHARD_AFTER.get(state)}
    assert ends == SHARD_ENDS
    assert not shard_may_follow("applied", "intent")


def test_what_a_shard_has_fetched_is_not_sent_again() -> None:
    assert shard_may_follow("fetched", "applied")
    assert not shard_may_follow("fetched", "abandoned")
