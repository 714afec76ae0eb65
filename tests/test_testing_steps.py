"""What a step sends, in the dialect and shape of its request; on the wire it is tested in
test_testing_provider.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.testing import Answer, Cut, Hang, Recorded, Status
from headgate.testing_steps import asked_operation, plan_of


def asked(path: str = "/v1/chat/completions", method: str = "POST", **fields: Any) -> Recorded:
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}], **fields}
    return Recorded(method, path, {}, body, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/v1/chat/completions", "chat"),
        ("POST", "/v1/messages?beta=true", "messages"),
        ("GET", "/v1/models", "models"),
        ("GET", "/v1/chat/completions", "GET /v1/chat/completions"),
    ],
)
def test_the_operation_follows_from_method_and_path(method: str, path: str, operation: str) -> None:
    assert asked_operation(asked(path, method)) == operation


def test_the_list_of_models_is_anthropics_for_its_clients() -> None:
    request = Recorded("GET", "/v1/models", {"anthropic-version": "2023-06-01"}, None, b"")
    assert asked_operation(request) == "anthropic_models"


def test_an_answer_may_replace_words_status_headers_and_body() -> None:
    plan = plan_of(Answer(text="Paris", headers={"X-A": "1"}, delay_s=2), asked())
    assert (plan.status, plan.delay_s, plan.headers[-1]) == (200, 2, (b"x-a", b"1"))
    assert b'"Paris"' in plan.pieces[0]
    assert plan_of(Answer(status=503), asked()).status == 503
    assert plan_of(Answer(body={"a": 1}), asked()).pieces == (b'{"a":1}',)
    assert plan_of(Answer(chunks=[b"x", b"y"]), asked()).pieces == (b"x", b"y")


def test_a_stream_is_asked_for_by_the_request() -> None:
    assert not plan_of(Answer(), asked()).streamed
    assert plan_of(Answer(), asked(stream=True)).streamed


def test_a_failure_is_spelt_in_the_dialect() -> None:
    assert (
        json.loads(plan_of(Status(429), asked()).pieces[0])["error"]["type"] == "rate_limit_error"
    )
    told = json.loads(plan_of(Status(529), asked("/v1/messages")).pieces[0])
    assert told["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(("step", "stops"), [(Cut(5), "cut"), (Hang(5), "hang")])
def test_a_cut_and_a_hang_are_the_usual_answer_that_stops(step: Any, stops: str) -> None:
    plan, usual = plan_of(step, asked()), plan_of(Answer(), asked())
    assert (plan.pieces, plan.stops, plan.stops_after) == (usual.pieces, stops, 5)


def test_the_mark_of_a_plan_is_in_its_words() -> None:
    assert b"hgt0s1z" in plan_of(Answer(), asked(), "hgt0s1z").pieces[0]
