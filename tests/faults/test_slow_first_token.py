"""Row 7: a provider that takes its time. A stream has a limit on its first content, a whole answer
on its end; both count as faults, free their place, and another deployment answers meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import Lab
from rawclient import CHAT, MESSAGES
from several import first_limited, several

from headgate.testing import SlowHeaders, Stall, Usual

PATHS = (CHAT, MESSAGES, "/v1/responses")
LIMITS = {"first_token_timeout": 1.0, "total_timeout": 1.6, "first_byte_timeout": 1.3}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_slow_headers_end_with_the_limit_and_another_answers(
    open_lab: Callable[..., Lab], path: str, stream: bool
) -> None:
    lab = open_lab(lambda server: first_limited(server, **LIMITS))
    lab.server.script(SlowHeaders(30.0), Usual(), model="m1", times=None)
    reply = lab.ask(path, stream=stream)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")
    lab.server.wait_for_abandoned(1)
    outcomes = [row for name, row in lab.gate.stats()["breakers"]["attempts"].items()
                if name.endswith("1")]  # fmt: skip
    assert outcomes == [{"first_token_timeout": 1}]


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_without_content_ends_with_the_limit_on_its_first_token(
    open_lab: Callable[..., Lab], path: str
) -> None:
    """Head and preamble come at once: they are no answer."""
    lab = open_lab(lambda server: first_limited(server, **LIMITS))
    lab.server.script(Stall(at_chunk=1), model="m1", times=None)
    reply = lab.ask(path, stream=True)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")
    lab.server.wait_for_abandoned(1)


@pytest.mark.parametrize("path", PATHS)
def test_without_another_it_is_504_in_the_dialect(open_lab: Callable[..., Lab], path: str) -> None:
    lab = open_lab(lambda server: several(server, 1, **LIMITS))
    lab.server.script(Stall(at_chunk=1), times=None)
    reply = lab.ask(path, stream=True)
    assert reply.status == 504
    assert reply.headers["x-should-retry"] == "false"
    assert lab.stored() == 0


def test_a_model_that_thinks_may_take_its_time(open_lab: Callable[..., Lab]) -> None:
    limits = {"first_token_timeout": 0.1}
    lab = open_lab(lambda server: several(server, 1, model={"reasoning": True}, **limits))
    lab.server.script(SlowHeaders(0.4), Usual())
    reply = lab.ask(stream=True)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "1")


def test_the_callers_deadline_covers_all_attempts(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(lambda server: several(server, 2))
    lab.server.script(SlowHeaders(30.0), Usual(), times=None)
    reply = lab.ask(CHAT, "headgate-deadline: 2")
    assert (reply.status, reply.code) == (504, "upstream_timeout")
    assert "deadline of 2 s" in reply.json["error"]["message"]
    lab.server.wait_for_abandoned(1)
    stats = lab.gate.stats()["breakers"]
    assert stats["attempts"] == {"p1": {"left": 1}}, "it is nobody's fault"
