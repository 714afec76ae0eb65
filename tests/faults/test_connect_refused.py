"""Row 4: nobody listens where the provider should be. The call fails at once, nothing was sent, and
the gateway serves again as soon as the provider does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
from lab import PATHS, Lab, fields_for
from rawclient import CHAT, MESSAGES


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_refused_connection_is_502_and_nothing_was_sent(
    lab: Lab, path: str, stream: bool
) -> None:
    lab.server.refuse()
    reply = lab.ask(path, stream=stream)
    assert (reply.status, reply.headers["x-should-retry"]) == (502, "false")
    assert reply.code == "upstream_unreachable"
    assert (lab.server.calls, lab.server.connections, lab.stored()) == ([], [], 0)
    lab.server.listen()
    lab.is_healthy()


def test_the_sdks_raise_their_own_error_and_do_not_multiply_the_attempts(lab: Lab) -> None:
    lab.server.refuse()
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="refused"):
            lab.openai(max_retries=3).chat.completions.create(**fields_for(CHAT, stream=stream))
        fields: Any = fields_for(MESSAGES, stream=stream)
        with pytest.raises(anthropic.InternalServerError, match="refused"):
            lab.anthropic(max_retries=3).messages.create(**fields)
    assert len(lab.heard) == 4
    assert lab.gate.stats()["metrics"]["errors"] == {"other:upstream_unreachable": 4}


def test_calls_that_are_refused_together_are_each_told_so(lab: Lab) -> None:
    lab.server.refuse()
    with ThreadPoolExecutor(20) as threads:
        told = [threads.submit(lab.ask, about=number % 5) for number in range(40)]
        assert [reply.result().code for reply in told] == ["upstream_unreachable"] * 40
    lab.server.listen()
    lab.is_healthy()


def test_a_connection_that_is_open_already_is_used_while_the_port_is_closed(lab: Lab) -> None:
    assert lab.ask(about="first").status == 200
    lab.server.refuse()
    assert lab.ask(about="second").status == 200
    assert lab.server.drop() == 1
    assert lab.ask(about="third").code == "upstream_unreachable"
    lab.server.listen()
    assert lab.ask(about="fourth").status == 200


@pytest.mark.parametrize("by", ["fin", "rst"])
def test_a_pooled_connection_that_was_cut_meanwhile_costs_nobody_an_answer(
    lab: Lab, by: Any
) -> None:
    for number in range(20):
        assert lab.ask(about=number).status == 200
        assert lab.server.drop(by) == 1
    assert len(lab.server.connections) == 20
