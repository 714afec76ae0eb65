"""Row 13, as far as today's code goes: a page instead of an answer (a captive portal, a proxy's
error, a login) is handed on with its own type, never kept, never taken for a stream. (To answer 502
instead is the part of the row that is to come.)
"""

from __future__ import annotations

import pytest
from lab import PATHS, Lab

from headgate.testing import Answer, Head, Usual

PAGE = b"<!DOCTYPE html><html><title>Sign in to the network</title></html>"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain", "image/png", ""])
def test_a_page_instead_of_an_answer_is_handed_on_and_not_kept(
    lab: Lab, path: str, stream: bool, kind: str
) -> None:
    lab.server.script(Answer(body=PAGE, headers={"content-type": kind}))
    reply = lab.ask(path, stream=stream)
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, PAGE, kind)
    assert lab.stored() == 0
    assert lab.ask(path).headers["cache-status"] == "headgate; fwd=miss; stored"


def test_a_redirect_to_a_login_is_not_followed(lab: Lab) -> None:
    away = {"location": "http://127.0.0.1:9/login", "content-type": "text/html"}
    lab.server.script(Answer(status=302, body=PAGE, headers=away))
    reply = lab.ask()
    assert (reply.status, reply.body) == (302, PAGE)
    assert "location" not in reply.headers, "no client is sent elsewhere with its credential"
    assert (len(lab.server.calls), lab.stored()) == (1, 0)


def test_a_page_whose_type_says_json_is_not_kept(lab: Lab) -> None:
    lab.server.script(Answer(body=PAGE))
    assert lab.ask().body == PAGE
    assert lab.stored() == 0


def test_a_stream_that_nobody_asked_for_is_not_kept(lab: Lab) -> None:
    lab.server.script(Answer(chunks=(b"data: {}\n\n", b"data: [DONE]\n\n")))
    reply = lab.ask()
    assert reply.body == b"data: {}\n\ndata: [DONE]\n\n"
    assert lab.stored() == 0


def test_a_stream_under_another_type_arrives_whole(lab: Lab) -> None:
    lab.server.script(Head(headers={"content-type": "application/octet-stream"}), Usual())
    reply = lab.ask(stream=True)
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert lab.stored() == 0
