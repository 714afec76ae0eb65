"""Files and batches of the fault server as the official OpenAI SDK sees them: every way in which a
batch may go.
"""

from __future__ import annotations

from typing import Any

import openai
import pytest
import sdk_shapes
from faultserver.handed_in import ENDPOINT, body, created, ended, ids, lines, openai_client, rows
from openai.types import Batch, FileObject
from openai.types.chat import ChatCompletion

from headgate.core.verdict import usage_in
from headgate.testing import BatchCourse, FaultServer, marks_in, tenant_of


def results(client: openai.OpenAI, batch: Any) -> tuple[list[Any], list[Any]]:
    return rows(client, batch.output_file_id), rows(client, batch.error_file_id)


def test_a_batch_goes_from_its_file_to_answers_like_those_of_the_live_endpoint(
    server: FaultServer,
) -> None:
    with openai_client(server) as client:
        batch = created(client, lines(3), metadata={"token": "t"})
        states = [batch.status, client.batches.retrieve(batch.id).status]
        batch = client.batches.retrieve(batch.id)
        output, errors = results(client, batch)
        live = client.chat.completions.create(**body(1))
    assert [*states, batch.status] == ["validating", "validating", "completed"]
    assert (ids(output), errors) == (["c0", "c1", "c2"], [])
    assert batch.metadata == {"token": "t"}
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 3, 0)
    answer = output[1]["response"]["body"]
    (mark,), (live_mark,) = marks_in(str(answer)), marks_in(live.to_json())
    words, live_words = answer["choices"][0]["message"]["content"], live.choices[0].message.content
    assert words.replace(str(mark), "") == str(live_words).replace(str(live_mark), "")
    assert mark.tenant == tenant_of("sk-one")


def test_every_object_fits_the_types_of_the_sdk(server: FaultServer) -> None:
    server.batch(BatchCourse(failed=(1,)))
    with openai_client(server) as client:
        batch = ended(client, created(client, lines(2)))
        content = client.batches.with_raw_response.retrieve(batch.id).content
        listed = client.batches.with_raw_response.list().content
        uploaded = client.files.with_raw_response.create(file=b"{}", purpose="batch").content
        assert client.files.retrieve(batch.input_file_id).bytes == len(lines(2))
        assert client.files.delete(batch.input_file_id).deleted
        output, errors = results(client, batch)
    fitted = [sdk_shapes.fitted(Batch, content), sdk_shapes.fitted(FileObject, uploaded)]
    for one in fitted:
        assert not list(sdk_shapes.unknown_fields(one))
    assert b'"has_more":false' in listed
    ChatCompletion.model_validate(output[0]["response"]["body"], strict=True)
    assert errors[0]["response"]["status_code"] == 400
    assert errors[0]["response"]["body"]["error"]["message"]


def test_only_what_is_answered_is_charged_and_each_item_by_its_own_usage(
    server: FaultServer,
) -> None:
    server.batch(BatchCourse(failed=(0,)))
    with openai_client(server) as client:
        output, errors = results(client, ended(client, created(client, lines(3))))
    assert (ids(output), ids(errors)) == (["c1", "c2"], ["c0"])
    charges = server.batch_charges()
    assert [charge.custom_id for charge in charges] == ["c1", "c2"]
    usage = output[0]["response"]["body"]["usage"]
    assert charges[0].tokens_in == usage["prompt_tokens"] > 0
    assert charges[0].tokens_out == usage["completion_tokens"] > 0
    assert server.batch_charges(tenant=tenant_of("sk-other")) == []
    assert server.batch_charges(model="other") == []
    assert server.bill().requests == 0, "the bill of calls is another"


@pytest.mark.parametrize(
    ("course", "output", "errors"),
    [
        (BatchCourse(missing=(1,)), ["c0", "c2", "c3"], []),
        (BatchCourse(duplicated=(1,)), ["c0", "c1", "c1", "c2", "c3"], []),
        (BatchCourse(contradicted=(1,)), ["c0", "c1", "c1", "c2", "c3"], []),
        (BatchCourse(strangers=1), ["c0", "c1", "c2", "c3", "stranger-0"], []),
        (BatchCourse(expired_from=0.37), ["c0"], ["c1", "c2", "c3"]),
        (BatchCourse(failed="all"), [], ["c0", "c1", "c2", "c3"]),
        (BatchCourse(has_files=False), [], []),
    ],
)
def test_result_files_are_as_their_course_says(
    server: FaultServer, course: BatchCourse, output: list[str], errors: list[str]
) -> None:
    server.batch(course)
    with openai_client(server) as client:
        batch = ended(client, created(client, lines(4)))
        found = results(client, batch)
    assert (ids(found[0]), ids(found[1])) == (output, errors)
    assert (batch.output_file_id is None) == (output == [])
    assert (batch.error_file_id is None) == (errors == [])
    assert batch.status == ("completed" if course.expired_from is None else "expired")


def test_lines_come_in_another_order_and_the_same_for_the_same_seed() -> None:
    orders = []
    for _ in range(2):
        with FaultServer(seed=3) as server, openai_client(server) as client:
            server.batch(BatchCourse(is_permuted=True))
            batch = ended(client, created(client, lines(9)))
            orders.append(ids(rows(client, batch.output_file_id)))
    assert orders[0] == orders[1] != sorted(orders[0])
    assert len(set(orders[0])) == 9


def test_an_answer_may_be_empty_or_contradict_itself(server: FaultServer) -> None:
    server.batch(BatchCourse(status_0=(0,), contradicted=(1,)))
    with openai_client(server) as client:
        output = rows(client, ended(client, created(client, lines(2))).output_file_id)
    assert output[0]["response"] == {"status_code": 0, "request_id": "", "body": None}
    assert output[1]["response"]["status_code"] == 200
    assert output[2]["error"]["code"] == "server_error"
    assert len(server.batch_charges()) == 2


def test_a_batch_that_never_ends_can_be_cancelled_and_may_have_finished_some(
    server: FaultServer,
) -> None:
    server.batch(BatchCourse(looks=None, done_at_cancel=0.5))
    with openai_client(server) as client:
        batch = created(client, lines(4))
        for _ in range(5):
            assert client.batches.retrieve(batch.id).status in ("validating", "in_progress")
        assert server.batch_charges() == []
        assert client.batches.cancel(batch.id).status == "cancelling"
        assert client.batches.retrieve(batch.id).status == "cancelling"
        batch = client.batches.retrieve(batch.id)
        assert (batch.status, ids(rows(client, batch.output_file_id))) == (
            "cancelled",
            ["c0", "c1"],
        )
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(batch.id)
    assert len(server.batch_charges()) == 2


def test_a_batch_may_vanish_and_is_charged_all_the_same(server: FaultServer) -> None:
    server.batch(BatchCourse(looks=None, vanishes_after=1))
    with openai_client(server) as client:
        batch = created(client, lines(2))
        client.batches.retrieve(batch.id)
        with pytest.raises(openai.NotFoundError):
            client.batches.retrieve(batch.id)
        assert client.batches.list().data == []
    assert len(server.batch_charges()) == 2


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (lines(2) + lines(1), "duplicate_custom_id", 3),
        (lines(1) + b"{\n", "invalid_json_line", 2),
        (lines(1, "/v1/embeddings"), "mismatched_url", 1),
        (b"", "empty_file", None),
    ],
)
def test_a_bad_file_fails_validation_with_its_line(
    server: FaultServer, content: bytes, code: str, line: int | None
) -> None:
    with openai_client(server) as client:
        batch = ended(client, created(client, content))
    assert (batch.status, batch.errors.data[0].code, batch.errors.data[0].line) == (
        "failed", code, line,
    )  # fmt: skip
    assert server.batch_charges() == []


def test_validation_may_fail_for_no_reason_of_the_file(server: FaultServer) -> None:
    server.batch(BatchCourse(invalid="token_limit_exceeded"), model="m")
    with openai_client(server) as client:
        batch = ended(client, created(client, lines(2)))
        assert batch.errors.data[0].code == "token_limit_exceeded"
        assert ended(client, created(client, lines(2))).status == "completed"


def test_counts_may_be_told_late(server: FaultServer) -> None:
    server.batch(BatchCourse(looks=2, has_counts=False))
    with openai_client(server) as client:
        batch = created(client, lines(2))
        totals = [client.batches.retrieve(batch.id).request_counts.total for _ in range(3)]
    assert totals == [0, 0, 2]


def test_files_and_batches_are_listed_page_by_page_and_to_their_owner_alone(
    server: FaultServer,
) -> None:
    with openai_client(server) as client, openai_client(server, "sk-two") as other:
        batches = [created(client, lines(1)).id for _ in range(5)]
        assert [batch.id for batch in client.batches.list(limit=2)] == batches[::-1]
        files = list(client.files.list(limit=2, purpose="batch"))
        assert len(files) == 5
        assert other.batches.list().data == other.files.list().data == []
        for call, name in (
            (other.batches.retrieve, batches[0]),
            (other.batches.cancel, batches[0]),
            (other.files.retrieve, files[0].id),
            (other.files.content, files[0].id),
            (other.files.delete, files[0].id),
        ):
            with pytest.raises(openai.NotFoundError):
                call(name)
        with pytest.raises(openai.BadRequestError):
            other.batches.create(
                input_file_id=files[0].id, endpoint=ENDPOINT, completion_window="24h"
            )


def test_what_cannot_be_a_batch_is_refused(server: FaultServer) -> None:
    with openai_client(server) as client:
        file = client.files.create(file=lines(1), purpose="batch")
        for more in ({"endpoint": "/v1/other"}, {"completion_window": "7d"}):
            asked: Any = {"endpoint": ENDPOINT, "completion_window": "24h", **more}
            with pytest.raises(openai.BadRequestError):
                client.batches.create(input_file_id=file.id, **asked)
        with pytest.raises(openai.BadRequestError):
            client.post("/files", cast_to=object, body={})


def test_usage_is_what_the_answers_say(server: FaultServer) -> None:
    with openai_client(server) as client:
        batch = ended(client, created(client, lines(1)))
        content = client.files.content(batch.output_file_id).text
    answer = content.partition('"body":')[2].rpartition('},"error"')[0]
    assert usage_in(answer.encode()).tokens_out == server.batch_charges()[0].tokens_out
