"""Row 2: Retry-After in every spelling is a lower bound for the next attempt and for how long the
breaker stays open; what is no number of seconds says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

import pytest
from lab import Lab
from several import several

from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.testing import Answer

QUICK = RetryConfig(backoff=0.02, backoff_max=0.02)
DOWN = b'{"error": {"message": "overloaded"}}'


def answer(status: int, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, body=DOWN, headers=named)


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("headers", [{"retry_after": "0.3"}, {"retry_after_ms": "300"}])
def test_the_next_attempt_is_never_earlier(
    open_lab: Callable[..., Lab], status: int, headers: dict[str, str]
) -> None:
    lab = open_lab(lambda server: several(server, 1, retry=QUICK))
    lab.server.script(answer(status, **headers))
    assert lab.ask().status == 200
    first, second = lab.server.calls
    assert second.arrived_s - first.arrived_s >= 0.3


def test_a_date_is_compared_with_the_replys_own(open_lab: Callable[..., Lab]) -> None:
    """The provider's clock is a day off; the wait is a second all the same."""
    lab = open_lab(lambda server: several(server, 1, retry=QUICK))
    then_s = 1_700_000_000
    said = {"date": formatdate(then_s, usegmt=True),
            "retry_after": formatdate(then_s + 1, usegmt=True)}  # fmt: skip
    lab.server.script(answer(503, **said))
    assert lab.ask().status == 200
    first, second = lab.server.calls
    assert second.arrived_s - first.arrived_s >= 1.0


@pytest.mark.parametrize("text", ["soon", "NaN", "-1", "inf", "", "1e999", "0x10"])
def test_what_is_no_wait_is_overlooked(open_lab: Callable[..., Lab], text: str) -> None:
    lab = open_lab(lambda server: several(server, 1, retry=QUICK))
    lab.server.script(answer(503, retry_after=text))
    assert lab.ask().status == 200
    assert len(lab.server.calls) == 2


@pytest.mark.parametrize("text", ["61", "1e9"])
def test_a_wait_that_nobody_can_be_asked_for_is_told(
    open_lab: Callable[..., Lab], text: str
) -> None:
    lab = open_lab(lambda server: several(server, 1, retry=QUICK))
    lab.server.script(answer(503, retry_after=text), times=None)
    reply = lab.ask()
    assert (reply.status, reply.headers["retry-after"]) == (503, text)
    assert (reply.headers["x-should-retry"], len(lab.server.calls)) == ("false", 1)


@pytest.mark.parametrize(("text", "least_s", "most_s"), [("30", 20, 30), ("1e9", 90, 100)])
def test_the_breaker_stays_open_as_long_within_its_bound(
    open_lab: Callable[..., Lab], text: str, least_s: float, most_s: float
) -> None:
    breaker = BreakerConfig(failure_threshold=1, recovery_timeout=1.0, open_max=100.0)
    blocks = {"breaker": breaker}
    lab = open_lab(lambda server: several(server, 1, retry=QUICK, blocks=blocks))
    lab.server.script(answer(529, retry_after=text), times=None)
    lab.ask()
    row = lab.gate.stats()["breakers"]["deployments"]["p1/m1"]
    assert row["state"] == "open"
    assert least_s <= row["retry_after_s"] <= most_s
    assert lab.ask(about="more").code == "provider_unavailable"
    assert len(lab.server.calls) == 1
