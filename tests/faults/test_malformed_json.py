"""Row 10, as far as today's code goes: a 200 whose body is no answer is handed on byte for byte,
never kept, never repeated, and whoever asks again asks the provider. (To answer 502 instead is the
part of the row that is to come.)
"""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import KEY, Lab, asking, fields_for
from rawclient import CHAT, MESSAGES, ask, body_of

from headgate.testing import Answer, CutAt

CORPUS = {
    "empty": b"",
    "half": b'{"id": "x", "choices": [{"finish_reason": "stop"',
    "two documents": b'{"choices": []}{"choices": []}',
    "no object": b'["choices"]',
    "null": b"null",
    "NaN": b'{"choices": [{"finish_reason": "stop", "index": NaN}]}',
    "no choices": b'{"object": "chat.completion"}',
    "empty choices": b'{"choices": []}',
    "no finish": b'{"choices": [{"message": {"content": "x"}}]}',
    "error inside": b'{"choices": [{"finish_reason": "stop"}], "error": {"message": "no"}}',
    "not UTF-8": b'{"choices": [{"finish_reason": "stop", "message": {"content": "\xff"}}]}',
    "UTF-16": '{"choices": [{"finish_reason": "stop"}]}'.encode("utf-16"),
    "lone surrogate": b'{"choices": [{"finish_reason": "stop", "message": {"content": "\\ud800',
    "depth": b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "arguments": b'{"choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": '
    b'[{"function": {"arguments": "{\\"a\\": "}}]}}]}',
    "a wrong type": b'{"choices": {"finish_reason": "stop"}}',
    "NULs": b"\x00" * 500,
}


@pytest.mark.parametrize("name", CORPUS)
def test_a_body_that_is_no_answer_is_handed_on_and_not_kept(lab: Lab, name: str) -> None:
    for path in (CHAT, MESSAGES, "/v1/responses", "/v1/embeddings"):
        lab.server.script(Answer(body=CORPUS[name]))
        reply = lab.ask(path)
        assert (reply.status, reply.body) == (200, CORPUS[name])
        assert (reply.headers["cache-status"], lab.stored()) == ("headgate; fwd=miss", 0)
    assert len(lab.server.calls) == 4
    lab.is_healthy()


def test_a_whole_answer_is_kept_in_no_part(lab: Lab) -> None:
    """Valid HTTP, cut short: what a provider sends that gives up and calls it a day."""
    size = len(lab.ask(about="its size").body)
    lab.gate.runtime.clear()
    for place in range(0, size, 7):
        lab.server.script(CutAt(place, by="clean"))
        reply = lab.ask()
        assert (reply.status, len(reply.body), lab.stored()) == (200, place, 0)


def test_everyone_who_joined_gets_the_same_bytes_and_nothing_is_kept(lab: Lab) -> None:
    lab.server.script(Answer(body=CORPUS["half"]))
    lab.server.hold()
    with lab.raw(KEY, fields_for(CHAT)) as one, lab.raw(KEY, fields_for(CHAT)) as two:
        one.send(asking(CHAT, fields_for(CHAT)))
        lab.server.wait_for_calls(1)
        two.send(asking(CHAT, fields_for(CHAT)))
        lab.server.release()
        bodies = [body_of(one.rest()), body_of(two.rest())]
    assert bodies[0] == CORPUS["half"]
    assert lab.stored() == (len(lab.server.calls) - 1)


def test_the_sdks_say_that_it_is_no_answer(lab: Lab) -> None:
    fields: dict[str, Any] = {CHAT: fields_for(CHAT), MESSAGES: fields_for(MESSAGES)}
    lab.server.script(Answer(body=CORPUS["half"]), times=2)
    with pytest.raises((openai.APIError, ValueError)):
        lab.openai().chat.completions.create(**fields[CHAT])
    with pytest.raises((anthropic.APIError, ValueError)):
        lab.anthropic().messages.create(**fields[MESSAGES])


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_no_body_whatever_brings_the_gateway_down(lab: Lab, body: bytes) -> None:
    lab.server.script(Answer(body=body))
    reply = body_of(ask(lab.gate.port, asking(CHAT, fields_for(CHAT, stop=None))))
    assert reply == body
    assert lab.stored() == 0
