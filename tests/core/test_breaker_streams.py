"""A long stream as a probe: what it costs to wait for its end, and what to trust its beginning.

A simulation on virtual time with the default settings; the numbers stand in decision 0012.
"""

from __future__ import annotations

import heapq
import itertools
from typing import NamedTuple

from breakers import BAD, GOOD

from headgate.core.breaker import Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.permits import Permit

FIRST_TOKEN_S = 1.0


class Run(NamedTuple):
    """What became of a breaker whose open time has just passed."""

    half_open_s: float
    admitted: int
    state: str


def run(*, votes_early: bool, length_s: float, breaks: bool, calls_per_s: int) -> Run:
    """Streams of `length_s` that arrive evenly, until the breaker leaves HALF_OPEN and, if every
    stream breaks, until it is open again."""
    breaker = Breaker(BreakerSettings(), 0.0)
    breaker.force("open", 0.0)
    start_s = breaker.retry_after_s(0.0) or 0.0
    numbers = itertools.count()
    arrivals = ((start_s + n / calls_per_s, next(numbers), "arrives", None) for n in range(20_000))
    events = list(arrivals)
    heapq.heapify(events)
    admitted, closed_s = 0, 0.0
    while events:
        now_s, _, what, permit = heapq.heappop(events)
        if what == "arrives":
            answer = breaker.admit(now_s)
            if isinstance(answer, Permit):
                admitted += 1
                heapq.heappush(events, (now_s + FIRST_TOKEN_S, next(numbers), "answers", answer))
                heapq.heappush(events, (now_s + length_s, next(numbers), "ends", answer))
        elif what == "answers" and votes_early:
            breaker.answering(permit, now_s)
        elif what == "ends":
            breaker.record(permit, BAD if breaks else GOOD, now_s)
        closed_s = closed_s or (now_s if breaker.state == "closed" else 0.0)
        if breaker.state == ("open" if breaks else "closed"):
            break
    return Run(closed_s - start_s, admitted, breaker.state)


def test_a_probe_that_votes_at_its_end_keeps_everybody_out_for_a_quarter_of_an_hour() -> None:
    waited = run(votes_early=False, length_s=300, breaks=False, calls_per_s=10)
    assert (round(waited.half_open_s), waited.state) == (900, "closed")


def test_a_probe_that_votes_with_its_first_content_lets_them_in_after_three_tokens() -> None:
    waited = run(votes_early=True, length_s=300, breaks=False, calls_per_s=10)
    assert (round(waited.half_open_s), waited.state) == (3, "closed")


def test_a_provider_that_soon_breaks_every_stream_is_caught_while_it_is_tried() -> None:
    early = run(votes_early=True, length_s=2, breaks=True, calls_per_s=10)
    late = run(votes_early=False, length_s=2, breaks=True, calls_per_s=10)
    assert (late.admitted, early.admitted) == (1, 2)


def test_one_that_breaks_them_after_a_while_is_let_in_until_the_window_has_seen_it() -> None:
    early = run(votes_early=True, length_s=10, breaks=True, calls_per_s=10)
    late = run(votes_early=False, length_s=10, breaks=True, calls_per_s=10)
    assert (late.admitted, early.admitted) == (1, 120)
