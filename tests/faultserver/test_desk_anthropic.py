"""Message batches of the fault server as the official Anthropic SDK sees them."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
import sdk_shapes
from anthropic.types.messages import MessageBatch
from faultserver.handed_in import anthropic_client, body, requests

from headgate.testing import BatchCourse, FaultServer, Status, marks_in


def ended(client: anthropic.Anthropic, batch: Any) -> Any:
    for _ in range(10):
        batch = client.messages.batches.retrieve(batch.id)
        if batch.processing_status == "ended":
            return batch
    raise AssertionError(batch)


def kinds(client: anthropic.Anthropic, batch: Any) -> list[tuple[str, str]]:
    results = client.messages.batches.results(batch.id)
    return [(row.custom_id, row.result.type) for row in results]


def test_a_batch_ends_with_answers_like_those_of_the_live_endpoint(server: FaultServer) -> None:
    with anthropic_client(server) as client:
        batch = client.messages.batches.create(requests=requests(3))
        first = client.messages.batches.retrieve(batch.id)
        assert (first.processing_status, first.results_url) == ("in_progress", None)
        counts = first.request_counts
        assert (counts.processing, counts.succeeded) == (3, 0), "counts are told at the end"
        batch = ended(client, batch)
        rows = list(client.messages.batches.results(batch.id))
        live = client.messages.create(**body(1, max_tokens=300))
    assert batch.request_counts.succeeded == 3
    result: Any = rows[1].result
    (mark,), (live_mark,) = marks_in(result.to_json()), marks_in(live.to_json())
    words, live_words = result.message.content[0].text, live.content[0].text
    assert words.replace(str(mark), "") == live_words.replace(str(live_mark), "")
    charges = server.batch_charges()
    assert [charge.custom_id for charge in charges] == ["c0", "c1", "c2"]
    usage = result.message.usage
    assert (charges[1].tokens_in, charges[1].tokens_out) == (
        usage.input_tokens, usage.output_tokens,
    )  # fmt: skip


def test_a_batch_fits_the_type_of_the_sdk(server: FaultServer) -> None:
    with anthropic_client(server) as client:
        batch = client.messages.batches.create(requests=requests(1))
        client.messages.batches.cancel(batch.id)
        content = client.messages.batches.with_raw_response.retrieve(batch.id).read()
    assert not list(sdk_shapes.unknown_fields(sdk_shapes.fitted(MessageBatch, content)))


@pytest.mark.parametrize(
    ("course", "found"),
    [
        (BatchCourse(failed=(0,)), [("c0", "errored"), ("c1", "succeeded")]),
        (BatchCourse(expired_from=0.5), [("c0", "succeeded"), ("c1", "expired")]),
        (BatchCourse(missing=(0,)), [("c1", "succeeded")]),
        (BatchCourse(contradicted=(1,)),
         [("c0", "succeeded"), ("c1", "succeeded"), ("c1", "errored")]),
        (BatchCourse(strangers=1),
         [("c0", "succeeded"), ("c1", "succeeded"), ("stranger-0", "errored")]),
    ],
)  # fmt: skip
def test_results_are_as_their_course_says(
    server: FaultServer, course: BatchCourse, found: list[tuple[str, str]]
) -> None:
    server.batch(course)
    with anthropic_client(server) as client:
        batch = ended(client, client.messages.batches.create(requests=requests(2)))
        assert kinds(client, batch) == found


def test_cancelling_may_come_too_late_for_all_of_it(server: FaultServer) -> None:
    for share, kind in ((0.0, "canceled"), (1.0, "succeeded")):
        server.batch(BatchCourse(looks=None, done_at_cancel=share))
        with anthropic_client(server) as client:
            batch = client.messages.batches.create(requests=requests(2))
            cancelled = client.messages.batches.cancel(batch.id)
            assert cancelled.processing_status == "canceling"
            assert cancelled.cancel_initiated_at is not None
            batch = ended(client, batch)
            assert [found for _, found in kinds(client, batch)] == [kind] * 2
            with pytest.raises(anthropic.BadRequestError):
                client.messages.batches.cancel(batch.id)
    assert len(server.batch_charges()) == 2, "what is stopped is free"


def test_batches_are_listed_page_by_page_and_to_their_owner_alone(server: FaultServer) -> None:
    with anthropic_client(server) as client, anthropic_client(server, "sk-two") as other:
        names = [client.messages.batches.create(requests=requests(1)).id for _ in range(3)]
        assert [batch.id for batch in client.messages.batches.list(limit=2)] == names[::-1]
        assert other.messages.batches.list().data == []
        for call in (other.messages.batches.retrieve, other.messages.batches.cancel):
            with pytest.raises(anthropic.NotFoundError):
                call(names[0])
        under_way = client.messages.batches.create(requests=requests(1)).id
        for name in (under_way, "msgbatch_none"):
            with pytest.raises(anthropic.NotFoundError):
                client.get(f"/v1/messages/batches/{name}/results", cast_to=object)


@pytest.mark.parametrize(
    "asked",
    [
        [],
        [{"custom_id": "a b", "params": {}}],
        [{"custom_id": "x" * 65, "params": {}}],
        [{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}],
        [{"custom_id": "a", "params": None}],
        ["a"],
    ],
)
def test_what_cannot_be_a_batch_is_refused(server: FaultServer, asked: list[Any]) -> None:
    with anthropic_client(server) as client, pytest.raises(anthropic.BadRequestError):
        client.post("/v1/messages/batches", cast_to=object, body={"requests": asked})


def test_a_scripted_refusal_speaks_the_dialect_and_makes_no_batch(server: FaultServer) -> None:
    server.script(Status(529), operation="message_batches.create")
    with anthropic_client(server) as client:
        with pytest.raises(anthropic.InternalServerError) as raised:
            client.messages.batches.create(requests=requests(1))
        assert raised.value.type == "overloaded_error"
        assert client.messages.batches.list().data == []
