"""Points 8 and 9 of the oracle for every fault of a provider that lasts: meanwhile those who ask a
healthy provider of the same gateway do not notice, and when it is over callers are answered within
the open time that they were told, and stay so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from faults.outbreaks import OUTBREAKS, Outbreak
from lab import Lab
from neighbours import recovers, wait_s
from oracle import until
from rawclient import CHAT, MESSAGES
from several import several

from headgate.layers.settings import BreakerConfig
from headgate.testing import FakeClock

BREAKER = BreakerConfig(calls_min=6, open_max=20.0)
CALLERS = 4
PAUSE_S = 0.01


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
