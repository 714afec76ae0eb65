"""Server-sent events: a byte stream cut into events, one event read, one event spelt. Pure.

An event is kept as the exact bytes it came in, up to and including the blank line that ends it, so
that what is passed on or stored is what the upstream sent. Read as in the WHATWG HTML standard,
section 9.2.6, with names and data left as bytes.
"""

from __future__ import annotations

import re

from headgate.errors import UpstreamGarbled

EVENT_MAX_BYTES = 16_000_000
"""Of one event: the end of a `/responses` stream repeats the whole answer, and the instructions and
tools of the request, whose body may have 10 MB."""

# Two line ends in a row. A CR may be the first half of a CRLF, so after a line that ended with LF
# the byte behind it decides, and is waited for. After a bare CR nothing is waited for: a stream of
# CR alone would lag one event behind. If an LF follows there, it opens the next event as a blank
# line, which has no meaning.
_END = re.compile(rb"\n(?:\n|\r\n|\r(?=[^\n]))|\r\r")
# The same where there is no CR: a literal is searched for eight times as fast (measured).
_END_WITHOUT_CR = re.compile(rb"\n\n")
_END_BYTES_MAX = 3
_CR = 13
_BOM = b"\xef\xbb\xbf"
_FIELDS = frozenset({b"", b"data", b"event", b"id", b"retry"})


class Splitter:
    """Cuts a stream into events, whatever pieces it comes in."""

    __slots__ = ("_has_cr", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._has_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that `piece` completes, in order. Comments and stray blank lines are events
        too: what was returned and `rest()` are together all that was fed.

        Raises UpstreamGarbled for an event of more than `EVENT_MAX_BYTES`.
        """
        has_cr = _CR in piece
        if not self._rest and not has_cr:
            end = piece.find(b"\n\n") + 2
            if 2 <= end == len(piece) <= EVENT_MAX_BYTES:
                return [piece]
        self._has_cr |= has_cr
        return self._cut(piece)

    def _cut(self, piece: bytes) -> list[bytes]:
        rest = self._rest
        searched = max(0, len(rest) + 1 - _END_BYTES_MAX)
        rest += piece
        end = _END if self._has_cr else _END_WITHOUT_CR
        events: list[bytes] = []
        start = 0
        for found in end.finditer(rest, searched):
            events.append(bytes(rest[start : found.end()]))
            start = found.end()
        if start:
            del rest[:start]
            self._has_cr = _CR in rest
        if len(rest) > EVENT_MAX_BYTES or (events and max(map(len, events)) > EVENT_MAX_BYTES):
            raise UpstreamGarbled(f"an event of the stream has more than {EVENT_MAX_BYTES} bytes")
        return events

    def rest(self) -> bytes:
        """What has come of an event that is not complete."""
        return bytes(self._rest)


def split(content: bytes) -> list[bytes]:
    """The events of a whole content; joined they are `content` again, so the last one is not
    complete if `content` is not. Raises UpstreamGarbled as `Splitter.feed`."""
    splitter = Splitter()
    events = splitter.feed(content)
    rest = splitter.rest()
    return [*events, rest] if rest else events


def parse_event(raw: bytes) -> tuple[bytes, bytes]:
    """Name and data of one event; either is b"" where the event has none.

    A byte order mark is skipped. Only the first event of a stream may have one, and in a later one
    nothing but a broken upstream would put it.
    """
    if raw[:6] == b"data: " and _CR not in raw and raw.find(b"\n") == len(raw) - 2:
        return b"", raw[6:-2]
    if _CR in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    name, texts = b"", []
    for line in raw.removeprefix(_BOM).split(b"\n"):
        if line.startswith(b"data:"):
            texts.append(_value(line, 5))
        elif line.startswith(b"event:"):
            name = _value(line, 6)
        elif line == b"data":
            texts.append(b"")
        elif line == b"event":
            name = b""
    return name, texts[0] if len(texts) == 1 else b"\n".join(texts)


def is_sound(raw: bytes) -> bool:
    """Whether an event is UTF-8 and every line of it a field or a comment.

    Readers pass over a line that is neither, and with it over what a harmed line has said: without
    this an answer could lose a part and end as if it were whole.
    """
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return False
    if raw[:6] == b"data: " and _CR not in raw and raw.find(b"\n") == len(raw) - 2:
        return True
    lines = raw.removeprefix(_BOM).replace(b"\r", b"\n").split(b"\n")
    return all(line.partition(b":")[0] in _FIELDS for line in lines)


def _value(line: bytes, start: int) -> bytes:
    return line[start + 1 :] if line[start : start + 1] == b" " else line[start:]


def spell(content: bytes, name: bytes = b"") -> bytes:
    """One event with `content` as its data, and with this name unless b"" (a name has no line end).
    A line end in `content` is read back as LF, whatever it was."""
    if b"\n" in content or _CR in content:
        lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        content = b"\ndata: ".join(lines)
    opening = b"event: " + name + b"\ndata: " if name else b"data: "
    return opening + content + b"\n\n"
