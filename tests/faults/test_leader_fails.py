"""Row 19, with retries and another deployment: the call that a hundred others have joined fails, or
its caller goes. What it costs upstream is one call's attempts, and everybody hears the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from lab import Lab, Reply
from listening import settle
from oracle import until
from rawclient import CHAT, MESSAGES
from several import several

from headgate.testing import CutAt, FaultStep, Pause, Status, marks_in

FOLLOWERS = 100
FAILURES: dict[str, FaultStep] = {
    "status": Status(500),
    "overloaded": Status(529),
    "reset": CutAt(None, by="rst"),
    "cut": CutAt(20),
}


@pytest.fixture
def lab(open_lab: Callable[..., Lab]) -> Lab:
    return open_lab(lambda server: several(server, 2))


@contextmanager
def followed(lab: Lab, path: str, **fields: bool) -> Iterator[list[Future[Reply]]]:
    """A hundred callers who have joined the call that is under way."""
    with ThreadPoolExecutor(FOLLOWERS) as pool:
        asked = [pool.submit(lab.ask, path, **fields) for _ in range(FOLLOWERS)]
        until(lambda: lab.gate.door.inside > FOLLOWERS, "all of them are in")
        settle(lab.gate)
        yield asked


def models(lab: Lab) -> list[str]:
    return [call.model for call in lab.server.calls]


def sources(replies: list[Reply]) -> set[int]:
    """Whose answers they are."""
    assert {reply.status for reply in replies} == {200}
    return {mark.serial for reply in replies for mark in marks_in(reply.body)}


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("stream", [False, True])
def test_one_failure_is_met_elsewhere_once_for_all(lab: Lab, how: str, stream: bool) -> None:
    pause = Pause()
    lab.server.script(pause, FAILURES[how], model="m1")
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(lab.ask, stream=stream)
        pause.wait_reached()
        with followed(lab, CHAT, stream=stream) as followers:
            pause.release()
            replies = [leader.result(), *(follower.result() for follower in followers)]
    assert sources(replies) == {2}
    assert models(lab) == ["m1", "m2"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_when_all_fail_everybody_hears_it_after_one_calls_attempts(lab: Lab, path: str) -> None:
    pause = Pause()
    lab.server.script(pause, Status(500), model="m1")
    lab.server.script(Status(500), times=None)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(lab.ask, path)
        pause.wait_reached()
        with followed(lab, path) as followers:
            pause.release()
            replies = [leader.result(), *(follower.result() for follower in followers)]
    assert {reply.status for reply in replies} == {500}
    assert {reply.headers["x-should-retry"] for reply in replies} == {"false"}
    assert len(lab.server.calls) <= 3, models(lab)
    assert lab.stored() == 0


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_first_caller_who_leaves_takes_no_attempt_away(lab: Lab, path: str) -> None:
    pause = Pause()
    lab.server.script(pause, Status(500), model="m1")
    with ExitStack() as stack:
        leader = stack.enter_context(lab.leaving(path))
        pause.wait_reached()
        followers = stack.enter_context(followed(lab, path))
        leader.leave("rst")
        until(lambda: lab.gate.stats()["metrics"]["total_calls"] == 1, "its leaving is noticed")
        pause.release()
        replies = [follower.result() for follower in followers]
    assert sources(replies) == {2}
    assert models(lab) == ["m1", "m2"]


def test_a_first_caller_whose_time_is_up_takes_no_attempt_away(lab: Lab) -> None:
    pause = Pause()
    lab.server.script(pause, Status(500), model="m1")
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(lab.ask, CHAT, "headgate-deadline: 3s")
        pause.wait_reached()
        with followed(lab, CHAT) as followers:
            assert leader.result().status == 504
            pause.release()
            replies = [follower.result() for follower in followers]
    assert sources(replies) == {2}
    assert models(lab) == ["m1", "m2"]


def test_a_first_caller_whose_time_is_up_ends_no_repeat_that_others_wait_for(lab: Lab) -> None:
    pause = Pause()
    lab.server.script(Status(500), model="m1")
    lab.server.script(pause, model="m2")
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(lab.ask, CHAT, "headgate-deadline: 3s")
        pause.wait_reached()
        with followed(lab, CHAT) as followers:
            assert leader.result().status == 504
            pause.release()
            replies = [follower.result() for follower in followers]
    assert sources(replies) == {2}
    assert models(lab) == ["m1", "m2"]


def test_a_hundred_who_wait_for_one_answer_hold_up_nobody_else(
    open_lab: Callable[..., Lab],
) -> None:
    lab = open_lab(lambda server: several(server, 2), beside=True)
    pause = Pause()
    lab.server.script(pause, Status(500), model="m1")
    with lab.healthy_meanwhile() as enough, ThreadPoolExecutor(FOLLOWERS) as pool:
        asked = [pool.submit(lab.ask) for _ in range(FOLLOWERS)]
        pause.wait_reached()
        until(lambda: lab.gate.door.inside >= FOLLOWERS, "all of them are in")
        enough()
        pause.release()
    assert {reply.result().status for reply in asked} == {200}
