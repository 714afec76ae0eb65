"""The key: SHA-256 over length-prefixed fields in a fixed order, the whole request among them.

There is no list of fields that enter: every field enters, known or not, and a short documented
list stays out. A change of the rules below must change `SCHEMA`, so that old entries miss. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

from headgate.core.canonical import canonical
from headgate.types import GENERATE, Headers

SCHEMA = b"headgate key 2"

BEHAVIOUR_HEADERS = frozenset({b"anthropic-version", b"anthropic-beta", b"openai-beta",
                               b"openai-organization", b"openai-project"})  # fmt: skip
"""Request headers that change what the model answers, or who is asked."""


def join(fields: Iterable[bytes]) -> bytes:
    """The fields with a length before each: no two different sequences give the same bytes."""
    return b"".join([len(field).to_bytes(8, "big") + field for field in fields])


def digest(*fields: bytes) -> bytes:
    """SHA-256 (32 bytes) of `fields`, each with its length."""
    return sha256(join(fields)).digest()


def sender_of(credential: Headers) -> bytes:
    """Digest of who sends a call, by the credential that came with it; one of all who send none."""
    return digest(*(part for header in credential for part in header))


def scope_of(kind: bytes, identity: bytes, namespace: str = "") -> bytes:
    """Digest of who may share an entry: a tenant or credential, narrowed by `namespace`.

    `identity` must already be a digest where it is secret: scopes are written to disk.
    """
    return digest(SCHEMA, b"scope", kind, identity, namespace.encode())


def tenant_of(kind: bytes, identity: bytes) -> str:
    """A tenant as jobs and files name theirs: what `scope_of` makes a scope of, in letters;
    `identity` is a digest."""
    return f"{kind.decode()}:{identity.hex()}"


def scope_of_tenant(tenant: str, namespace: str = "") -> bytes:
    """The scope of calls of a tenant that `tenant_of` has spelt."""
    kind, _, identity = tenant.partition(":")
    return scope_of(kind.encode(), bytes.fromhex(identity), namespace)


def route_of(parts: Mapping[str, Any]) -> bytes:
    """Digest of where a model name leads (targets, provider kind and address), so that the same
    name after a reload with another backend misses."""
    return digest(SCHEMA, b"route", canonical(dict(parts)))


def raw_prefix(operation: str, scope: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What precedes the body in a raw digest; the body comes last and needs no length.

    `headers` are the behaviour headers in a fixed order.
    """
    named = (part for header in headers for part in header)
    return join((SCHEMA, b"raw", operation.encode(), scope, *named))


def key_prefix(
    *, operation: str, scope: bytes, route: bytes, headers: Collection[tuple[bytes, bytes]]
) -> bytes:
    """What precedes the body in the key of a wire call; the same for many of them."""
    named = [part for header in sorted(headers) for part in header]
    return join((SCHEMA, b"call", operation.encode(), scope, route, join(named)))


def key_under(prefix: bytes, fields: Mapping[str, Any], ignored: Collection[str]) -> bytes:
    """Key of a wire call: everything in `fields` (the parsed body) but `ignored`, after what
    `key_prefix` says of it.

    The caller puts the requested name after prefix resolution in place of the body's own `model`.
    """
    if ignored:
        fields = {name: value for name, value in fields.items() if name not in ignored}
    body = canonical(fields)
    return sha256(prefix + len(body).to_bytes(8, "big") + body).digest()


STREAMED_OPERATIONS = frozenset({"chat", "completions", "responses", "messages", GENERATE})
"""Operations whose answers come in two shapes, whole or as a stream."""
USAGE_OPERATIONS = frozenset({"chat", "completions"})
"""Those among them whose streams tell their usage only when asked (`stream_options`)."""


def without_shape(
    operation: str, fields: Mapping[str, Any], *, usage_is_asked: bool
) -> dict[str, Any]:
    """`fields` without what only chooses the shape of the answer, so that both shapes have one key.

    `usage_is_asked`: the gateway asks for usage in streams whether the client does or not.
    """
    kept = dict(fields)
    if "stream" not in kept and "stream_options" not in kept:
        return kept
    if operation in STREAMED_OPERATIONS:
        kept.pop("stream", None)
    options = kept.get("stream_options")
    if operation in USAGE_OPERATIONS and usage_is_asked and isinstance(options, dict):
        rest = {name: value for name, value in options.items() if name != "include_usage"}
        kept.pop("stream_options")
        if rest:
            kept["stream_options"] = rest
    return kept


def shape_key(key: bytes, *, streamed: bool) -> bytes:
    """Key of an answer that cannot be turned from one shape into the other without loss: it has
    one for each shape, besides the common one that the first of them took."""
    return digest(SCHEMA, b"stream" if streamed else b"whole", key)
