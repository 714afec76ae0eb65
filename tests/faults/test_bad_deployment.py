"""Row 38: one bad deployment of three that get equal shares: every call fails there, half of them
do, or each takes half a minute longer. Users get their answers from the others, in time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from lab import Lab, Reply
from outages import (
    Deployments,
    Ended,
    Playing,
    Said,
    Stack,
    a_question,
    a_stack,
    crowd,
    error_rate,
    percentile,
    saying,
)
from rawclient import CHAT, MESSAGES
from several import QUICK, several
from virtualtime import run

from headgate.config import Config
from headgate.core.splitmix import uniform
from headgate.layers.settings import BreakerConfig
from headgate.testing import FaultServer, ResetPeer, Status, Usual

CALLS = 150
USUAL_S, LATE_S = 0.5, 30.5


def weighted(server: FaultServer) -> Config:
    targets = tuple(f"{letter}{n}/m{n}=1" for letter in "pc" for n in (1, 2, 3))
    # All that fails here before a breaker knows is about what two good ones may repeat at once:
    # by the usual floor a throw of the dice would decide.
    retry = replace(QUICK, budget_floor=CALLS)
    return several(server, 3, retry=retry, model={"targets": targets})


def asked_all(lab: Lab, path: str) -> list[Reply]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda number: lab.ask(path, about=number), range(CALLS)))


def arrived(lab: Lab) -> list[int]:
    calls = [call.model for call in lab.server.calls]
    return [calls.count(f"m{number}") for number in (1, 2, 3)]


# On real sockets.


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_deployment_that_always_fails_is_noticed_by_nobody(
    open_lab: Callable[..., Lab], path: str
) -> None:
    lab = open_lab(weighted)
    lab.server.script(Status(500), model="m1", times=None)
    replies = asked_all(lab, path)
    assert {reply.status for reply in replies} == {200}
    bad, *others = arrived(lab)
    # Twenty failures open its breaker; three more callers may have been under way to it.
    assert (20 <= bad <= 24, sum(others)) == (True, CALLS)
    assert min(others) > CALLS / 4


def test_a_deployment_that_resets_every_connection_is_noticed_by_nobody(
    open_lab: Callable[..., Lab],
) -> None:
    lab = open_lab(weighted)
    lab.server.script(ResetPeer(), model="m1", times=None)
    assert {reply.status for reply in asked_all(lab, CHAT)} == {200}
    assert 20 <= arrived(lab)[0] <= 24


def test_a_deployment_that_fails_every_other_time_is_noticed_by_nobody(
    open_lab: Callable[..., Lab],
) -> None:
    lab = open_lab(weighted)
    for _ in range(CALLS):
        lab.server.script(Status(500), model="m1")
        lab.server.script(Usual(), model="m1")
    assert {reply.status for reply in asked_all(lab, CHAT)} == {200}
    bad, *others = arrived(lab)
    assert (20 <= bad <= 26, sum(others) + bad // 2) == (True, CALLS)


# Over half an hour, in virtual time.


def served(bad: Playing, per_s: float, seconds: float, **more: object) -> tuple[Stack, list[Ended]]:
    """Steady traffic over three deployments, of which `a` is bad."""
    streamed = bool(more.pop("streamed", False))

    async def act() -> tuple[Stack, list[Ended]]:
        stack = a_stack(Deployments(a=bad), "abc", **more)
        call = a_question("abc", weight=1.0, streamed=streamed)
        return stack, await crowd(stack.ask, call, per_s, seconds)

    return run(act())[0]


def failing(share: float) -> Playing:
    return lambda number, now_s: Said(USUAL_S, 500 if uniform(7, number) < share else 200)


@pytest.mark.parametrize("share", [1.0, 0.75, 0.5, 0.2, 0.1])
def test_at_any_share_of_errors_users_see_less_than_one_in_a_hundred(share: float) -> None:
    stack, ended = served(failing(share), 30, 120)
    assert error_rate(ended) < 0.01
    assert percentile(ended, 0.99) <= 2 * USUAL_S + 0.01, "one failure, and an answer"
    if share >= 0.5:
        assert stack.below.asked["a"] < 0.02 * len(ended)


@pytest.mark.parametrize(
    ("streamed", "breaker"), [(True, BreakerConfig()), (False, BreakerConfig(slow_total=20.0))]
)
def test_a_slow_deployment_is_left_alone_and_only_probes_wait(
    streamed: bool, breaker: BreakerConfig
) -> None:
    stack, ended = served(saying(200, LATE_S), 2, 1800, streamed=streamed, breaker=breaker)
    assert error_rate(ended) == 0
    late = [one for one in ended if one.took_s > 1]
    probings = stack.guards.transitions["deployment", "a/m", "half_open", "open", "probes_slow"]
    assert 5 <= probings <= 10, "twice as long each time, up to five minutes"
    # Those that came until twenty were known to be slow, and three probes for each opening.
    assert len(late) <= 60 + 3 * probings
    assert percentile(ended, 0.97) <= USUAL_S + 0.01


def test_with_a_time_limit_of_a_first_token_nobody_waits_longer_than_that() -> None:
    stack, ended = served(
        saying(200, LATE_S), 5, 600, streamed=True, provider={"first_token_timeout": 5.0}
    )
    assert error_rate(ended) == 0
    assert max(one.took_s for one in ended) <= 5 + USUAL_S + 0.01
    assert percentile(ended, 0.98) <= USUAL_S + 0.01
    assert stack.below.asked["a"] <= 60
