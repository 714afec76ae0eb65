"""The desk of the fault server: what is done although its answer is lost, and whose course."""

from __future__ import annotations

import openai
import pytest
from faultserver.handed_in import created, ended, lines, openai_client, rows

from headgate.testing import BatchCourse, CutAt, FaultServer, Status


def test_a_batch_is_there_although_its_answer_is_cut_off(server: FaultServer) -> None:
    server.script(CutAt(None), operation="batches.create")
    with openai_client(server) as client:
        with pytest.raises(openai.APIConnectionError):
            created(client, lines(2), metadata={"token": "t"})
        (batch,) = client.batches.list().data
        assert batch.metadata == {"token": "t"}
    assert len(server.batch_charges()) == 2, "it is worked off whoever looks"


def test_a_refused_request_changes_nothing(server: FaultServer) -> None:
    server.script(Status(429, headers={"retry-after": "2"}), operation="batches.create", times=2)
    with openai_client(server) as client:
        file = client.files.create(file=lines(1), purpose="batch")
        for _ in range(2):
            with pytest.raises(openai.RateLimitError):
                client.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                )
        assert client.batches.list().data == []
    assert [call.operation for call in server.calls] == [
        "files.create", "batches.create", "batches.create", "batches.list",
    ]  # fmt: skip


def test_courses_are_chosen_by_model_and_used_up(server: FaultServer) -> None:
    server.batch(BatchCourse(looks=0, failed="all"), model="m")
    server.batch(BatchCourse(looks=0), times=None)
    with openai_client(server) as client:
        other = ended(client, created(client, lines(1, model="other")))
        failed = ended(client, created(client, lines(1)))
        usual = ended(client, created(client, lines(1)))
        assert other.output_file_id
        assert usual.output_file_id
        assert rows(client, failed.output_file_id) == []
        server.clear()
        batch = created(client, lines(1))
        assert client.batches.retrieve(batch.id).status == "validating"


def test_an_item_handed_in_twice_is_charged_twice(server: FaultServer) -> None:
    with openai_client(server) as client:
        for _ in range(2):
            created(client, lines(1))
    charges = server.batch_charges()
    assert [charge.custom_id for charge in charges] == ["c0", "c0"]
    assert len({charge.batch_id for charge in charges}) == 2
