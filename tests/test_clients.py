"""Who is let in, who is not; nobody who is not can make it dear, or learn anything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring import a_key, opened
from oracle import until

from headgate.admission_head import Head, read_head
from headgate.clients import FAILURES_PER_MIN, KNOWN_MAX, Clients, keyless_providers, keys_in
from headgate.config import Config, KeysConfig, ProviderConfig
from headgate.core.client import read_key
from headgate.errors import BadRequest, ConfigError, HeadgateError, RateLimited
from headgate.stores.keys import Made
from headgate.testing import FakeClock
from headgate.types import Secret

NONE = "hg_AAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
HERE = "127.0.0.1"


@pytest.fixture
def keys(tmp_path: Path) -> KeysConfig:
    return KeysConfig(str(tmp_path / "keys.db"))


@pytest.fixture
def made(keys: KeysConfig) -> Made:
    return a_key(keys)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clients(keys: KeysConfig, made: Made, clock: FakeClock) -> Iterator[Clients]:
    known = Clients(keys, clock)
    yield known
    known.close()


def head(*fields: tuple[str, str | bytes]) -> Head:
    return read_head(
        (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in fields
    )


def sent(made: Made | str) -> Head:
    text = made if isinstance(made, str) else made.text
    return head(("authorization", f"Bearer {text}"))


def refused(clients: Clients, asked: Head, address: str = HERE) -> str:
    with pytest.raises(BadRequest) as caught:
        clients.admit(asked, address)
    assert caught.value.status_hint == 401
    return caught.value.code


def test_without_a_key_ever_made_none_is_needed(keys: KeysConfig, clock: FakeClock) -> None:
    clients = Clients(keys, clock)
    assert not clients.required
    assert not Path(keys.path).exists(), "looking makes no file"
    opened(keys).close()
    clients.look()
    assert not clients.required
    clients.close()


@pytest.mark.parametrize(
    "spell",
    [lambda k: ("authorization", f"Bearer {k}"), lambda k: ("authorization", f"bearer  {k}"),
     lambda k: ("x-api-key", k), lambda k: ("api-key", k), lambda k: ("x-goog-api-key", k),
     lambda k: ("authorization", k)],
)  # fmt: skip
def test_a_key_is_known_wherever_sdks_put_it_and_goes_no_further(
    clients: Clients, made: Made, spell: Callable[[str], tuple[str, str]]
) -> None:
    asked = head(spell(made.text), ("content-type", "application/json"))
    for _ in range(2):
        admitted = clients.admit(asked, HERE)
        assert admitted.client is not None
        assert admitted.client.id == made.record.id
        assert admitted.credential == ()
        assert made.text.encode() not in repr(admitted).encode()
        assert admitted.forwarded == asked.forwarded


def test_what_else_an_sdk_sends_does_not_matter(clients: Clients, made: Made) -> None:
    asked = head(("authorization", "Bearer sk-other"), ("x-api-key", made.text))
    assert clients.admit(asked, HERE).credential == ()


def test_two_keys_are_one_too_many(clients: Clients, keys: KeysConfig, made: Made) -> None:
    other = a_key(keys)
    clients.look()
    asked = head(("authorization", f"Bearer {made.text}"), ("x-api-key", other.text))
    assert refused(clients, asked) == "key_ambiguous"
    clients.admit(head(("authorization", made.text), ("x-api-key", made.text)), HERE)


def test_each_refusal_says_what_is_wrong(
    clients: Clients, keys: KeysConfig, made: Made, clock: FakeClock
) -> None:
    assert refused(clients, head()) == "key_missing"
    assert refused(clients, sent("sk-something")) == "key_malformed"
    assert refused(clients, sent(made.text + "x")) == "key_malformed"
    assert refused(clients, sent(NONE)) == "key_unknown"
    forged = made.text[:-1] + ("a" if made.text[-1] != "a" else "b")
    assert refused(clients, sent(forged)) == "key_unknown"
    short = a_key(keys, expires_s=clock.epoch() + 5)
    clients.look()
    clients.admit(sent(short), HERE)
    clock.advance(5)
    assert refused(clients, sent(short)) == "key_expired", "also one that was let in before"
    store = opened(keys)
    store.revoke(made.record.id, 1.0)
    store.close()
    clients.look()
    assert refused(clients, sent(made)) == "key_revoked"
    assert refused(clients, sent(forged)) == "key_unknown", "who has no key learns nothing of it"


def test_no_message_repeats_what_was_sent(clients: Clients, made: Made) -> None:
    for text in (made.text[:-3], made.text + "tail", NONE, "sk-live-0123456789"):
        with pytest.raises(BadRequest) as caught:
            clients.admit(sent(text), HERE)
        assert text not in str(caught.value)
        assert text[-20:] not in str(caught.value)


def test_two_tokens_that_begin_alike_are_two(keys: KeysConfig, clock: FakeClock) -> None:
    made = a_key(keys)
    clients = Clients(keys, clock)
    clients.admit(sent(made), HERE)
    text = made.text
    assert len(text) == 58
    for other in (text[:57] + chr(ord(text[57]) ^ 1), text + "A" * 40, text + "B" * 40):
        assert refused(clients, sent(other)) in ("key_unknown", "key_malformed")
    long = "sk-" + "a" * 61
    assert refused(clients, sent(long + "1")) == refused(clients, sent(long + "2"))
    clients.close()


NASTY = (
    "'", '"', "' OR '1'='1", "hg_' OR ''='_x", "hg_\x00_\x00", "\x00", "hg_", "Bearer Bearer",
    "hg_%s_%d", "hg_{0}_{1}", "${PATH}", "hg_../../etc/passwd_x", "\xff\xfe", "hg_\r\nx: y",
    "A" * 1_000_000, "hg_" + "A" * 1_000_000, f"{NONE}\x00", f"\x00{NONE}", f"{NONE},{NONE}",
)  # fmt: skip


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
def test_no_credential_does_more_than_be_refused(clients: Clients, text: str) -> None:
    for name in ("authorization", "x-api-key"):
        # The head's own limits stand in front of this one, and are tried where the head is.
        asked = Head((), ((name.encode(), text.encode("latin-1")),), (), head().controls)
        assert refused(clients, asked).startswith("key_")


@given(value=st.binary(max_size=200), name=st.sampled_from([b"authorization", b"x-api-key"]))
def test_any_bytes_are_refused(fuzzed: Clients, value: bytes, name: bytes) -> None:
    asked = Head((), ((name, value),), (), head().controls)
    with pytest.raises(HeadgateError) as caught:
        fuzzed.admit(asked, repr(value))
    assert caught.value.status_hint == 401


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    keys = KeysConfig(str(tmp_path_factory.mktemp("keys") / "keys.db"))
    a_key(keys)
    clients = Clients(keys, FakeClock())
    yield clients
    clients.close()


def test_an_address_that_fails_again_and_again_is_told_to_wait(
    clients: Clients, made: Made, keys: KeysConfig, clock: FakeClock
) -> None:
    clients.admit(sent(made), HERE)
    for number in range(FAILURES_PER_MIN):
        assert refused(clients, sent(f"hg_{number}")) == "key_malformed"
    with pytest.raises(RateLimited) as caught:
        clients.admit(sent("hg_x"), HERE)
    assert caught.value.retry_after_s == pytest.approx(1.0)
    clients.admit(sent(made), HERE)
    assert refused(clients, sent("hg_x"), "10.0.0.1") == "key_malformed"
    clock.advance(1.1)
    assert refused(clients, sent("hg_x")) == "key_malformed"


def test_a_key_that_works_is_let_in_from_an_address_that_fails(
    clients: Clients, made: Made, keys: KeysConfig
) -> None:
    for number in range(FAILURES_PER_MIN):
        refused(clients, sent(f"hg_{number}"))
    with pytest.raises(RateLimited):
        clients.admit(sent("hg_x"), HERE)
    clients.admit(sent(made), HERE)
    # A change empties what is known, while somebody else behind the same proxy goes on.
    another = a_key(keys)
    clients.look()
    for one in (made, another):
        assert clients.admit(sent(one), HERE).client is not None


def test_a_network_of_version_6_is_one_address(clients: Clients) -> None:
    for number in range(FAILURES_PER_MIN):
        refused(clients, sent("hg_x"), f"2001:db8::{number:x}")
    with pytest.raises(RateLimited):
        clients.admit(sent("hg_x"), "2001:db8::ffff")
    refused(clients, sent("hg_x"), "2001:db8:0:1::1")


def test_those_who_are_let_in_do_not_use_up_the_failures(
    keys: KeysConfig, clock: FakeClock
) -> None:
    several = [a_key(keys) for _ in range(FAILURES_PER_MIN + 5)]
    clients = Clients(keys, clock)
    for made in several:
        clients.admit(sent(made), HERE)
    refused(clients, sent("hg_x"))
    clients.close()


def test_what_is_remembered_is_bounded(
    clients: Clients, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.clients.KNOWN_MAX", 8)
    assert KNOWN_MAX > 8
    for number in range(50):
        refused(clients, sent(f"hg_{number}"), f"10.0.0.{number}")
        clients.admit(head(("authorization", " " * number + made.text)), HERE)
    assert len(clients._known.refused) <= 8
    assert len(clients._known.admitted) <= 8
    clients.admit(sent(made), HERE)


def test_a_key_that_was_unknown_works_as_soon_as_it_is_made(
    clients: Clients, keys: KeysConfig
) -> None:
    new = a_key(keys)
    assert refused(clients, sent(new)) == "key_unknown"
    clients.look()
    clients.admit(sent(new), HERE)


def test_both_keys_of_a_rotation_work_for_a_while(
    clients: Clients, keys: KeysConfig, made: Made, clock: FakeClock
) -> None:
    store = opened(keys)
    new = store.rotate(made.record.id, now_s=clock.epoch(), overlap_s=60.0)
    store.close()
    assert new is not None
    clients.look()
    for one in (made, new):
        clients.admit(sent(one), HERE)
    clock.advance(61)
    assert refused(clients, sent(made)) == "key_expired"
    clients.admit(sent(new), HERE)


def test_it_follows_the_file_by_itself(clients: Clients, keys: KeysConfig, made: Made) -> None:
    clients.watch()
    clients.admit(sent(made), HERE)
    store = opened(keys)
    store.revoke(made.record.id, 1.0)
    store.close()

    def is_refused() -> bool:
        try:
            clients.admit(sent(made), HERE)
        except BadRequest:
            return True
        return False

    until(is_refused, "a revoked key is refused")


def test_the_first_key_closes_the_gateway_and_nothing_opens_it_again(
    keys: KeysConfig, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    clients = Clients(keys, clock)
    made = a_key(keys)
    clients.look()
    assert clients.required
    Path(keys.path).unlink()
    clients.look()
    assert clients.required
    clients.admit(sent(made), HERE)
    assert "cannot be read" in clients.problem()
    again = a_key(KeysConfig(keys.path))
    clients.look()
    assert not clients.problem()
    clients.admit(sent(again), HERE)
    assert refused(clients, sent(made)) == "key_unknown"
    assert [one.levelno for one in caplog.records if one.name == "headgate.clients"] == [
        logging.WARNING
    ]
    assert made.text not in caplog.text
    clients.close()


def test_keys_that_cannot_be_verified_let_nobody_in(keys: KeysConfig, clock: FakeClock) -> None:
    clients = Clients(keys, clock)
    made = a_key(keys)
    pepper = Path(f"{keys.path}.pepper")
    text = pepper.read_text()
    pepper.unlink()
    clients.look()
    assert refused(clients, sent(made)) == "key_unknown"
    assert clients.problem()
    with pytest.raises(ConfigError):
        Clients(keys, clock)
    pepper.write_text(text)
    clients.look()
    clients.admit(sent(made), HERE)
    clients.close()


def test_another_pepper_is_refused_at_the_start(keys: KeysConfig, clock: FakeClock) -> None:
    a_key(keys)
    wrong = KeysConfig(keys.path, Secret("another pepper that is long enough"))
    with pytest.raises(ConfigError, match="another pepper") as caught:
        Clients(wrong, clock)
    assert wrong.pepper.reveal() not in str(caught.value)


def test_a_configured_pepper_is_no_file(tmp_path: Path, clock: FakeClock) -> None:
    keys = KeysConfig(str(tmp_path / "k.db"), Secret("a pepper out of the environment!" * 9))
    made = a_key(keys)
    clients = Clients(keys, clock)
    clients.admit(sent(made), HERE)
    clients.close()
    assert not list(tmp_path.glob("*.pepper"))


def test_a_change_of_another_key_leaves_what_was_spent(keys: KeysConfig, clock: FakeClock) -> None:
    made = a_key(keys, day_nanos=100)
    clients = Clients(keys, clock)
    before: Any = clients.admit(sent(made), HERE).client
    before.purse.reserve(70)
    a_key(keys)
    clients.look()
    after: Any = clients.admit(sent(made), HERE).client
    assert after is not before
    assert after.purse is before.purse
    assert clients.active == 2
    clients.close()


def test_what_was_spent_last_is_written_at_the_end(keys: KeysConfig, clock: FakeClock) -> None:
    made = a_key(keys, day_nanos=100)
    clients = Clients(keys, clock)
    purse: Any = clients.admit(sent(made), HERE).client.purse  # type: ignore[union-attr]
    purse.settle(purse.reserve(70), 60)
    clients.close()
    store = opened(keys)
    assert set(store.spent()[made.record.family].values()) == {60}
    store.close()


def test_keys_are_counted_without_a_gateway(keys: KeysConfig) -> None:
    assert keys_in(keys) == []
    made = a_key(keys)
    assert keys_in(keys) == [made.record]
    assert read_key(made.text.encode()) is not None


def test_providers_that_live_on_what_clients_send_are_named() -> None:
    config = Config(
        providers={
            "bare": ProviderConfig(), "fake": ProviderConfig(kind="fake"),
            "own": ProviderConfig(api_key=Secret("k")),
        }
    )  # fmt: skip
    assert keyless_providers(config) == ["bare"]
