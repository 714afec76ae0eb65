"""Row 1: 500, 502, 503. Tried elsewhere, then again within the budget, then told as it is, with
what keeps SDKs from multiplying the attempts; and the breaker opens when it is enough.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from lab import Lab, fields_for
from rawclient import CHAT, MESSAGES
from several import several

from headgate.layers.settings import BreakerConfig, CacheConfig, RetryConfig
from headgate.testing import Status

PATHS = (CHAT, MESSAGES, "/v1/responses")
STATUS = "cache-status"


def lab_of(open_lab: Callable[..., Lab], count: int = 2, **more: Any) -> Lab:
    return open_lab(lambda server: several(server, count, **more))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_another_deployment_answers(
    open_lab: Callable[..., Lab], path: str, status: int, stream: bool
) -> None:
    lab = lab_of(open_lab)
    lab.server.script(Status(status), model="m1", times=None)
    reply = lab.ask(path, stream=stream)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "2")
    assert reply.headers["headgate-target"][1:] == "2/m2"
    assert [call.model for call in lab.server.calls] == ["m1", "m2"]
    assert lab.ask(path, stream=not stream).headers["cache-status"].startswith("headgate; hit")


@pytest.mark.parametrize("path", PATHS)
def test_a_lone_deployment_is_asked_again_and_answers(
    open_lab: Callable[..., Lab], path: str
) -> None:
    lab = lab_of(open_lab, 1)
    lab.server.script(Status(500), times=2)
    reply = lab.ask(path)
    assert (reply.status, reply.headers["headgate-attempts"]) == (200, "3")
    assert lab.gate.stats()["breakers"]["retries"] == {"server_error": 2}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_after_three_attempts_it_is_told_as_it_is(open_lab: Callable[..., Lab], count: int) -> None:
    lab = lab_of(open_lab, count)
    lab.server.script(Status(503, body='{"error": {"message": "down"}}'), times=None)
    reply = lab.ask()
    assert (reply.status, reply.json["error"]["message"]) == (503, "down")
    assert reply.headers["x-should-retry"] == "false"
    assert (reply.headers["headgate-attempts"], len(lab.server.calls)) == ("3", 3)
    assert lab.stored() == 0


def test_the_sdks_do_not_multiply_the_attempts(open_lab: Callable[..., Lab]) -> None:
    lab = lab_of(open_lab, 1, blocks={"breaker": BreakerConfig(enabled=False)})
    lab.server.script(Status(500), times=None)
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError):
            lab.openai(max_retries=2).chat.completions.create(**fields_for(CHAT, stream=stream))
        fields: Any = fields_for(MESSAGES, stream=stream)
        with pytest.raises(anthropic.InternalServerError):
            lab.anthropic(max_retries=2).messages.create(**fields)
    assert len(lab.server.calls) == 4 * 3


def test_the_breaker_opens_and_the_provider_is_left_alone(open_lab: Callable[..., Lab]) -> None:
    blocks = {"breaker": BreakerConfig(failure_threshold=4, recovery_timeout=60.0)}
    lab = lab_of(open_lab, 1, blocks=blocks)
    lab.server.script(Status(500), times=None)
    replies = [lab.ask(about=number) for number in range(8)]
    assert len(lab.server.calls) == 4
    assert [reply.status for reply in replies[2:]] == [503] * 6
    refused = replies[-1]
    assert refused.json["error"]["code"] == "provider_unavailable"
    assert refused.headers["x-should-retry"] == "false"
    assert 20 <= int(refused.headers["retry-after"]) <= 60
    row = lab.gate.stats()["breakers"]["deployments"]["p1/m1"]
    assert (row["state"], row["calls"]["refused"] >= 6) == ("open", True)


@pytest.mark.parametrize("path", PATHS)
def test_a_probe_finds_that_the_provider_is_back(open_lab: Callable[..., Lab], path: str) -> None:
    breaker = BreakerConfig(failure_threshold=1, recovery_timeout=0.05, success_threshold=2)
    lab = lab_of(open_lab, 1, blocks={"breaker": breaker})
    lab.server.script(Status(500))
    assert lab.ask(path, about="while it is down").status == 500
    statuses = [lab.ask(path, about=number).status for number in range(200)]
    first = statuses.index(200)
    assert set(statuses[first:]) == {200}, "once it is back it stays"
    assert set(statuses[:first]) <= {503}


def test_an_error_that_is_the_callers_own_is_asked_once(open_lab: Callable[..., Lab]) -> None:
    lab = lab_of(open_lab, 3)
    for status in (400, 404, 413, 422):
        lab.server.script(Status(status))
        assert lab.ask(about=status).status == status
    assert [call.model for call in lab.server.calls] == ["m1"] * 4
    assert "x-should-retry" not in lab.ask(about="well").headers


def test_what_has_effects_at_the_provider_is_not_repeated(open_lab: Callable[..., Lab]) -> None:
    lab = lab_of(open_lab, 2)
    lab.server.script(Status(500), times=None)
    reply = lab.ask("/v1/responses", store=True)
    assert (reply.status, reply.headers["x-should-retry"]) == (500, "false")
    assert len(lab.server.calls) == 1


def test_a_stale_answer_stands_in_after_a_failure_and_after_a_refusal(
    open_lab: Callable[..., Lab],
) -> None:
    lab = lab_of(
        open_lab,
        1,
        retry=RetryConfig(attempts=1),
        blocks={
            "breaker": BreakerConfig(failure_threshold=1, recovery_timeout=60.0),
            "cache": CacheConfig(ttl=0.01, max_stale=3600.0, stale_if_error=3600.0),
        },
    )
    fresh = lab.ask()
    lab.server.script(Status(500), times=None)
    time.sleep(0.02)
    after_failure, after_refusal = lab.ask(), lab.ask()
    assert fresh.body == after_failure.body == after_refusal.body
    assert "fwd=stale; fwd-status=500; detail=stale-if-error" in after_failure.headers[STATUS]
    assert re.fullmatch(r"headgate; hit; ttl=-?\d+; detail=stale-if-error",
                        after_refusal.headers[STATUS])  # fmt: skip
    assert len(lab.server.calls) == 2
