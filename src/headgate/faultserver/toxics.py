"""What can befall bytes on their way: the shapes of toxiproxy's `toxics/*.go`, and some of ours.
Values only; `line`, `flow` and `server` do what they say. Pure.

Places are counted in the body alone, without head and framing: byte and chunk 0 are the first.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Direction = Literal["down", "up"]
"""`down`: from the server to its client; `up`: what the client sends."""
Ending = Literal["fin", "rst", "stall", "clean"]
"""How a cut ends: connection closed, connection reset, silence, or a valid end of the HTTP body."""


class Toxic(Struct, frozen=True, kw_only=True):
    """Base of them all. Raises ValueError for a number below its bound (0 unless told)."""

    probability: float = 1.0
    """In [0, 1]: whether it acts at all is drawn anew for each request or connection."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            number = getattr(self, name)
            # `not >=` and not `<`: NaN is refused too.
            if isinstance(number, int | float) and not number >= 0:
                raise ValueError(f"{type(self).__name__}.{name} must be at least 0, not {number}")
        if self.probability > 1:
            raise ValueError(f"probability must be at most 1, not {self.probability}")


class Latency(Toxic, frozen=True):
    """Each write (or read, `up`) comes `delay_s` later, plus or minus up to `jitter_s`."""

    delay_s: float
    jitter_s: float = 0.0
    direction: Direction = "down"


class Bandwidth(Toxic, frozen=True):
    """At most so many bytes per second; more than 0."""

    bytes_per_s: float
    direction: Direction = "down"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bytes_per_s == 0:
            raise ValueError(
                "Bandwidth.bytes_per_s must be more than 0; Stall sends nothing at all"
            )


class Slicer(Toxic, frozen=True):
    """Writes of `average_bytes`, plus or minus up to `variation_bytes`, `delay_s` apart; head and
    framing are sliced too. By default one byte each. Without a delay the client's machine may put
    some together again."""

    average_bytes: int = 1
    variation_bytes: int = 0
    delay_s: float = 0.0


class SlowHeaders(Toxic, frozen=True):
    """The head comes one line at a time, `every_s` apart."""

    every_s: float


class SlowClose(Toxic, frozen=True):
    """Where the connection is to be closed, that happens `delay_s` later."""

    delay_s: float


class Timeout(Toxic, frozen=True):
    """From here on nothing is said; after `after_s` the connection is closed. None: never."""

    after_s: float | None = None


class ResetPeer(Toxic, frozen=True):
    """The connection is reset (SO_LINGER 0), after `after_s` of silence."""

    after_s: float = 0.0


class HalfOpen(Toxic, frozen=True):
    """From here on the server is as good as dead: silent, and blind to its client's leaving. On a
    connection with TLS, the handshake stalls."""


class CutAt(Toxic, frozen=True):
    """The answer ends after `after_bytes` of its body, in one of four ways; None: before the head.

    `clean` ends the HTTP body validly but without what the dialect ends it with: what a client that
    trusts HTTP takes for a whole answer. `up`: counted in all bytes the client sent; not `clean`.
    """

    after_bytes: int | None
    by: Ending = "fin"
    direction: Direction = "down"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by == "clean" and (self.direction == "up" or self.after_bytes is None):
            raise ValueError("only a body that has begun can end cleanly")


class Stall(Toxic, frozen=True):
    """Silence after `at_chunk` chunks, or `at_byte` bytes, of the body, until the client leaves or
    for `for_s`; meanwhile a ping of the dialect every `ping_every_s` (0: none)."""

    at_chunk: int | None = None
    at_byte: int | None = None
    for_s: float | None = None
    ping_every_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.at_chunk is None) == (self.at_byte is None):
            raise ValueError("a Stall has either at_chunk or at_byte")


class Garbage(Toxic, frozen=True):
    """Bytes that do not belong there, before byte `at_byte` of the body: `content`, or 16 drawn by
    the seed. Not framed, they break HTTP's own chunks as well."""

    at_byte: int
    content: bytes = b""
    is_framed: bool = True


class ErrorEvent(Toxic, frozen=True):
    """After `at_chunk` chunks of the body comes an error event of the dialect, as its provider
    would send for `status`. It ends the body validly, unless `is_last` is false."""

    at_chunk: int = 0
    status: int = 529
    is_last: bool = True


class Endless(Toxic, frozen=True):
    """After `at_chunk` chunks the body goes on for ever: `piece`, or the last chunk, again and
    again."""

    at_chunk: int = 1
    piece: bytes = b""
