"""Row 13: a page instead of an answer (a captive portal, a proxy's error, a login) is 502 in the
dialect of the route, asked for once more, never kept, never taken for a stream.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import PATHS, Lab

from headgate.testing import Answer, Head, Usual

PAGE = b"<!DOCTYPE html><html><title>Sign in to the network</title></html>"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain", "image/png", ""])
def test_a_page_instead_of_an_answer_is_502_and_not_kept(
    lab: Lab, path: str, stream: bool, kind: str
) -> None:
    lab.server.script(Answer(body=PAGE, headers={"content-type": kind}))
    reply = lab.ask(path, stream=stream)
    assert (reply.status, reply.code) == (502, "upstream_garbled")
    assert b"Sign in" not in reply.body
    assert lab.stored() == 0
    assert lab.ask(path).headers["cache-status"] == "headgate; fwd=miss; stored"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_the_provider_is_asked_once_more(
    open_lab: Callable[..., Lab], path: str, stream: bool
) -> None:
    lab = open_lab(blocks={})
    lab.server.script(Answer(body=PAGE, headers={"content-type": "text/html"}))
    reply = lab.ask(path, stream=stream)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")
    lab.server.script(Answer(body=PAGE, headers={"content-type": "text/html"}), times=None)
    reply = lab.ask(path, about="again", stream=stream)
    assert (reply.status, reply.headers["headgate-attempts"]) == (502, "2")


def test_a_redirect_to_a_login_is_not_followed(lab: Lab) -> None:
    away = {"location": "http://127.0.0.1:9/login", "content-type": "text/html"}
    lab.server.script(Answer(status=302, body=PAGE, headers=away))
    reply = lab.ask()
    assert (reply.status, reply.body) == (302, PAGE)
    assert "location" not in reply.headers, "no client is sent elsewhere with its credential"
    assert (len(lab.server.calls), lab.stored()) == (1, 0)


def test_a_page_whose_type_says_json_is_502_too(lab: Lab) -> None:
    lab.server.script(Answer(body=PAGE))
    assert lab.ask().code == "upstream_garbled"
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
