"""Client keys in a real file: made, listed, ended, by several at a time."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from keyring import NANOS, a_record

from headgate.core.client import read_key
from headgate.errors import ConfigError, StoreError
from headgate.stores.keys import KeyStore
from headgate.stores.keys_file import mac_of

HOUR_S = 3600.0
NOTHING: dict[str, dict[str, int]] = {}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    opened = KeyStore(path)
    yield opened
    opened.close()


def test_what_was_made_is_listed_without_its_secret(store: KeyStore, path: Path) -> None:
    wanted = a_record(
        models=("a", "b*"), created_s=7.0, requests_per_min=5, tokens_per_min=6,
        day_nanos=NANOS, month_nanos=2 * NANOS, expires_s=9.0,
    )  # fmt: skip
    made = store.make(wanted)
    assert store.records() == [made.record]
    spelt = read_key(made.text.encode())
    assert spelt is not None
    assert spelt.id == made.record.id == made.record.family
    assert made.record.mac == mac_of(store.pepper(), made.text.encode())
    assert (made.record.models, made.record.month_nanos) == (("a", "b*"), 2 * NANOS)
    store.close()
    secret = made.text.rpartition("_")[2].encode()
    assert secret not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_its_files_are_for_their_owner_alone(store: KeyStore, path: Path) -> None:
    store.make(a_record())
    files = list(path.parent.iterdir())
    assert {f"{path.name}.pepper", path.name} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_every_change_of_a_key_is_seen_by_the_others(store: KeyStore, path: Path) -> None:
    other = KeyStore(path)
    seen = [other.changes()]
    key = store.make(a_record()).record.id
    seen.append(other.changes())
    assert store.rotate(key, now_s=0.0, overlap_s=HOUR_S) is not None
    seen.append(other.changes())
    assert store.revoke(key, 1.0)
    seen.append(other.changes())
    assert len(set(seen)) == len(seen)
    version = other.version()
    store.tell("p", {"f": {"2026-11": 5}}, [], now_s=0.0, lease_s=1.0)
    assert other.version() != version, "there is something to hear"
    assert other.changes() == seen[-1], "and no key has changed"
    other.close()


def test_a_key_is_revoked_once(store: KeyStore) -> None:
    key = store.make(a_record()).record.id
    assert store.revoke(key, 5.0)
    assert not store.revoke(key, 6.0)
    assert not store.revoke("nobody", 6.0)
    assert [record.revoked_s for record in store.records()] == [5.0]


def test_a_rotated_key_hands_on_everything_but_its_secret(store: KeyStore) -> None:
    first = store.make(a_record(requests_per_min=5, day_nanos=3, expires_s=100 * HOUR_S))
    second = store.rotate(first.record.id, now_s=HOUR_S, overlap_s=HOUR_S)
    assert second is not None
    old, new = store.records()
    assert (old.state(2 * HOUR_S - 1), old.state(2 * HOUR_S)) == ("active", "expired")
    assert new.state(99 * HOUR_S) == "active"
    assert new.family == old.id != new.id
    assert (new.requests_per_min, new.day_nanos, new.tenant) == (5, 3, "acme")
    assert second.text != first.text
    third = store.rotate(new.id, now_s=2 * HOUR_S, overlap_s=0.0)
    assert third is not None
    assert third.record.family == old.id


def test_an_overlap_lets_no_key_live_longer(store: KeyStore) -> None:
    key = store.make(a_record(expires_s=HOUR_S)).record.id
    assert store.rotate(key, now_s=0.0, overlap_s=9 * HOUR_S) is not None
    assert store.records()[0].expires_s == HOUR_S


def test_what_has_ended_is_not_rotated(store: KeyStore) -> None:
    revoked = store.make(a_record()).record.id
    store.revoke(revoked, 1.0)
    expired = store.make(a_record(expires_s=1.0)).record.id
    for key in (revoked, expired, "nobody"):
        assert store.rotate(key, now_s=2.0, overlap_s=HOUR_S) is None
    assert len(store.records()) == 2


def test_spending_adds_up_over_processes_and_restarts(store: KeyStore, path: Path) -> None:
    store.tell("one", {"f": {"2026-11-27": 5, "2026-11": 5}}, [("f", 7)], now_s=0.0, lease_s=10.0)
    other = KeyStore(path)
    heard = other.tell("two", {"f": {"2026-11-27": 2}}, [("f", 1)], now_s=1.0, lease_s=10.0)
    assert heard.spent == {"f": {"2026-11-27": 7, "2026-11": 5}}
    assert heard.held_elsewhere == {"f": 7}
    assert store.hear("one", 1.0).held_elsewhere == {"f": 1}
    other.close()
    assert store.spent() == {"f": {"2026-11-27": 7, "2026-11": 5}}


def test_what_a_process_holds_counts_as_long_as_it_says_so(store: KeyStore, path: Path) -> None:
    store.tell("killed", NOTHING, [("f", 7)], now_s=0.0, lease_s=10.0)
    assert store.hear("other", 10.0).held_elsewhere == {"f": 7}
    assert store.hear("other", 10.1).held_elsewhere == {}
    store.tell("other", NOTHING, [], now_s=11.0, lease_s=10.0)
    store.tell("ended", NOTHING, [("f", 7)], now_s=11.0, lease_s=10.0)
    store.tell("ended", NOTHING, [], now_s=12.0, lease_s=10.0)
    assert store.hear("other", 12.0).held_elsewhere == {}


def test_keys_made_at_once_have_one_pepper(path: Path) -> None:
    def make(number: int) -> str:
        store = KeyStore(path)
        text = store.make(a_record(f"t{number}")).text
        store.close()
        return text

    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(make, range(24)))
    store = KeyStore(path)
    macs = {mac_of(store.pepper(), text.encode()) for text in texts}
    assert macs == {record.mac for record in store.records()}
    assert len(macs) == 24
    store.close()


def test_a_key_that_cannot_be_made_leaves_nothing(store: KeyStore, path: Path) -> None:
    store.make(a_record())
    path.with_name("keys.db.pepper").write_text("00" * 32)
    with pytest.raises(ConfigError, match="another pepper"):
        store.make(a_record())
    assert len(store.records()) == 1
    other = KeyStore(path, "a configured pepper of some length")
    with pytest.raises(ConfigError):
        other.make(a_record())
    other.close()


def test_a_file_that_was_replaced_is_another_one(store: KeyStore, path: Path) -> None:
    assert store.is_there
    path.rename(path.with_name("moved"))
    assert not store.is_there
    path.write_bytes(b"")
    assert not store.is_there


def test_after_it_was_closed_it_says_so(path: Path) -> None:
    store = KeyStore(path)
    store.close()
    with pytest.raises(StoreError):
        store.records()
