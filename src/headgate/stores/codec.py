"""Entries as bytes: one versioned form for every store that keeps them outside this process.

    magic 4 | version 2 | length of facts 4 | key 32 | scope 32 | facts | content | SHA-256 32

Numbers are big-endian; `facts` is a MessagePack array. The digest covers all before it, so a torn
or changed row never decodes. No pickle: what is read back is bytes, numbers and text.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Literal

import msgspec

from headgate.types import Entry, Headers, Usage

MAGIC = b"HGEN"
VERSION = 3
# Usage had three numbers in version 2; whoever reads that one takes this one's entries for misses.
_USAGE_NUMBERS = {2: 3, VERSION: 6}

_HEAD = struct.Struct(">4sHI32s32s")
_DIGEST_BYTES = 32
_MIN_BYTES = _HEAD.size + _DIGEST_BYTES


Kind = Literal["whole", "stream", "value"]
_KINDS: Mapping[str, Kind] = {"whole": "whole", "stream": "stream", "value": "value"}


class CodecError(ValueError):
    """These bytes are not the entry that was asked for, or this entry cannot become bytes."""


class _Facts(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All of an entry but key, scope and content. A change of fields is a new `VERSION`."""

    created_s: float
    ttl_s: float
    model: str
    operation: str
    kind: Kind
    status: int
    headers: Headers
    usage: tuple[int, ...]
    target: str
    finish: str
    namespace: str
    tags: tuple[str, ...]
    usage_at: tuple[int, int]


_FACTS_ENCODER = msgspec.msgpack.Encoder()
_FACTS_DECODER = msgspec.msgpack.Decoder(_Facts)


def encode(entry: Entry) -> bytes:
    """`entry` as bytes; 106 bytes, its facts (about 150) and its content.

    Raises CodecError for kind "object", which never leaves memory, for a key or scope that is not
    32 bytes, and for text that is not Unicode (lone surrogates).
    """
    if entry.kind not in _KINDS or entry.held is not None:
        raise CodecError(f"an entry of kind {entry.kind!r} stays in memory")
    if len(entry.key) != 32 or len(entry.scope) != 32:
        raise CodecError("key and scope are 32 bytes each")
    try:
        facts = _FACTS_ENCODER.encode(_facts(entry))
        head = _HEAD.pack(MAGIC, VERSION, len(facts), entry.key, entry.scope)
    except (TypeError, ValueError, OverflowError, struct.error) as problem:
        raise CodecError(f"not encodable: {problem}") from problem
    digest = hashlib.sha256(head)
    digest.update(facts)
    digest.update(entry.content)
    return b"".join((head, facts, entry.content, digest.digest()))


def decode(raw: object, key: bytes, scope: bytes | None = None) -> Entry:
    """The entry in `raw`, equal to the one that was encoded.

    Raises CodecError unless everything holds: the digest, magic and version, `key`, and `scope`
    (None accepts any, for listings).
    """
    if not isinstance(raw, bytes) or len(raw) < _MIN_BYTES:
        raise CodecError("too short to be an entry")
    sealed = memoryview(raw)[:-_DIGEST_BYTES]
    if hashlib.sha256(sealed).digest() != raw[-_DIGEST_BYTES:]:
        raise CodecError("the digest does not match: changed or cut off")
    magic, version, facts_bytes, stored_key, stored_scope = _HEAD.unpack_from(raw)
    if magic != MAGIC or version not in _USAGE_NUMBERS:
        raise CodecError(f"version {version} is not {VERSION} nor the one before, or no entry")
    if stored_key != key or scope not in (None, stored_scope):
        raise CodecError("the entry of another key or scope")
    facts_end = _HEAD.size + facts_bytes
    if facts_end > len(sealed):
        raise CodecError("facts longer than the entry")
    try:
        facts = _FACTS_DECODER.decode(sealed[_HEAD.size : facts_end])
    except (msgspec.MsgspecError, ValueError) as problem:
        raise CodecError(f"facts do not parse: {problem}") from problem
    if len(facts.usage) != _USAGE_NUMBERS[version]:
        raise CodecError("usage is not as this version has it")
    return _entry(stored_key, stored_scope, facts, bytes(sealed[facts_end:]))


def _facts(entry: Entry) -> _Facts:
    return _Facts(
        created_s=entry.created_s,
        ttl_s=entry.ttl_s,
        model=entry.model,
        operation=entry.operation,
        kind=_KINDS[entry.kind],
        status=entry.status,
        headers=entry.headers,
        usage=msgspec.structs.astuple(entry.usage),
        target=entry.target,
        finish=entry.finish,
        namespace=entry.namespace,
        tags=entry.tags,
        usage_at=entry.usage_at,
    )


def _entry(key: bytes, scope: bytes, facts: _Facts, content: bytes) -> Entry:
    return Entry(
        key=key,
        scope=scope,
        model=facts.model,
        operation=facts.operation,
        created_s=facts.created_s,
        ttl_s=facts.ttl_s,
        content=content,
        kind=facts.kind,
        status=facts.status,
        headers=facts.headers,
        usage=Usage(*facts.usage),
        target=facts.target,
        finish=facts.finish,
        namespace=facts.namespace,
        tags=facts.tags,
        usage_at=facts.usage_at,
    )
