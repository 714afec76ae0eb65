"""Files and batches by the official OpenAI SDK, unchanged and strict about what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from batchgates import (
    CHAT,
    asked,
    batch_gate,
    ended,
    jobs_file,
    jsonl,
    line,
    lines,
    openai_at,
    results,
)
from gates import Gate
from oracle import until

from headgate.config import ProviderConfig
from headgate.testing import Delay, FakeProvider, FaultServer, Status
from headgate.types import Secret

OPENAI = ProviderConfig(kind="openai", base_url="http://127.0.0.1:1/v1", api_key=Secret("k"))


@pytest.fixture
def gate(tmp_path: Path, provider: FakeProvider) -> Iterator[Gate]:
    with batch_gate(tmp_path, provider) as running:
        yield running


@pytest.fixture
def client(gate: Gate) -> Iterator[openai.OpenAI]:
    with openai_at(gate) as made:
        yield made


def begun(client: openai.OpenAI, content: bytes, endpoint: Any = CHAT, **more: Any) -> Any:
    """A batch of the lines in `content`."""
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more
    )


def test_nothing_is_made_before_the_first_upload(client: openai.OpenAI, tmp_path: Path) -> None:
    assert list(client.files.list()) == []
    assert list(client.batches.list()) == []
    for ask in (client.files.retrieve, client.files.content, client.files.delete,
                client.batches.retrieve, client.batches.cancel):  # fmt: skip
        with pytest.raises(openai.NotFoundError):
            ask("file_0")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_kept_listed_read_and_deleted(client: openai.OpenAI, tmp_path: Path) -> None:
    content = lines(3)
    made = client.files.create(file=("in.jsonl", content), purpose="batch")
    assert (made.bytes, made.filename, made.purpose) == (len(content), "in.jsonl", "batch")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content
    assert list(client.files.list()) == [made]
    folder = tmp_path / "jobs.db-files"
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]
    deleted = client.files.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    assert list(folder.iterdir()) == []
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_files_are_listed_in_pages_either_way(client: openai.OpenAI) -> None:
    made = [
        client.files.create(file=(f"{number}.jsonl", b"x"), purpose="batch").id
        for number in range(5)
    ]
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == made
    assert [file.id for file in client.files.list(after=made[2], limit=1).data] == [made[1]]
    assert list(client.files.list(purpose="assistants")) == []
    with pytest.raises(openai.BadRequestError):
        client.files.list(limit=0)
    with pytest.raises(openai.NotFoundError):
        client.files.list(after="file_unknown")


def test_a_batch_runs_to_its_results(
    client: openai.OpenAI, gate: Gate, provider: FakeProvider
) -> None:
    batch = begun(client, lines(30), metadata={"of": "tests"})
    assert batch.status in ("validating", "in_progress")
    assert batch.request_counts.total == 30
    done = ended(client, batch.id)
    assert (done.status, done.metadata, done.errors) == ("completed", {"of": "tests"}, None)
    counts = done.request_counts
    assert (counts.completed, counts.failed, counts.total) == (30, 0, 30)
    assert done.error_file_id is None
    assert done.completed_at >= done.in_progress_at >= done.created_at
    assert done.expires_at - done.created_at == 86_400
    got = results(client, done.output_file_id)
    assert [one["custom_id"] for one in got] == [f"line-{number}" for number in range(30)]
    assert len({one["id"] for one in got}) == 30
    assert {(one["response"]["status_code"], one["error"]) for one in got} == {(200, None)}
    used = [one["response"]["body"]["usage"] for one in got]
    assert done.usage.input_tokens == sum(one["prompt_tokens"] for one in used)
    assert done.usage.total_tokens == sum(one["total_tokens"] for one in used)
    assert len(provider.calls) == 30
    # Its answers are those of the same calls, and the other way round.
    answer = client.chat.completions.with_raw_response.create(**asked("line-7"))
    assert "; hit; " in answer.headers["cache-status"]
    assert answer.parse().model_dump(exclude_unset=True) == got[7]["response"]["body"]
    file = client.files.retrieve(done.output_file_id)
    assert file.purpose == "batch_output"
    assert file.bytes == len(client.files.content(file.id).read())
    assert [one.id for one in client.batches.list()] == [batch.id]


def test_a_second_batch_of_the_same_lines_costs_nothing(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    first = ended(client, begun(client, lines(20)).id)
    assert len(provider.calls) == 20
    again = jsonl(*(line(f"other-{number}", f"line-{number % 20}") for number in range(40)))
    second = ended(client, begun(client, again).id)
    assert second.request_counts.completed == 40
    assert len(provider.calls) == 20
    bodies = [
        [one["response"]["body"] for one in results(client, batch.output_file_id)]
        for batch in (first, second)
    ]
    assert bodies[1] == bodies[0] * 2


def test_equal_lines_of_one_batch_are_asked_once(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    content = jsonl(*(line(f"l-{number}", "the same") for number in range(10)))
    done = ended(client, begun(client, content).id)
    assert done.request_counts.completed == 10
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/responses", {"model": "m", "input": "q"}),
        ("/v1/embeddings", {"model": "m", "input": "q"}),
        ("/v1/completions", {"model": "m", "prompt": "q"}),
    ],
)
def test_every_endpoint_has_batches(
    client: openai.OpenAI, endpoint: str, body: dict[str, Any]
) -> None:
    one = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    done = ended(client, begun(client, jsonl(one), endpoint).id)
    assert done.status == "completed"
    assert results(client, done.output_file_id)[0]["response"]["status_code"] == 200


def test_a_bad_file_makes_a_batch_that_has_failed_and_asks_nothing(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    bad = [
        line("a"),
        line("a", "the name again"),
        line("b", stream=True),
        line("c", url="/v1/embeddings"),
        line("d"),
    ]
    batch = begun(client, jsonl(*bad) + b"{not json\n")
    assert batch.status == "failed"
    assert batch.failed_at >= batch.created_at
    assert [problem.line for problem in batch.errors.data] == [2, 3, 4, 6]
    assert all(problem.code and problem.message for problem in batch.errors.data)
    assert (batch.request_counts.total, batch.output_file_id, batch.error_file_id) == (
        0, None, None,
    )  # fmt: skip
    assert client.batches.retrieve(batch.id) == batch
    assert provider.calls == []


def test_a_model_that_nobody_serves_is_a_bad_line(tmp_path: Path, provider: FakeProvider) -> None:
    blocks = {"one": OPENAI, "two": OPENAI}
    with (
        batch_gate(tmp_path, provider, providers=blocks) as gate,
        openai_at(gate) as client,
    ):
        content = jsonl(line("a", model="m"), line("b", model="one/m"), line("c", model="m"))
        batch = begun(client, content)
        assert batch.status == "failed"
        told = [(problem.line, problem.code, problem.param) for problem in batch.errors.data]
        assert told == [(1, "model_not_found", "body.model"), (3, "model_not_found", "body.model")]


def test_lines_that_fail_stand_in_the_error_file(tmp_path: Path) -> None:
    with FaultServer() as server, batch_gate(tmp_path, server) as gate, openai_at(gate) as client:
        server.script(
            Status(400, {"error": {"message": "no", "code": "x"}}), model="bad", times=None
        )
        content = jsonl(line("a"), line("b", model="bad"), line("c"))
        done = ended(client, begun(client, content).id)
        assert done.status == "completed"
        counts = done.request_counts
        assert (counts.completed, counts.failed, counts.total) == (2, 1, 3)
        assert [one["custom_id"] for one in results(client, done.output_file_id)] == ["a", "c"]
        (failed,) = results(client, done.error_file_id)
        assert (failed["custom_id"], failed["response"]["status_code"]) == ("b", 400)
        assert failed["response"]["body"]["error"]["message"] == "no"
        name = client.files.retrieve(done.error_file_id).filename
        assert name == f"{done.id}_error.jsonl"


def test_a_batch_without_a_success_has_no_output_file(tmp_path: Path) -> None:
    with FaultServer() as server, batch_gate(tmp_path, server) as gate, openai_at(gate) as client:
        server.script(Status(400, {"error": {"message": "no"}}), model="bad", times=None)
        done = ended(client, begun(client, jsonl(line("a", model="bad"))).id)
        assert (done.status, done.output_file_id) == ("completed", None)
        assert len(results(client, done.error_file_id)) == 1


def test_a_cancelled_batch_keeps_what_it_has(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server, {"concurrency": 1}) as gate,
        openai_at(gate) as client,
    ):
        # All of it would take more than a minute.
        server.script(Delay(0.2), times=None)
        batch = begun(client, lines(400))
        until(
            lambda: client.batches.retrieve(batch.id).request_counts.completed,
            "the first line is done",
        )
        cancelling = client.batches.cancel(batch.id)
        assert cancelling.status in ("cancelling", "cancelled")
        done = ended(client, batch.id)
        assert done.status == "cancelled"
        assert done.cancelled_at >= done.cancelling_at >= done.created_at
        good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
        counts = done.request_counts
        assert (len(good), len(bad)) == (counts.completed, counts.failed)
        assert counts.total == 400
        assert {one["custom_id"] for one in (*good, *bad)} == {f"line-{n}" for n in range(400)}
        assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}
        assert len(server.calls) == len(good)


def test_what_is_in_use_stays(client: openai.OpenAI, tmp_path: Path) -> None:
    done = ended(client, begun(client, lines(2)).id)
    with pytest.raises(openai.ConflictError, match="goes with it"):
        client.files.delete(done.output_file_id)
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(done.id)
    assert client.delete(f"/batches/{done.id}", cast_to=object)
    for ask, name in (
        (client.batches.retrieve, done.id),
        (client.files.content, done.output_file_id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask(name)
    assert client.files.delete(done.input_file_id).deleted
    assert list((tmp_path / "jobs.db-files").iterdir()) == []


def test_batches_are_listed_in_pages(client: openai.OpenAI) -> None:
    made = [begun(client, lines(1)).id for _ in range(5)]
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]
    assert [batch.id for batch in client.batches.list(after=made[1])] == [made[0]]
    with pytest.raises(openai.NotFoundError):
        client.batches.list(after="job_unknown")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"endpoint": "/v1/moderations"}, 400),
        ({"completion_window": "8d"}, 400),
        ({"completion_window": "soon"}, 400),
        ({"input_file_id": "file_unknown"}, 404),
        ({"metadata": {str(number): "x" for number in range(17)}}, 400),
        ({"metadata": {"a": "x" * 513}}, 400),
        ({"metadata": {"a" * 65: "x"}}, 400),
        ({"metadata": {"a": 1}}, 400),
        ({"extra_body": {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}}, 400),
        ({"extra_headers": {"cache-control": "no-store"}}, 400),
        ({"extra_headers": {"headgate-namespace": "x"}}, 400),
    ],
)
def test_what_is_not_kept_is_refused(
    client: openai.OpenAI, more: dict[str, Any], status: int
) -> None:
    file = client.files.create(file=("in.jsonl", lines(1)), purpose="batch")
    wanted = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **more}
    with pytest.raises(openai.APIStatusError) as caught:
        client.batches.create(**wanted)
    assert caught.value.status_code == status
    assert caught.value.body["type"] == "invalid_request_error"  # type: ignore[index]
    assert list(client.batches.list()) == []


def test_a_provider_that_lives_on_its_clients_keys_has_no_batches(
    tmp_path: Path, provider: FakeProvider
) -> None:
    blocks = {"openai": ProviderConfig(kind="openai", base_url=provider.base_url)}
    with (
        batch_gate(tmp_path, provider, providers=blocks) as gate,
        openai_at(gate) as client,
        pytest.raises(openai.BadRequestError, match="api_key"),
    ):
        begun(client, lines(1))
    assert provider.calls == []
    assert jobs_file(tmp_path).exists()


def test_the_asynchronous_client_has_batches_too(gate: Gate) -> None:
    async def use() -> list[str]:
        settings: Any = {"max_retries": 0, "_strict_response_validation": True}
        async with openai.AsyncOpenAI(
            base_url=gate.openai_url, api_key="a-client", **settings
        ) as client:
            file = await client.files.create(file=("in.jsonl", lines(3)), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            while batch.status not in ("completed", "failed"):
                await asyncio.sleep(0.02)
                batch = await client.batches.retrieve(batch.id)
            assert batch.output_file_id is not None
            got = await client.files.content(batch.output_file_id)
            listed = [one.id async for one in client.batches.list(limit=1)]
            assert listed == [batch.id]
            return [json.loads(one)["custom_id"] for one in got.text.splitlines()]

    assert asyncio.run(asyncio.wait_for(use(), 20)) == ["line-0", "line-1", "line-2"]


def test_ids_are_not_to_be_guessed(client: openai.OpenAI) -> None:
    batch = ended(client, begun(client, lines(1)).id)
    for name in (batch.id, batch.input_file_id, batch.output_file_id):
        assert len(name.rpartition("_")[2]) == 32
