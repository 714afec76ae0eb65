"""Names for calls, by which a provider knows a repeat for one: `Idempotency-Key`. Pure.

The draft of the HTTP working group (draft-ietf-httpapi-idempotency-key-header) has a key stand for
one request: the same again is answered as before, another body under it is refused. So every target
gets a key of its own, because each has its own name for the model, and thereby another body.
"""

from __future__ import annotations

import hashlib

HEADER = b"idempotency-key"


def drawn_name(first: float, second: float) -> bytes:
    """A name that nobody else has, from two numbers of good dice in [0, 1): 106 bits."""
    return b"%x-%x" % (int(first * 2**53), int(second * 2**53))


def key_at(name: bytes, target: str) -> bytes:
    """The key of a call at one target: 64 characters, the same for each attempt there."""
    return hashlib.sha256(name + b"\0" + target.encode()).hexdigest().encode()
