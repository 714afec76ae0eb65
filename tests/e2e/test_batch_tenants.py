"""Nobody sees, reads, cancels or deletes what another tenant has, on any route: its ids are unknown
ids. A client's key says what its jobs may ask for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from batchgates import (
    CHAT,
    FORM,
    asked,
    batch_gate,
    form,
    jsonl,
    key,
    line,
    lines,
    requests,
    upload,
)
from gates import Gate, Got
from keyring import NANOS, a_key, bearer, opened
from oracle import until

from headgate.config import KeysConfig
from headgate.testing import Delay, FakeProvider, FaultServer
from headgate.types import Secret

VERSION = {"anthropic-version": "2023-06-01"}
ROUTES = [
    ("GET", "/v1/files/{file}"),
    ("GET", "/v1/files/{file}/content"),
    ("DELETE", "/v1/files/{file}"),
    ("GET", "/v1/files/{output}"),
    ("GET", "/v1/files/{output}/content"),
    ("DELETE", "/v1/files/{output}"),
    ("GET", "/v1/files?after={file}"),
    ("GET", "/v1/batches/{batch}"),
    ("POST", "/v1/batches/{batch}/cancel"),
    ("DELETE", "/v1/batches/{batch}"),
    ("GET", "/v1/batches?after={batch}"),
    ("GET", "/v1/messages/batches/{messages}"),
    ("GET", "/v1/messages/batches/{messages}/results"),
    ("POST", "/v1/messages/batches/{messages}/cancel"),
    ("DELETE", "/v1/messages/batches/{messages}"),
    ("GET", "/v1/messages/batches?after_id={messages}"),
    ("GET", "/v1/messages/batches?before_id={messages}"),
]
LISTS = ("/v1/files", "/v1/batches", "/v1/messages/batches")
OTHERS = {
    "another credential": key("tenant-b"),
    "the same in another header": {"x-api-key": "tenant-a"},
    "no credential": {},
}


class Owned(NamedTuple):
    """What tenant A has."""

    file: str
    output: str
    batch: str
    messages: str


def made_by(gate: Gate, headers: Mapping[str, str]) -> Owned:
    """One of each, of batches that have ended."""
    file = upload(gate, lines(2), headers).json["id"]
    batch = batched(gate, file, headers).json["id"]
    body = {"requests": requests(2)}
    messages = gate.post("/v1/messages/batches", body, {**headers, **VERSION}).json["id"]

    def has_ended() -> bool:
        shown = gate.get(f"/v1/messages/batches/{messages}", headers).json
        return bool(gate.get(f"/v1/batches/{batch}", headers).json["completed_at"]) and (
            shown["processing_status"] == "ended"
        )

    until(has_ended, "both batches end")
    output = gate.get(f"/v1/batches/{batch}", headers).json["output_file_id"]
    return Owned(file, output, batch, messages)


def batched(gate: Gate, file: str, headers: Mapping[str, str]) -> Got:
    body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    return gate.post("/v1/batches", body, headers)


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, Owned]]:
    folder = tmp_path_factory.mktemp("jobs")
    with FakeProvider() as provider, batch_gate(folder, provider) as gate:
        yield gate, made_by(gate, key("tenant-a"))


@pytest.mark.parametrize("who", OTHERS)
@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_another_tenants_id_is_an_unknown_id(
    owned: tuple[Gate, Owned], method: str, route: str, who: str
) -> None:
    gate, names = owned
    path = route.format(**names._asdict())
    foreign = gate.ask(method, path, None, OTHERS[who])
    unknown = route.format(file="file_0", output="file_out_0", batch="job_0", messages="job_0")
    missing = gate.ask(method, unknown, None, key("tenant-a"))
    assert (foreign.status, missing.status) == (404, 404)
    assert foreign.json["error"]["code"] == missing.json["error"]["code"]
    if path.startswith("/v1/messages"):
        assert foreign.json["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("who", OTHERS)
def test_another_tenant_lists_nothing_and_starts_nothing(
    owned: tuple[Gate, Owned], who: str
) -> None:
    gate, names = owned
    for path in LISTS:
        got = gate.get(path, OTHERS[who])
        assert (got.status, got.json["data"]) == (200, [])
    assert batched(gate, names.file, OTHERS[who]).status == 404


def test_the_owner_has_all_of_it_in_spite_of_them(owned: tuple[Gate, Owned]) -> None:
    gate, names = owned
    for method, route in ROUTES:
        if method == "GET":
            got = gate.get(route.format(**names._asdict()), key("tenant-a"))
            assert got.status == 200
    assert [len(gate.get(path, key("tenant-a")).json["data"]) for path in LISTS] == [1, 1, 1]


class Keyed(NamedTuple):
    """A gateway whose clients have keys, and what it asks."""

    gate: Gate
    keys: KeysConfig
    server: FaultServer


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Keyed]:
    keys = KeysConfig(path=str(tmp_path / "keys.db"), pepper=Secret("p" * 32), unpriced="allow")
    a_key(keys, "first")
    with (
        FaultServer() as server,
        batch_gate(tmp_path, server, {"concurrency": 1}, keys=keys) as gate,
    ):
        yield Keyed(gate, keys, server)


def seen(gate: Gate, made: Any) -> Any:
    """A new key, once the gateway knows it."""
    until(lambda: gate.get("/v1/batches", bearer(made)).status == 200, "the key is known")
    return made


def test_whoever_needs_a_key_for_calls_needs_one_for_jobs(keyed: Keyed) -> None:
    gate = keyed.gate
    for headers in ({}, key("sk-any"), key("hg_00000000000_" + "0" * 43)):
        for path in LISTS:
            assert gate.get(path, headers).status == 401
        assert upload(gate, lines(1), headers).status == 401
        assert gate.post("/v1/messages/batches", {"requests": requests(1)}, headers).status == 401


def test_keys_of_one_tenant_share_their_jobs_and_others_do_not(keyed: Keyed) -> None:
    gate, keys, _ = keyed
    one, same = (seen(gate, a_key(keys, "acme")) for _ in range(2))
    other = seen(gate, a_key(keys, "globex"))
    file = upload(gate, lines(1), bearer(one)).json["id"]
    assert gate.get(f"/v1/files/{file}", bearer(same)).status == 200
    assert gate.get(f"/v1/files/{file}", bearer(other)).status == 404
    assert batched(gate, file, bearer(other)).status == 404
    assert batched(gate, file, bearer(same)).status == 200


def test_every_line_asks_for_a_model_that_the_key_may_ask_for(keyed: Keyed) -> None:
    gate, keys, server = keyed
    narrow = seen(gate, a_key(keys, "acme", models=("m",)))
    content = jsonl(line("a"), line("b", model="other"), line("c"))
    file = upload(gate, content, bearer(narrow)).json["id"]
    batch = batched(gate, file, bearer(narrow)).json
    assert batch["status"] == "failed"
    (problem,) = batch["errors"]["data"]
    assert (problem["line"], problem["code"]) == (2, "model_not_allowed")
    body = {"requests": [{"custom_id": "a", "params": {**asked(model="other"), "max_tokens": 9}}]}
    got = gate.post("/v1/messages/batches", body, {**bearer(narrow), **VERSION})
    assert (got.status, got.json["error"]["code"]) == (400, "model_not_allowed")
    assert server.calls == []


def test_a_key_that_is_revoked_takes_its_jobs_along(keyed: Keyed) -> None:
    gate, keys, server = keyed
    mine, colleague = (seen(gate, a_key(keys, "acme")) for _ in range(2))
    server.script(Delay(0.2), times=None)
    file = upload(gate, lines(300), bearer(mine)).json["id"]
    batch = batched(gate, file, bearer(mine)).json["id"]

    def shown() -> Any:
        return gate.get(f"/v1/batches/{batch}", bearer(colleague)).json

    until(lambda: shown()["request_counts"]["completed"], "it runs")
    store = opened(keys)
    store.revoke(mine.record.id, time.time())
    store.close()
    until(lambda: shown()["status"] == "completed", "it ends")
    counts = shown()["request_counts"]
    assert counts["completed"] == len(server.calls) < 300
    assert counts["completed"] + counts["failed"] == 300
    content = gate.get(f"/v1/files/{shown()['error_file_id']}/content", bearer(colleague)).body
    assert content.count(b'"key_revoked"') == counts["failed"]


def test_who_has_nothing_left_to_spend_begins_nothing(keyed: Keyed) -> None:
    gate, keys, server = keyed
    poor = seen(gate, a_key(keys, "acme", day_nanos=0))
    file = upload(gate, lines(1), bearer(poor)).json["id"]
    assert batched(gate, file, bearer(poor)).status == 402
    rich = seen(gate, a_key(keys, "acme", day_nanos=NANOS))
    assert batched(gate, file, bearer(rich)).status == 200
    assert server.calls == [] or len(server.calls) == 1


def test_a_form_of_a_stranger_is_not_even_read(keyed: Keyed) -> None:
    got = keyed.gate.ask("POST", "/v1/files", form(b"x" * 100_000), FORM)
    assert got.status == 401
