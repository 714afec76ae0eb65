"""How a key is spelt, and what its holder may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring import a_record
from msgspec.structs import replace

from headgate.core.client import (
    ID_BYTES,
    MODELS_MAX,
    NAME,
    SECRET_BYTES,
    broken_patterns,
    client_of,
    read_key,
    spell_key,
)

ID, SECRET = b"\x01" * ID_BYTES, b"\xff" * SECRET_BYTES


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32))
def test_what_is_spelt_is_read(id_bytes: bytes, secret: bytes) -> None:
    spelt = spell_key(id_bytes, secret)
    assert read_key(spelt.text) == spelt
    assert len(spelt.text) == len(b"hg_") + 11 + 1 + 43


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=2, unique=True))
def test_two_secrets_are_never_spelt_alike(secrets: list[bytes]) -> None:
    first, second = (spell_key(ID, secret).text for secret in secrets)
    assert first != second


@given(st.binary(max_size=80))
def test_any_bytes_are_a_key_or_none(text: bytes) -> None:
    spelt = read_key(text)
    assert spelt is None or spelt.text == text


@pytest.mark.parametrize(
    "broken",
    [b"", b"hg_", b"hg__", b" {key}", b"{key} ", b"{key}\n", b"{key}x", b"{key}\x00", b"HG{key}",
     b"{key}{key}", b"'{key}'", b"{key}' OR '1'='1", b"sk-{key}"],
)  # fmt: skip
def test_a_key_has_one_spelling(broken: bytes) -> None:
    text = spell_key(ID, SECRET).text
    assert read_key(text) is not None
    assert read_key(broken.replace(b"{key}", text)) is None
    assert read_key(text[:-1]) is None
    assert read_key(text.replace(b"_", b"-")) is None


@pytest.mark.parametrize(
    ("models", "asked", "allowed"),
    [
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o",), "openai/gpt-4o", False),
        (("gpt-4o",), "GPT-4o", False),
        (("gpt-*",), "gpt-4o-mini", True),
        (("gpt-*",), "chatgpt-4o", False),
        (("openai/*",), "openai/x", True),
        (("*-mini", "claude-*"), "gpt-4o-mini", True),
        (("*-mini", "claude-*"), "claude-opus-5", True),
        (("a*b*c",), "a-b-c", True),
        (("a.c",), "abc", False),
        (("(.*)",), "anything", False),
        (("*",), "whatever\nit is", True),
        ((), "gpt-4o", False),
    ],
)
def test_a_key_is_for_the_models_it_names(
    models: tuple[str, ...], asked: str, allowed: bool
) -> None:
    assert client_of(a_record(models=models)).allows(asked) is allowed


def test_patterns_of_a_hostile_length_are_tried_in_no_time() -> None:
    client = client_of(a_record(models=("*a" * 100, "a*" * 12 + "c")))
    assert not client.allows("a" * 500 + "b")
    assert client.allows("a" * 500)


@pytest.mark.parametrize(
    ("names", "is_right"),
    [(["*"], True), (["a"] * MODELS_MAX, True), ([], False), (["a"] * (MODELS_MAX + 1), False),
     ([""], False), (["  "], False), (["a\n"], False), (["a" * 201], False)],
)  # fmt: skip
def test_lists_of_models_are_checked(names: list[str], is_right: bool) -> None:
    assert (not broken_patterns(names)) is is_right


@pytest.mark.parametrize(
    ("name", "is_right"),
    [("acme", True), ("a", True), ("A.b-c_9", True), ("a" * 64, True), ("a" * 65, False),
     ("", False), ("a/b", False), ("../x", False), ("-a", False), ("a b", False), ("é", False)],
)  # fmt: skip
def test_tenants_have_names_that_can_stand_anywhere(name: str, is_right: bool) -> None:
    assert bool(NAME.fullmatch(name)) is is_right


def test_a_key_ends_once_it_is_revoked_or_its_time_is_over() -> None:
    record = a_record(expires_s=10.0)
    assert [record.state(at_s) for at_s in (9.9, 10.0)] == ["active", "expired"]
    assert replace(record, revoked_s=5.0).state(0.0) == "revoked"
    assert a_record().state(1e12) == "active"


def test_keys_of_one_tenant_share_entries_and_the_common_limits() -> None:
    first, second = (client_of(a_record(id=key, family=key)) for key in "ab")
    other = client_of(a_record("other", id="a", family="a"))
    assert first.share == second.share != other.share
    assert first.rated == second.rated != other.rated
    assert (first.who, second.who) == ("acme/a", "acme/b")


def test_limits_of_its_own_are_counted_by_the_rotation() -> None:
    first, second, third = (
        client_of(a_record(id=key, family=family, requests_per_min=5))
        for key, family in (("a", "a"), ("b", "a"), ("c", "c"))
    )
    assert first.rated == second.rated != third.rated
    assert first.rates == second.rates
