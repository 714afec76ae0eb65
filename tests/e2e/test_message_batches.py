"""Message batches by the official Anthropic SDK, unchanged and strict about what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from batchgates import anthropic_at, batch_gate, ended_messages, openai_at, requests
from gates import Gate
from oracle import until

from headgate.testing import Delay, FakeProvider, FaultServer, Status


@pytest.fixture
def gate(tmp_path: Path, provider: FakeProvider) -> Iterator[Gate]:
    with batch_gate(tmp_path, provider) as running:
        yield running


@pytest.fixture
def client(gate: Gate) -> Iterator[anthropic.Anthropic]:
    with anthropic_at(gate) as made:
        yield made


def test_a_batch_runs_to_its_results(
    client: anthropic.Anthropic, gate: Gate, provider: FakeProvider
) -> None:
    asked = requests(20)
    batch = client.messages.batches.create(requests=asked)
    assert batch.type == "message_batch"
    counts = batch.request_counts
    assert (counts.processing, counts.succeeded) == (20, 0)
    assert (batch.results_url, batch.ended_at) == (None, None)
    assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
    done = ended_messages(client, batch.id)
    counts = done.request_counts
    assert (counts.processing, counts.succeeded, counts.errored) == (0, 20, 0)
    assert done.ended_at >= done.created_at
    got = list(client.messages.batches.results(batch.id))
    assert [one.custom_id for one in got] == [one["custom_id"] for one in asked]
    assert {one.result.type for one in got} == {"succeeded"}
    assert len(provider.calls) == 20
    answer = client.messages.with_raw_response.create(**asked[3]["params"])
    assert "; hit; " in answer.headers["cache-status"]
    assert answer.parse() == got[3].result.message  # type: ignore[union-attr]


def test_all_are_processing_until_all_have_ended(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server, {"concurrency": 1}) as gate,
        anthropic_at(gate) as client,
    ):
        server.script(Delay(0.2), times=None)
        batch = client.messages.batches.create(requests=requests(400))
        until(lambda: len(server.calls) > 1, "the first request is answered")
        now = client.messages.batches.retrieve(batch.id)
        assert now.processing_status == "in_progress"
        assert now.request_counts.processing == 400
        with pytest.raises(anthropic.BadRequestError, match="has not ended"):
            client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)
        with pytest.raises(anthropic.ConflictError, match="cancel it first"):
            client.messages.batches.delete(batch.id)
        cancelling = client.messages.batches.cancel(batch.id)
        assert cancelling.processing_status in ("canceling", "ended")
        assert cancelling.cancel_initiated_at is not None
        done = ended_messages(client, batch.id)
        counts = done.request_counts
        assert counts.succeeded + counts.canceled == 400
        assert counts.canceled > 0
        kinds = [one.result.type for one in client.messages.batches.results(batch.id)]
        assert (kinds.count("succeeded"), kinds.count("canceled")) == (
            counts.succeeded, counts.canceled,
        )  # fmt: skip


def test_a_request_that_fails_has_an_error(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server) as gate,
        anthropic_at(gate) as client,
    ):
        told = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
        server.script(Status(400, told), model="bad", times=None)
        one, other = requests(2)
        other["params"]["model"] = "bad"
        batch = client.messages.batches.create(requests=[one, other])
        done = ended_messages(client, batch.id)
        assert (done.request_counts.succeeded, done.request_counts.errored) == (1, 1)
        _, failed = client.messages.batches.results(batch.id)
        assert failed.result.type == "errored"
        assert failed.result.error.error.message == "no"


def test_it_is_deleted_with_its_requests(client: anthropic.Anthropic, tmp_path: Path) -> None:
    batch = client.messages.batches.create(requests=requests(2))
    ended_messages(client, batch.id)
    folder = tmp_path / "jobs.db-files"
    assert len(list(folder.iterdir())) == 1
    deleted = client.messages.batches.delete(batch.id)
    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    assert list(folder.iterdir()) == []
    for ask in (client.messages.batches.retrieve, client.messages.batches.results,
                client.messages.batches.cancel, client.messages.batches.delete):  # fmt: skip
        with pytest.raises(anthropic.NotFoundError):
            ask(batch.id)


def test_batches_are_listed_in_pages_both_ways(client: anthropic.Anthropic) -> None:
    batches = client.messages.batches
    made = [batches.create(requests=requests(1)).id for _ in range(5)]
    newest = made[::-1]
    assert [batch.id for batch in batches.list(limit=2)] == newest
    assert [batch.id for batch in batches.list(after_id=newest[2])] == newest[3:]
    page = batches.list(before_id=newest[3], limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (newest[1:3], True)
    page = batches.list(before_id=newest[1], limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (newest[:1], False)
    with pytest.raises(anthropic.BadRequestError):
        batches.list(before_id=newest[1], after_id=newest[3])
    with pytest.raises(anthropic.NotFoundError):
        batches.list(before_id="job_unknown")


def test_each_api_shows_its_own(client: anthropic.Anthropic, gate: Gate) -> None:
    batch = client.messages.batches.create(requests=requests(1))
    with openai_at(gate) as other:
        assert list(other.batches.list()) == []
        assert list(other.files.list()) == []
        got = gate.get(f"/v1/batches/{batch.id}", {"x-api-key": "a-client"})
        assert got.status == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"custom_id": "r-0"}, "requests.1: custom_id"),
        ({"custom_id": "a b"}, "requests.1: custom_id"),
        ({"custom_id": "x" * 65}, "requests.1: custom_id"),
        ({"custom_id": 7}, "requests.1: "),
        ({"more": 1}, "requests.1: "),
        ({"params": {"model": "m", "stream": True}}, "requests.1: "),
        ({"params": {"model": ""}}, "requests.1: "),
        ({"params": 1}, "requests.1: "),
    ],
)
def test_a_bad_request_is_refused_with_all_others(
    client: anthropic.Anthropic, provider: FakeProvider, tmp_path: Path, change: Any, said: str
) -> None:
    first, second = requests(2)
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.batches.create(requests=[first, {**second, **change}])
    assert said in caught.value.message
    assert caught.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    assert list(client.messages.batches.list()) == []
    assert list((tmp_path / "jobs.db-files").iterdir()) == []
    assert provider.calls == []


def test_no_requests_are_no_batch(client: anthropic.Anthropic, provider: FakeProvider) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.create(requests=[])
    assert provider.calls == []


@pytest.mark.parametrize(
    "item",
    [
        b'{"custom_id": "a", "params": %s}' % (b"[" * 5_000 + b"]" * 5_000),
        b'{"custom_id": "a", "custom_id": "b", "params": {}}',
        b'{"custom_id": "a", "params": {}, "p\\u0061rams": {}}',
        b'{"custom_id": "a\xff", "params": {}}',
        b'{"custom_id": "a", "params": {"x": \n"\xff"}}',
        b'{"custom_id": "a", "params": {"x": "a\nb"}}',
        b'{"custom_id": "a", "params": {"x": NaN}}',
    ],
)
def test_what_two_readers_could_read_differently_is_refused(gate: Gate, item: bytes) -> None:
    got = gate.post("/v1/messages/batches", b'{"requests": [%s]}' % item, {"x-api-key": "me"})
    assert (got.status, got.json["type"]) == (400, "error")
    assert "requests.0" in got.json["error"]["message"]


def test_white_space_between_values_is_no_part_of_them(gate: Gate, provider: FakeProvider) -> None:
    key = {"x-api-key": "a-client", "anthropic-version": "2023-06-01"}
    params = (
        b'{"model": "m",\r\n"max_tokens": 9,\n\n"messages": [{"role":"user","content":"a\\nb"}]}'
    )
    body = b'{ "requests":\n[ {"custom_id": "a",\n"params": %s} ]\n}' % params
    got = gate.post("/v1/messages/batches", body, key)
    assert got.status == 200
    broken = body.replace(b"a\\nb", b"a\nb")
    assert gate.post("/v1/messages/batches", broken, key).status == 400
    until(lambda: len(provider.calls) == 1, "it is asked")
    assert provider.calls[0].body["messages"][0]["content"] == "a\nb"


def test_the_asynchronous_client_has_batches_too(gate: Gate) -> None:
    async def use() -> list[str]:
        settings: Any = {"max_retries": 0, "_strict_response_validation": True}
        async with anthropic.AsyncAnthropic(
            base_url=gate.url, api_key="a-client", **settings
        ) as client:
            batches = client.messages.batches
            batch = await batches.create(requests=requests(3))
            while batch.processing_status != "ended":
                await asyncio.sleep(0.02)
                batch = await batches.retrieve(batch.id)
            assert [one.id async for one in batches.list(limit=1)] == [batch.id]
            return [one.custom_id async for one in await batches.results(batch.id)]

    assert asyncio.run(asyncio.wait_for(use(), 20)) == ["r-0", "r-1", "r-2"]
