"""Row 42: something in this process keeps the event loop busy for longer than a provider may be
silent. What the provider said meanwhile waits in the socket: it was not silent, and is not blamed.
A provider that says nothing is given up all the same, later by as much as we were late.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from events import is_finished
from lab import KEY, PATHS, Lab, asking, fields_for
from rawclient import CHAT, body_of

from headgate.testing import Pause, Stall, Usual

LIMIT_S = 3.0
BLOCKED_S = 3.3


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_went_on_while_we_were_busy_is_whole(
    open_lab: Callable[..., Lab], path: str
) -> None:
    lab = open_lab(idle_timeout=LIMIT_S)
    pause = Pause()
    lab.server.script(Usual(0, 6), pause, Usual(6))
    asked = fields_for(path, stream=True)
    with lab.raw(KEY, asked) as client:
        begun = client.send(asking(path, asked)).until(b"\n\n")
        pause.wait_reached()
        with lab.gate.blocked(BLOCKED_S):
            pause.release()
            assert lab.server.wait_for_ended(1)[0].ended == "complete"
        assert is_finished(body_of(begun + client.rest()))
    assert lab.gate.stats()["metrics"]["total_errors"] == 0
    assert lab.stored() == 1


@pytest.mark.parametrize("limit", ["first_byte_timeout", "total_timeout", "idle_timeout"])
def test_an_answer_that_came_while_we_were_busy_is_there(
    open_lab: Callable[..., Lab], limit: str
) -> None:
    lab = open_lab(**{limit: LIMIT_S})
    pause = Pause()
    lab.server.script(pause, Usual())
    asked = fields_for(CHAT)
    with lab.raw(KEY, asked) as client:
        client.send(asking(CHAT, asked))
        pause.wait_reached()
        with lab.gate.blocked(BLOCKED_S):
            pause.release()
            assert lab.server.wait_for_ended(1)[0].ended == "complete"
        assert client.rest().startswith(b"HTTP/1.1 200 ")
    assert lab.gate.stats()["metrics"]["total_errors"] == 0


def test_calls_that_all_waited_are_all_answered(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(first_byte_timeout=LIMIT_S, idle_timeout=LIMIT_S)
    pause = Pause()
    lab.server.script(pause, Usual(), times=None)
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(lab.ask, about=n, stream=n % 2 == 0) for n in range(20)]
        pause.wait_reached(20)
        with lab.gate.blocked(BLOCKED_S):
            pause.release()
            lab.server.wait_for_ended(20)
        assert {reply.result().status for reply in asked} == {200}
    assert lab.gate.stats()["metrics"]["total_errors"] == 0
    lab.is_healthy()


def test_a_provider_that_says_nothing_is_given_up_all_the_same(
    open_lab: Callable[..., Lab],
) -> None:
    lab = open_lab(first_byte_timeout=LIMIT_S, idle_timeout=LIMIT_S)
    lab.server.script(Stall(at_chunk=0))
    lab.server.script(Usual(0, 6), Stall(at_chunk=6), model="stream")
    streamed = fields_for(CHAT, stream=True, model="stream")
    for number, asked in enumerate((fields_for(CHAT), streamed), 1):
        with lab.raw(KEY, asked) as client:
            client.send(asking(CHAT, asked))
            lab.server.wait_for_calls(number)
            with lab.gate.blocked(BLOCKED_S):
                pass
            assert b"upstream_timeout" in client.rest()
    lab.server.wait_for_abandoned(2)
    lab.is_healthy()
