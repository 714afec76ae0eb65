"""Who asks the batch routes, and how their lists are asked for and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from keyring import a_key

from headgate.admission import Admission
from headgate.admission_head import read_head
from headgate.clients import Clients
from headgate.clock import SystemClock
from headgate.config import Config, KeysConfig, ProviderConfig
from headgate.core.fingerprint import scope_of_tenant
from headgate.errors import BadRequest
from headgate.surfaces.batch_asked import Asked, page, query_of, tenant_in, unknown
from headgate.types import Secret

BODY = b'{"model": "m", "messages": []}'


def scope(head: Any) -> bytes:
    """Who shares the answers of a call with these headers."""
    admission = Admission(Config(providers={"fake": ProviderConfig(kind="fake")}))
    return admission.plan("chat", head, BODY).scope


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer a")],
        [(b"x-api-key", b"a")],
        [(b"authorization", b"Bearer a"), (b"x-api-key", b"b")],
    ],
)
def test_a_tenant_is_whom_its_calls_share_answers_with(headers: list[tuple[bytes, bytes]]) -> None:
    head = read_head(headers)
    assert scope_of_tenant(tenant_in(head)) == scope(head)
    narrowed = read_head([*headers, (b"headgate-namespace", b"x")])
    assert tenant_in(narrowed) == tenant_in(head)


def test_the_holder_of_a_key_is_its_tenant(tmp_path: Path) -> None:
    keys = KeysConfig(path=str(tmp_path / "keys.db"), pepper=Secret("p" * 32))
    made = [a_key(keys, tenant) for tenant in ("acme", "acme", "globex")]
    clients = Clients(keys, SystemClock())
    heads = [
        clients.admit(read_head([(b"authorization", b"Bearer " + one.text.encode())]), "")
        for one in made
    ]
    clients.close()
    first, same, other = map(tenant_in, heads)
    assert first == same != other
    assert scope_of_tenant(first) == scope(heads[0])


def test_no_credential_stands_in_a_tenants_name() -> None:
    name = tenant_in(read_head([(b"authorization", b"Bearer sk-canary")]))
    assert "canary" not in name
    assert name


@pytest.mark.parametrize("raw", [b"a", b"a=1&a=2", b"a=\xff", b"&".join([b"a=1"] * 21)])
def test_a_query_that_makes_no_sense_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        query_of(raw)


def test_a_query_is_read() -> None:
    assert query_of(b"limit=2&after=file_1&purpose=") == {
        "limit": "2", "after": "file_1", "purpose": "",
    }  # fmt: skip
    assert query_of(b"") == {}


def asked(**query: str) -> Asked:
    async def receive() -> dict[str, Any]:
        return {}

    return Asked(receive, read_head([]), b"", "", "", query)


@pytest.mark.parametrize("text", ["0", "-1", "101", "1.5", "", "٣", "9" * 50,
                                  "0000000019" + "9" * 20, "000000001" + "9" * 5000])  # fmt: skip
def test_a_limit_is_a_number_in_its_range(text: str) -> None:
    with pytest.raises(BadRequest):
        asked(limit=text).limit(20, 100)


def test_a_limit_that_is_not_sent_is_the_usual_one() -> None:
    assert asked().limit(20, 100) == 20
    assert asked(limit="100").limit(20, 100) == 100


def test_a_page_says_where_it_begins_and_ends() -> None:
    assert page([], has_more=False)["first_id"] is None
    shown = page([{"id": "a"}, {"id": "b"}], has_more=True)
    assert (shown["first_id"], shown["last_id"], shown["has_more"]) == ("a", "b", True)


def test_what_is_unknown_is_shown_in_part() -> None:
    error = unknown("file", "x" * 10_000)
    assert (error.status_hint, error.code) == (404, "file_not_found")
    assert len(error.message) < 200
