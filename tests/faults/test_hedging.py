"""Row 7, with hedging: a deployment that takes unusually long to begin is overtaken by another
one, through a gateway; the client sees one answer, the provider that was overtaken that it left.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import Lab
from rawclient import CHAT, MESSAGES
from several import several

from headgate.layers.settings import RetryConfig
from headgate.testing import Delay, Stall, Status, marks_in

KNOWN = 20
HEDGING = RetryConfig(hedge=True, hedge_budget=1.0, backoff=0.01, backoff_max=0.05)


def lab_of(open_lab: Callable[..., Lab], path: str, retry: RetryConfig = HEDGING) -> Lab:
    """A laboratory where the first deployment has answered often enough to be known."""
    lab = open_lab(lambda server: several(server, 2, retry=retry))
    for number in range(KNOWN):
        assert lab.ask(path, about=f"known {number}", stream=True).status == 200
    assert len(lab.server.calls) == KNOWN
    return lab


def since(lab: Lab) -> list[str]:
    """Which deployments were asked since then."""
    return [call.model for call in lab.server.calls[KNOWN:]]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_stream_that_does_not_begin_is_overtaken(open_lab: Callable[..., Lab], path: str) -> None:
    lab = lab_of(open_lab, path)
    lab.server.script(Stall(at_chunk=0), model="m1")
    reply = lab.ask(path, stream=True)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")
    assert reply.headers["headgate-target"].endswith("2/m2")
    assert len({mark.serial for mark in marks_in(reply.body)}) == 1, "the text of one answer"
    assert since(lab) == ["m1", "m2"]
    (left,) = lab.server.wait_for_abandoned(1)
    assert left.model == "m1"
    assert lab.gate.stats()["breakers"]["hedges"] == {"won": 1}
    assert lab.ask(path, stream=True).headers["cache-status"].startswith("headgate; hit")


def test_a_whole_answer_that_does_not_come_is_overtaken(open_lab: Callable[..., Lab]) -> None:
    lab = lab_of(open_lab, CHAT)
    lab.server.script(Delay(20.0), model="m1")
    assert lab.ask().headers["headgate-target"] == "p2/m2"
    assert [call.model for call in lab.server.wait_for_abandoned(1)] == ["m1"]


def test_a_second_that_fails_does_not_spoil_the_first(open_lab: Callable[..., Lab]) -> None:
    lab = lab_of(open_lab, CHAT)
    lab.server.script(Delay(2.0), model="m1")
    lab.server.script(Status(500), model="m2")
    reply = lab.ask(stream=True)
    assert (reply.status, reply.headers["headgate-target"]) == (200, "p1/m1")
    assert since(lab) == ["m1", "m2"]
    assert lab.gate.stats()["breakers"]["hedges"] == {"lost": 1}


def test_by_default_nobody_is_overtaken(open_lab: Callable[..., Lab]) -> None:
    lab = lab_of(open_lab, CHAT, RetryConfig())
    lab.server.script(Delay(0.3), model="m1")
    assert lab.ask(stream=True).headers["headgate-target"] == "p1/m1"
    assert since(lab) == ["m1"]


def test_who_leaves_takes_both_attempts_along(open_lab: Callable[..., Lab]) -> None:
    lab = lab_of(open_lab, CHAT)
    lab.server.script(Stall(at_chunk=0), times=None)
    with lab.leaving(stream=True):
        lab.server.wait_for_calls(KNOWN + 2)
    left = lab.server.wait_for_abandoned(2)
    assert {call.model for call in left} == {"m1", "m2"}
    lab.is_healthy()
