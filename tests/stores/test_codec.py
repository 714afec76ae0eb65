"""Entries as bytes: what is read back is what was written, or nothing is."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores.samples import SCOPE, entry_of, key_of

from headgate.stores.codec import CodecError, decode, encode
from headgate.types import Entry, Usage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
DIGEST = st.binary(min_size=32, max_size=32)
SECONDS = st.floats(0, 4e9)
COUNT = st.integers(0, 2**40)
ENTRIES = st.builds(
    Entry,
    key=DIGEST,
    scope=DIGEST,
    model=TEXT,
    operation=TEXT,
    created_s=SECONDS,
    ttl_s=SECONDS,
    content=st.binary(max_size=300),
    kind=st.sampled_from(["whole", "stream", "value"]),
    status=st.integers(100, 599),
    headers=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9))).map(tuple),
    usage=st.builds(Usage, *[COUNT] * 6),
    target=TEXT,
    finish=TEXT,
    namespace=TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    usage_at=st.tuples(COUNT, COUNT),
    held=st.none(),
)

# `entry_of()` as version 2 wrote it.
VERSION_2 = (
    "NJm9Z00IC20EGYm0000000000000000000000000000000000000DDzb8~ZZb8~ZZb8~ZZb8~ZZb8~ZZb8~ZZb8~ZZ"
    "b90@`LE2SrKmY&$%RsCk000000H$YfbS*S*q+@7dbftG_Z)|1E$dZ!83}bI@bY*UIEp&NsWyBC+aBysCV_|e@Z*DJY"
    "b8l{v#0+>Xa%FLKWpi{bX=KC(a%FK}|1pyZ1OlyZaAj^`X)kARbS*S*q;qs{aHVc(XJ~Yip<$t7k^lgEB4KWGcV%)S"
    "Iv_MMeIEYVX!31Sg2h>?6mdm&LY8qj17CD~f0Ze5gzfA*bN"
)


def sealed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


@given(ENTRIES)
def test_an_entry_is_read_back_as_it_was_written(entry: Entry) -> None:
    assert decode(encode(entry), entry.key, entry.scope) == entry


def test_the_form_of_version_3_does_not_change() -> None:
    # Files of users hold it: a change of this digest needs a new VERSION.
    raw = encode(entry_of())
    assert raw[:6] == b"HGEN\x00\x03"
    assert hashlib.sha256(raw).hexdigest()[:16] == "b4c3ddb291ca1e85"


def test_an_entry_of_version_2_is_still_read() -> None:
    raw = base64.b85decode(VERSION_2)
    assert raw[:6] == b"HGEN\x00\x02"
    assert decode(raw, key_of(1), SCOPE) == entry_of()


@pytest.mark.parametrize("version", [2, 3])
def test_usage_of_another_version_is_refused(version: int) -> None:
    raw = base64.b85decode(VERSION_2) if version == 3 else encode(entry_of())
    content = bytearray(raw[:-32])
    content[5] = version
    with pytest.raises(CodecError, match="usage"):
        decode(sealed(bytes(content)), key_of(1), SCOPE)


def test_a_flipped_bit_anywhere_is_found() -> None:
    entry = entry_of()
    raw = encode(entry)
    for position in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[position] ^= 1 << bit
            with pytest.raises(CodecError):
                decode(bytes(changed), entry.key, entry.scope)


def test_an_entry_cut_or_prolonged_anywhere_is_found() -> None:
    entry = entry_of()
    raw = encode(entry)
    for length in range(len(raw)):
        with pytest.raises(CodecError):
            decode(raw[:length], entry.key, entry.scope)
    with pytest.raises(CodecError):
        decode(raw + b"\0", entry.key, entry.scope)


def test_the_entry_of_another_key_is_refused() -> None:
    with pytest.raises(CodecError, match="another key"):
        decode(encode(entry_of(1)), key_of(2), SCOPE)


def test_the_entry_of_another_scope_is_refused() -> None:
    with pytest.raises(CodecError, match="another key or scope"):
        decode(encode(entry_of(1)), key_of(1), b"t" * 32)


def test_a_listing_accepts_every_scope() -> None:
    assert decode(encode(entry_of(1)), key_of(1)) == entry_of(1)


def test_an_unknown_version_with_a_good_digest_is_refused() -> None:
    content = bytearray(encode(entry_of())[:-32])
    content[5] = 1
    with pytest.raises(CodecError, match="version 1"):
        decode(sealed(bytes(content)), key_of(1), SCOPE)


def test_other_magic_with_a_good_digest_is_refused() -> None:
    content = b"HGEX" + encode(entry_of())[4:-32]
    with pytest.raises(CodecError, match="no entry"):
        decode(sealed(content), key_of(1), SCOPE)


@pytest.mark.parametrize("length", [0, 1, 2**32 - 1])
def test_a_wrong_length_of_facts_with_a_good_digest_is_refused(length: int) -> None:
    content = bytearray(encode(entry_of())[:-32])
    content[6:10] = length.to_bytes(4, "big")
    with pytest.raises(CodecError, match="facts"):
        decode(sealed(bytes(content)), key_of(1), SCOPE)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(CodecError):
        decode(raw, key_of(1), SCOPE)


@given(st.binary(max_size=200))
def test_arbitrary_facts_with_a_good_digest_are_refused(facts: bytes) -> None:
    head = b"HGEN\x00\x03" + len(facts).to_bytes(4, "big") + key_of(1) + SCOPE
    with pytest.raises(CodecError):
        decode(sealed(head + facts), key_of(1), SCOPE)


@pytest.mark.parametrize("row", [None, 7, "text", 1.5])
def test_what_is_not_bytes_is_refused(row: object) -> None:
    with pytest.raises(CodecError):
        decode(row, key_of(1), SCOPE)


@pytest.mark.parametrize(
    "entry",
    [
        entry_of(kind="object", held=object()),
        entry_of(kind="object"),
        entry_of(kind="chunks"),
        entry_of(key=b"short"),
        entry_of(scope=b""),
        entry_of(model="\ud800"),
        entry_of(tags=("\udfff",)),
        entry_of(status=2**80),
    ],
    ids=["held", "object", "kind", "key", "scope", "model", "tag", "status"],
)
def test_what_cannot_be_bytes_is_refused(entry: Entry) -> None:
    with pytest.raises(CodecError):
        encode(entry)


def test_a_codec_error_is_a_value_error() -> None:
    assert issubclass(CodecError, ValueError)
