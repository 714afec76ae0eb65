"""The reply to a call whose inputs were answered each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from headgate.core.apportion import Sums
from headgate.core.embedding_reply import Piece, piece_in, put_together
from headgate.core.verdict import Verdict
from headgate.errors import UpstreamGarbled
from headgate.stream import Whole
from headgate.types import Call, Provenance, Reply


class Part(Whole):
    """The answer to one input, with what is known of it."""

    __slots__ = ("piece",)

    def __init__(self, content: bytes, piece: Piece, verdict: Verdict | None = None) -> None:
        super().__init__(content, verdict)
        self.piece = piece


def piece_of(reply: Reply) -> Piece | None:
    """The answer to one input that a reply is; None where it is none."""
    body = reply.body
    if isinstance(body, Part):
        return body.piece
    return piece_in(body.content) if isinstance(body, Whole) else None


def whole_of_parts(call: Call, keys: Sequence[bytes], replies: Sequence[Reply]) -> Reply:
    """One reply to all inputs. What nobody was paid for is told to the account of the call."""
    pieces, usage, seen = [], Sums(), set[bytes]()
    for key, reply in zip(keys, replies, strict=True):
        piece = piece_of(reply)
        if piece is None:
            raise UpstreamGarbled("the provider's answer holds no vector for one of the inputs")
        pieces.append(piece)
        usage.add(reply.usage)
        is_spared = key in seen or reply.provenance.hit or reply.provenance.collapsed
        if call.account is not None and (is_spared or reply.provenance.forward == "stale"):
            call.account.spared(reply)
        seen.add(key)
    first = next((reply for reply in replies if not reply.provenance.hit), replies[0])
    origin = _origin([reply.provenance for reply in replies])
    return Reply(200, first.headers, Whole(put_together(pieces)), usage.total, origin, first.tier)


def _origin(origins: Sequence[Provenance]) -> Provenance:
    """How a reply of such parts came about: a hit where all are, collapsed where nothing was asked
    for it; stale where one is."""
    asked = [origin for origin in origins if not origin.hit]
    stale = next((origin for origin in origins if origin.detail), None)
    if stale is not None:
        return stale
    if not asked:
        ages, left = [one.age_s for one in origins], [one.ttl_s for one in origins]
        return replace(origins[0], age_s=max(ages), ttl_s=min(left))
    hits = len(origins) - len(asked)
    own = [origin for origin in asked if not origin.collapsed]
    return replace(
        (own or asked)[0],
        stored=any(origin.stored for origin in asked),
        attempts=max(origin.attempts for origin in asked),
        detail=f"hits-{hits}-of-{len(origins)}" if hits else "",
    )
