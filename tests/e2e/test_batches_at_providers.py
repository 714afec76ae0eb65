"""Batches of the gateway's clients, handed on to the batch API of a provider at its price."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

from batchgates import (
    CHAT,
    anthropic_at,
    batch_gate,
    ended,
    ended_messages,
    lines,
    openai_at,
    requests,
    results,
)
from keyring import NANOS, a_key, opened
from oracle import until

from headgate.config import BatchApiConfig, KeysConfig, PriceConfig
from headgate.faultserver.courses import BatchCourse
from headgate.testing import FaultServer
from headgate.types import Secret

APIS = {
    name: BatchApiConfig(api=name, poll=0.01)  # type: ignore[arg-type]
    for name in ("openai", "anthropic")
}


def operations(server: FaultServer) -> set[str]:
    return {call.operation for call in server.calls}


def test_a_batch_of_lines_becomes_a_batch_of_the_provider(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server, batch_api=APIS) as gate,
        openai_at(gate) as client,
    ):
        file = client.files.create(file=("in.jsonl", lines(20)), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        done = ended(client, batch.id)
        assert (done.status, done.request_counts.completed) == ("completed", 20)
        got = results(client, done.output_file_id)
        assert [one["custom_id"] for one in got] == [f"line-{number}" for number in range(20)]
        assert "batches.create" in operations(server)
        assert "chat" not in operations(server)
        # What it has brought answers calls.
        before = len(server.calls)
        answer = gate.post(CHAT, {
            "model": "m", "messages": [{"role": "user", "content": "line-3"}]
        }, {"authorization": "Bearer a-client"})  # fmt: skip
        assert "; hit; " in answer.headers["cache-status"]
        assert len(server.calls) == before


def test_a_message_batch_becomes_one_too(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server, batch_api=APIS) as gate,
        anthropic_at(gate) as client,
    ):
        batch = client.messages.batches.create(requests=requests(10))
        done = ended_messages(client, batch.id)
        assert done.request_counts.succeeded == 10
        got = list(client.messages.batches.results(batch.id))
        assert [one.custom_id for one in got] == [f"r-{number}" for number in range(10)]
        assert "messages" not in operations(server)


def test_a_key_that_is_revoked_cancels_what_is_at_a_provider(tmp_path: Path) -> None:
    keys = KeysConfig(path=str(tmp_path / "keys.db"), pepper=Secret("p" * 32))
    mine, colleague = a_key(keys), a_key(keys)
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server, batch_api=APIS, keys=keys) as gate,
        openai_at(gate, mine.text) as client,
        openai_at(gate, colleague.text) as other,
    ):
        server.batch(BatchCourse(looks=None, done_at_cancel=0.5))
        file = client.files.create(file=("in.jsonl", lines(20)), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        until(lambda: "batches.retrieve" in operations(server), "it is at the provider")
        store = opened(keys)
        store.revoke(mine.record.id, time.time())
        store.close()
        done = ended(other, batch.id)
        counts = done.request_counts
        # What the provider had done by then is billed, and kept.
        assert (done.status, counts.completed, counts.failed) == ("completed", 10, 10)
        failed = results(other, done.error_file_id)
        assert {one["error"]["code"] for one in failed} == {"key_revoked"}
        assert "batches.cancel" in operations(server)
        assert "chat" not in operations(server)


def test_a_job_of_a_key_with_a_budget_is_weighed_line_by_line(tmp_path: Path) -> None:
    keys = KeysConfig(path=str(tmp_path / "keys.db"), pepper=Secret("p" * 32))
    made = a_key(keys, day_nanos=2 * NANOS)
    prices = {"m": PriceConfig(input=Decimal(1), output=Decimal(1))}
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server, batch_api=APIS, keys=keys, prices=prices) as gate,
        openai_at(gate, made.text) as client,
    ):
        file = client.files.create(file=("in.jsonl", lines(5)), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert ended(client, batch.id).request_counts.completed == 5
        assert operations(server) == {"chat"}
        held = gate.clients.holder(made.record.id).purse
        assert held is not None
        assert held.held() == 0
