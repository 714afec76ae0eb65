"""Where a reply came from, as headers: Cache-Status (RFC 9211), Age, and our own. Pure."""

from __future__ import annotations

from headgate.core.freshness import age_s
from headgate.core.money import dollars
from headgate.types import Entry, Headers, Provenance

_VISIBLE = bytes(code if 32 <= code < 127 else ord("?") for code in range(256))
"""A model name comes from the request's body: a line break in it must not start a new header."""

_NO_COST = (b"headgate-cost-usd", b"0")
_NO_ATTEMPT = (b"headgate-attempts", b"0")


def hit_headers(entry: Entry, now_s: float, saved_usd: bytes = b"") -> Headers:
    """As `provenance_headers` of `entry`'s reply, in one step; `saved_usd` is empty where the
    price is not known."""
    headers = (
        (b"cache-status", b"headgate; hit; ttl=%d" % (entry.expires_s - now_s)),
        (b"age", b"%d" % age_s(entry, now_s)),
        (b"headgate-key", entry.key.hex().encode()),
        (b"headgate-target", _visible(entry.target)),
        _NO_ATTEMPT,
    )
    if not saved_usd:
        return headers
    return (*headers, _NO_COST, (b"headgate-saved-usd", saved_usd))


def provenance_headers(provenance: Provenance, key: bytes) -> Headers:
    """The headers that tell a client how its reply came about; `key` may be empty."""
    headers = [(b"cache-status", cache_status(provenance))]
    if provenance.hit or provenance.forward == "stale":
        headers.append((b"age", b"%d" % provenance.age_s))
    if key:
        headers.append((b"headgate-key", key.hex().encode()))
    if provenance.target:
        headers.append((b"headgate-target", _visible(provenance.target)))
    headers.append((b"headgate-attempts", b"%d" % provenance.attempts))
    if provenance.cost_nanos is not None:
        headers.append((b"headgate-cost-usd", dollars(provenance.cost_nanos).encode()))
    if provenance.saved_nanos is not None:
        headers.append((b"headgate-saved-usd", dollars(provenance.saved_nanos).encode()))
    return tuple(headers)


def _visible(target: str) -> bytes:
    if target.isascii() and target.isprintable():
        return target.encode()
    return target.encode("ascii", "replace").translate(_VISIBLE)


def cache_status(provenance: Provenance) -> bytes:
    """One Cache-Status member; the table of contract.md section 4 gives every form."""
    if provenance.hit:
        status = b"headgate; hit; ttl=%d" % provenance.ttl_s
    else:
        status = b"headgate; fwd=" + provenance.forward.encode()
        if provenance.forward_status:
            status += b"; fwd-status=%d" % provenance.forward_status
        if provenance.collapsed:
            status += b"; collapsed"
        elif provenance.stored:
            status += b"; stored"
    return status + b"; detail=" + provenance.detail.encode() if provenance.detail else status
