"""Points 8 and 9 of the oracle for every fault of a provider that lasts: meanwhile those who ask a
healthy provider of the same gateway do not notice, and when it is over callers are answered within
the open time that they were told, and stay so.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from lab import Lab
from neighbours import recovers, wait_s
from oracle import until
from rawclient import CHAT, MESSAGES
from several import QUICK, several

from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.testing import (
    Answer,
    CutAt,
    End,
    Endless,
    ErrorEvent,
    FakeClock,
    FaultStep,
    ResetPeer,
    Slicer,
    SlowHeaders,
    Stall,
    Status,
    Usual,
)

BREAKER = BreakerConfig(calls_min=6, open_max=20.0)
LIMIT_S = 1.0
"""Longer than a healthy answer takes on a slow machine."""
CALLERS = 4
PAUSE_S = 0.01
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


@contextmanager
def callers(lab: Lab, path: str, *, streamed: bool) -> Iterator[None]:
    """Some who ask again and again, whatever they are told."""
    is_over = threading.Event()

    def ask_on(name: int) -> None:
        number = 0
        while not is_over.wait(PAUSE_S):
            number += 1
            lab.ask(path, about=f"{name} {number}", stream=streamed)

    threads = [threading.Thread(target=ask_on, args=(name,)) for name in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def opened(open_lab: Callable[..., Lab], outbreak: Outbreak, clock: FakeClock) -> Lab:
    blocks = {"breaker": BREAKER}
    return open_lab(
        lambda server: several(server, 1, retry=outbreak.retry, blocks=blocks, **outbreak.limits),
        clock=clock,
        beside=True,
    )


def begin(lab: Lab, outbreak: Outbreak) -> None:
    if outbreak.steps:
        lab.server.script(*outbreak.steps, times=None)
    else:
        lab.server.refuse()


def end(lab: Lab, outbreak: Outbreak) -> None:
    lab.server.clear()
    if not outbreak.steps:
        lab.server.listen()


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("name", OUTBREAKS)
def test_neighbours_notice_nothing_and_its_end_is_found_in_time(
    open_lab: Callable[..., Lab], name: str, path: str
) -> None:
    outbreak, clock = OUTBREAKS[name], FakeClock()
    lab = opened(open_lab, outbreak, clock)
    with lab.healthy_meanwhile() as enough:
        begin(lab, outbreak)
        with callers(lab, path, streamed=outbreak.streamed):
            if outbreak.is_noticed:
                until(lambda: wait_s(lab.gate) > 0, "the provider is left alone")
            enough()
    end(lab, outbreak)

    def is_answered(number: int) -> bool:
        return lab.ask(path, about=f"after {number}", stream=outbreak.streamed).status == 200

    first_s, open_s = recovers(lab.gate, clock, is_answered, BREAKER.window)
    assert (open_s > 0) == outbreak.is_noticed
    assert first_s <= BREAKER.open_max
    states = {row["state"] for row in lab.gate.stats()["breakers"]["deployments"].values()}
    assert states == {"closed"}
