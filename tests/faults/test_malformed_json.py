"""Row 10: a 200 whose body is no answer is 502 in the dialect of the route, asked for once more,
never kept; what is an answer, however odd, is handed on byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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


ODD = {"no finish", "error inside", "arguments"}
"""JSON of the dialect, with something missing or wrong in it."""
WITHOUT_CHOICES = {"no choices", "empty choices", "a wrong type"}
"""No answers of chat; other dialects have no choices."""


@pytest.mark.parametrize("name", CORPUS)
def test_a_body_that_is_no_answer_is_502_and_not_kept(lab: Lab, name: str) -> None:
    for path in (CHAT, MESSAGES, "/v1/responses", "/v1/embeddings"):
        lab.server.script(Answer(body=CORPUS[name]))
        reply = lab.ask(path)
        if name in ODD or (name in WITHOUT_CHOICES and path != CHAT):
            assert (reply.status, reply.body) == (200, CORPUS[name])
            assert reply.headers["cache-status"] == "headgate; fwd=miss"
        else:
            assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_garbled")
        assert lab.stored() == 0
    assert len(lab.server.calls) == 4
    lab.is_healthy()


def test_a_whole_answer_that_is_cut_short_is_an_error_at_each_place(lab: Lab) -> None:
    """Valid HTTP, cut short: what a provider sends that gives up and calls it a day."""
    size = len(lab.ask(about="its size").body)
    lab.gate.runtime.clear()
    for place in range(0, size, 7):
        lab.server.script(CutAt(place, by="clean"))
        reply = lab.ask()
        assert (reply.status, reply.code, lab.stored()) == (502, "upstream_garbled", 0)


def test_whoever_joined_has_the_one_call_more(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(blocks={})
    lab.server.script(Answer(body=CORPUS["half"]))
    lab.server.hold()
    with lab.raw(KEY, fields_for(CHAT)) as one, lab.raw(KEY, fields_for(CHAT)) as two:
        one.send(asking(CHAT, fields_for(CHAT)))
        lab.server.wait_for_calls(1)
        two.send(asking(CHAT, fields_for(CHAT)))
        lab.server.release()
        bodies = [body_of(one.rest()), body_of(two.rest())]
    assert bodies[0] == bodies[1]
    assert (lab.stored(), len(lab.server.calls)) == (1, 2)


def test_the_sdks_say_that_it_is_no_answer(lab: Lab) -> None:
    fields: dict[str, Any] = {CHAT: fields_for(CHAT), MESSAGES: fields_for(MESSAGES)}
    lab.server.script(Answer(body=CORPUS["half"]), times=2)
    with pytest.raises((openai.APIError, ValueError)):
        lab.openai().chat.completions.create(**fields[CHAT])
    with pytest.raises((anthropic.APIError, ValueError)):
        lab.anthropic().messages.create(**fields[MESSAGES])


@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_no_body_whatever_brings_the_gateway_down(lab: Lab, body: bytes) -> None:
    lab.server.script(Answer(body=body))
    reply = body_of(ask(lab.gate.port, asking(CHAT, fields_for(CHAT, stop=None))))
    assert json.loads(reply)["error"]["code"] == "upstream_garbled"
    assert lab.stored() == 0
