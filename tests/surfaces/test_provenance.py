"""Where a reply came from, as the contract's table spells it."""

from __future__ import annotations

import pytest

from headgate.layers.cache import entry_reply
from headgate.surfaces.provenance import cache_status, hit_headers, provenance_headers
from headgate.types import Entry, Provenance

TABLE = {
    "exact hit": (Provenance(hit=True, ttl_s=59.9), b"headgate; hit; ttl=59"),
    "joined": (Provenance(collapsed=True, stored=True), b"headgate; fwd=miss; collapsed"),
    "stored": (Provenance(stored=True), b"headgate; fwd=miss; stored"),
    "not stored": (Provenance(), b"headgate; fwd=miss"),
    "not consulted": (Provenance(forward="bypass"), b"headgate; fwd=bypass"),
    "no-cache": (Provenance(forward="bypass", stored=True), b"headgate; fwd=bypass; stored"),
    "semantic hit": (
        Provenance(hit=True, ttl_s=5.0, detail="semantic"),
        b"headgate; hit; ttl=5; detail=semantic",
    ),
}


@pytest.mark.parametrize(("provenance", "status"), TABLE.values(), ids=TABLE.keys())
def test_cache_status_is_spelt_as_in_the_contract(provenance: Provenance, status: bytes) -> None:
    assert cache_status(provenance) == status


def test_a_hit_tells_its_age_key_and_target() -> None:
    provenance = Provenance(hit=True, age_s=12.7, ttl_s=47.3, target="openai/gpt-4o")
    assert dict(provenance_headers(provenance, b"\xab" * 32)) == {
        b"cache-status": b"headgate; hit; ttl=47",
        b"age": b"12",
        b"headgate-key": b"ab" * 32,
        b"headgate-target": b"openai/gpt-4o",
        b"headgate-attempts": b"0",
    }


def test_a_miss_has_no_age() -> None:
    headers = dict(provenance_headers(Provenance(attempts=1), b""))
    assert headers == {b"cache-status": b"headgate; fwd=miss", b"headgate-attempts": b"1"}


@pytest.mark.parametrize("model", ["modell-ä", "模型", "a\r\nset-cookie: x=1", "a\x00b"])
def test_a_model_name_cannot_write_headers_of_its_own(model: str) -> None:
    for _, value in provenance_headers(Provenance(target=f"p/{model}"), b""):
        assert not set(value) & set(b"\r\n\x00")


def test_the_short_way_for_a_hit_says_the_same() -> None:
    entry = Entry(b"\xab" * 32, b"s" * 32, "m", "chat", 100.0, 60.0, b"{}", target="p/模")
    short = hit_headers(entry, 112.7)
    assert short == provenance_headers(entry_reply(entry, 112.7).provenance, entry.key)
