"""Row 16: a client leaves, gently or not, at every moment of its call. The provider is let go with
it, unless others wait for the same answer; what was said is billed; nobody hears of it, the log
included.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from lab import KEY, PATHS, Lab, asking, fields_for
from oracle import until
from rawclient import CHAT, MESSAGES

from headgate.testing import Pause, Stall, Usual

WAYS = ("fin", "rst")
ASKED = asking(CHAT, fields_for(CHAT))
HEAD_BYTES = ASKED.index(b"\r\n\r\n") + 4
PHASES = {
    "before a byte": 0,
    "inside the request line": 9,
    "inside the headers": 40,
    "before the body": HEAD_BYTES,
    "inside the body": HEAD_BYTES + 10,
    "before the last byte": len(ASKED) - 1,
}


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("phase", PHASES)
def test_a_client_that_leaves_before_it_has_asked_causes_nothing(
    lab: Lab, phase: str, by: str
) -> None:
    with lab.raw() as client:
        client.send(ASKED[: PHASES[phase]])
        client.leave(by)
    assert lab.ask(about="Peru").status == 200
    assert [call.model for call in lab.server.calls] == ["m"]


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_leaves_before_the_answer_takes_the_call_along(
    lab: Lab, path: str, stream: bool, by: str
) -> None:
    lab.server.hold()
    with lab.leaving(path, stream=stream) as client:
        lab.server.wait_for_calls(1)
        client.leave(by)
    (call,) = lab.server.wait_for_abandoned(1)
    assert (call.status, call.tokens_out, lab.stored()) == (0, 0, 0)
    assert lab.server.bill().tokens_in == call.tokens_in > 0, "the prompt was taken on"
    lab.server.release()
    lab.is_healthy()
    assert lab.gate.stats()["metrics"]["total_errors"] == 0


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_leaves_inside_a_stream_takes_it_along(lab: Lab, path: str, by: str) -> None:
    pause = Pause()
    # Eight: what comes before the content of /responses is held back.
    lab.server.script(Usual(0, 8), pause, Usual(8))
    # Nothing is to be kept: else the gateway would read on for the cache (cache.finish_within).
    with lab.leaving(path, "cache-control: no-store", stream=True) as client:
        pause.wait_reached()
        client.until(b"\n\n")
        client.leave(by)
    (call,) = lab.server.wait_for_abandoned(1)
    assert call.chunks == 8
    pause.release()
    lab.is_healthy()
    assert lab.gate.stats()["metrics"]["total_errors"] == 0


@pytest.mark.parametrize("by", WAYS)
def test_a_client_that_leaves_inside_a_whole_answer_takes_it_along(lab: Lab, by: str) -> None:
    lab.server.script(Stall(at_byte=100))
    with lab.leaving() as client:
        until(lambda: lab.server.calls and lab.server.calls[0].body_bytes == 100, "half is there")
        client.leave(by)
    (call,) = lab.server.wait_for_abandoned(1)
    assert call.tokens_out > 20, "a whole answer was made before it was sent, and is billed"
    assert lab.stored() == 0


@pytest.mark.parametrize("by", WAYS)
def test_a_client_that_leaves_behind_its_answer_leaves_it_in_the_cache(lab: Lab, by: str) -> None:
    with lab.leaving() as client:
        client.until(b"}}}")
        client.leave(by)
    assert lab.ask().headers["cache-status"].startswith("headgate; hit")
    assert len(lab.server.calls) == 1


@pytest.mark.parametrize("by", WAYS)
def test_whoever_leaves_first_does_not_take_the_others_along(lab: Lab, by: str) -> None:
    lab.server.hold()
    with lab.leaving() as leader:
        lab.server.wait_for_calls(1)
        with lab.raw(KEY, fields_for(CHAT)) as follower:
            follower.send(ASKED)
            joined(lab, 2)
            leader.leave(by)
            joined(lab, 1)
            lab.server.release()
            assert follower.rest().startswith(b"HTTP/1.1 200 OK")
    assert [call.ended for call in lab.server.wait_for_ended(1)] == ["complete"]
    assert lab.stored() == 1


def joined(lab: Lab, count: int) -> None:
    """Waits until so many requests are inside the gateway."""

    def inside() -> int:
        return sum("RequestResponseCycle.run_asgi" in task for task in lab.gate.tasks())

    until(lambda: inside() == count, f"{count} requests under way")


def test_the_last_to_leave_takes_the_call_along(lab: Lab) -> None:
    lab.server.hold()
    with ExitStack() as stack:
        clients = [stack.enter_context(lab.leaving()) for _ in range(5)]
        lab.server.wait_for_calls(1)
        joined(lab, 5)
        for number, client in enumerate(clients):
            assert lab.server.abandoned == 0
            client.leave(WAYS[number % 2])
    assert len(lab.server.wait_for_abandoned(1)) == 1
    assert (len(lab.server.calls), lab.stored()) == (1, 0)
    lab.server.release()
    lab.is_healthy()


@pytest.mark.parametrize("stream", [False, True])
def test_an_sdk_that_loses_patience_takes_the_call_along(lab: Lab, stream: bool) -> None:
    lab.server.script(Stall(at_chunk=0), times=2)
    # Long enough for a call to get to the provider, on a slow machine too.
    impatient = httpx2.Timeout(30, read=2.0)
    fields: Any = fields_for(CHAT, stream=stream)
    with pytest.raises((openai.APITimeoutError, httpx2.ReadTimeout)):
        list(lab.openai(timeout=impatient).chat.completions.create(**fields))
    fields = fields_for(MESSAGES, stream=stream)
    with pytest.raises((anthropic.APITimeoutError, httpx2.ReadTimeout)):
        list(lab.anthropic(timeout=impatient).messages.create(**fields))
    lab.server.wait_for_abandoned(2)


def test_clients_that_leave_at_any_moment_leave_nothing_behind(lab: Lab) -> None:
    def hurry(number: int) -> None:
        stream = number % 3 == 0
        with lab.leaving(PATHS[number % 4], about=number % 10, stream=stream) as client:
            client.socket.settimeout(0.002 * (number % 8) + 0.001)
            try:
                client.rest()
            except (TimeoutError, ConnectionResetError):
                client.leave(WAYS[number % 2])

    with lab.healthy_meanwhile("other"), ThreadPoolExecutor(12) as threads:
        list(threads.map(hurry, range(240)))
    lab.is_healthy()
    assert lab.gate.stats()["metrics"]["total_errors"] == 0


def test_a_deadline_of_the_caller_takes_the_call_along(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab()
    lab.server.hold()
    with lab.raw() as client:
        client.send(asking(CHAT, fields_for(CHAT), KEY, "headgate-deadline: 1s"))
        assert client.rest().startswith(b"HTTP/1.1 504 ")
    lab.server.wait_for_abandoned(1)
