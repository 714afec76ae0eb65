"""Row 8: a body that stops, or drips for ever. Silence ends with the idle limit; pings are no
silence, and end with the limit on the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from events import has_failed, is_finished
from lab import Lab
from rawclient import CHAT, MESSAGES
from several import first_limited, several

from headgate.testing import Endless, Stall, Usual

PATHS = (CHAT, MESSAGES, "/v1/responses")


@pytest.mark.parametrize("path", PATHS)
def test_silence_inside_a_stream_ends_with_an_error_in_its_dialect(
    open_lab: Callable[..., Lab], path: str
) -> None:
    lab = open_lab(lambda server: several(server, 2, idle_timeout=3.0))
    lab.server.script(Stall(at_chunk=9), times=None)
    reply = lab.ask(path, stream=True)
    assert (reply.status, has_failed(reply.body), is_finished(reply.body)) == (200, True, False)
    lab.server.wait_for_abandoned(1)
    assert (lab.stored(), len(lab.server.calls)) == (0, 1), "nothing is tried after the content"
    attempts = lab.gate.stats()["breakers"]["attempts"]
    assert list(attempts.values()) == [{"mid_stream": 1}]


@pytest.mark.parametrize("path", PATHS)
def test_silence_before_the_content_is_answered_by_another(
    open_lab: Callable[..., Lab], path: str
) -> None:
    lab = open_lab(lambda server: first_limited(server, idle_timeout=0.2))
    lab.server.script(Stall(at_chunk=1), model="m1", times=None)
    reply = lab.ask(path, stream=True)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")
    assert is_finished(reply.body)
    lab.server.wait_for_abandoned(1)


def test_silence_inside_a_whole_answer_is_answered_by_another(
    open_lab: Callable[..., Lab],
) -> None:
    lab = open_lab(lambda server: first_limited(server, idle_timeout=0.2))
    lab.server.script(Stall(at_byte=100), model="m1", times=None)
    reply = lab.ask()
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_pings_keep_a_stream_alive_but_not_for_ever(
    open_lab: Callable[..., Lab], path: str
) -> None:
    lab = open_lab(lambda server: several(server, 1, idle_timeout=20.0, total_timeout=3.0))
    lab.memory_growth_max_bytes = 300_000_000
    lab.server.script(Usual(0, 9), Endless(at_chunk=0, piece=b": ping\n\n"), times=None)
    reply = lab.ask(path, "cache-control: no-store", stream=True)
    assert (reply.status, has_failed(reply.body), is_finished(reply.body)) == (200, True, False)
    lab.server.wait_for_abandoned(1)
