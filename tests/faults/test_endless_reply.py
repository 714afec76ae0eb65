"""Row 14: a reply that is huge, or never ends. It is cut at the configured size, the provider is
let go, the client is told, and the memory of the process does not follow the reply.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from events import has_failed, is_finished
from lab import PATHS, Lab

from headgate.testing import Answer, Endless, Head, SlowHeaders, Usual

CAP_BYTES = 200_000


@pytest.fixture
def lab(open_lab: Callable[..., Lab]) -> Lab:
    return open_lab(reply_max_bytes=CAP_BYTES)


@pytest.mark.parametrize("path", PATHS)
def test_an_endless_answer_is_502_and_the_provider_is_let_go(lab: Lab, path: str) -> None:
    lab.memory_growth_max_bytes = 30_000_000
    lab.server.script(Endless())
    reply = lab.ask(path)
    assert (reply.status, reply.code) == (502, "upstream_too_large")
    assert str(CAP_BYTES) in reply.json["error"]["message"]
    lab.server.wait_for_abandoned(1)
    assert lab.stored() == 0
    lab.is_healthy()


@pytest.mark.parametrize("path", PATHS)
def test_an_endless_stream_is_ended_with_an_error_and_the_provider_is_let_go(
    lab: Lab, path: str
) -> None:
    lab.memory_growth_max_bytes = 30_000_000
    lab.server.script(Endless(at_chunk=8))
    reply = lab.ask(path, stream=True)
    assert reply.status == 200
    assert has_failed(reply.body)
    assert not is_finished(reply.body)
    assert len(reply.body) < CAP_BYTES + 1000
    lab.server.wait_for_abandoned(1)
    lab.is_healthy()


def test_a_reply_that_declares_more_than_is_allowed_is_502(lab: Lab) -> None:
    lab.server.script(
        Head(200, {"content-length": "1000000000000"}, is_chunked=False), Endless(), Usual()
    )
    assert lab.ask().code == "upstream_too_large"
    lab.server.wait_for_abandoned(1)


def test_an_error_that_never_ends_is_502_too(lab: Lab) -> None:
    lab.server.script(Endless(), Answer(status=500, body=b"x" * 10_000))
    assert lab.ask().code == "upstream_too_large"
    lab.server.wait_for_abandoned(1)


@pytest.mark.parametrize(
    "headers", [{"x-long": "x" * 200_000}, {f"x-{n}": "x" for n in range(9999)}]
)
def test_a_head_without_bounds_is_502(lab: Lab, headers: dict[str, str]) -> None:
    lab.server.script(Head(headers=headers), Usual())
    assert lab.ask(stream=True).code in ("upstream_garbled", "stream_broken")
    lab.is_healthy()


def test_a_head_that_never_ends_is_504(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(first_byte_timeout=1.0)
    lab.server.script(SlowHeaders(0.05), Head(headers={f"x-{n}": "x" for n in range(1000)}))
    assert lab.ask().code == "upstream_timeout"
    lab.server.wait_for_abandoned(1)


def test_many_endless_streams_at_once_do_not_add_up(lab: Lab) -> None:
    lab.memory_growth_max_bytes = 60_000_000
    lab.server.script(Endless(at_chunk=8), times=None)
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(lab.ask, about=number, stream=True) for number in range(32)]
        assert all(has_failed(reply.result().body) for reply in asked)
    lab.server.wait_for_abandoned(32)
