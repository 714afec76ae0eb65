"""Requests to a batch API: bounded tries, and no try that could do something twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from batchlab import KEY, PATIENCE, config_at

from headgate.clock import SystemClock
from headgate.errors import HeadgateError, UpstreamFailed, UpstreamGarbled
from headgate.jobs.apis.asking import Asking
from headgate.jobs.apis.base import Refused, Uncertain, Vanished
from headgate.providers.wire_client import open_wire
from headgate.testing import Answer, CutAt, FaultServer, Status

NOW = {"retry-after-ms": "1"}


def done(server: FaultServer, **more: Any) -> Any:
    """What comes of one request that lists batches."""

    async def run() -> Any:
        provider = config_at(server).providers["openai"]
        asking = Asking(provider, open_wire(provider), SystemClock(), (), PATIENCE)
        try:
            return await asking.do("POST" if more else "GET", "/batches", **more)
        finally:
            await asking.aclose()

    return asyncio.run(run())


def test_what_fails_by_itself_is_tried_so_often_and_no_more(server: FaultServer) -> None:
    server.script(Status(503), times=5)
    assert done(server)["object"] == "list"
    server.script(Status(503), times=None)
    with pytest.raises(UpstreamFailed, match="status 503"):
        done(server)
    assert len(server.calls) == 6 + 6


def test_what_is_put_off_has_a_patience_of_its_own(server: FaultServer) -> None:
    server.script(Status(429, headers=NOW), times=5)
    server.script(Status(500), times=5)
    assert done(server)["object"] == "list"


@pytest.mark.parametrize("fault", [Status(500), Status(503), CutAt(None), Answer(body=b"{")])
def test_what_may_be_done_is_not_tried_again_where_that_would_do_it_twice(
    server: FaultServer, fault: Any
) -> None:
    server.script(fault)
    with pytest.raises(Uncertain):
        done(server, body=b"{}", is_repeatable=False)
    assert len(server.calls) == 1


@pytest.mark.parametrize("fault", [Status(429, headers=NOW), Status(409, headers=NOW)])
def test_what_was_put_off_was_not_done(server: FaultServer, fault: Any) -> None:
    server.script(fault)
    with pytest.raises(Refused):
        done(server, body=b"{}", is_repeatable=False)
    assert len(server.calls) == 2


def test_a_closed_port_is_no_doubt(server: FaultServer) -> None:
    server.refuse()
    with pytest.raises(UpstreamFailed) as raised:
        done(server, body=b"{}", is_repeatable=False)
    assert not raised.value.sent


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (401, Refused), (413, Refused), (404, Vanished)]
)
def test_a_refusal_is_final_and_says_why_without_our_key(
    server: FaultServer, status: int, kind: type[HeadgateError]
) -> None:
    server.script(Status(status, body={"error": {"message": f"not with {KEY}"}}))
    with pytest.raises(kind) as raised:
        done(server)
    assert raised.value.message == f"status {status}: not with ***"
    assert len(server.calls) == 1


def test_what_is_no_json_is_garbled(server: FaultServer) -> None:
    server.script(Answer(body=b"<html>"), times=None)
    with pytest.raises(UpstreamGarbled):
        done(server)


def test_a_refusal_without_a_reason_says_so(server: FaultServer) -> None:
    server.script(Status(400, body="<html>"))
    with pytest.raises(Refused, match="no reason given"):
        done(server)
