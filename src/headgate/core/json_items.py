"""The items of one long array in a JSON document, `{"requests": [...]}`, cut out as they arrive.

Only the cutting is done here, and never more than an item is held: what an item holds is for its
reader to judge. What stands around the items is judged here. Pure.
"""

from __future__ import annotations

import re

from headgate.errors import BadRequest

HEAD_MAX_BYTES = 1_024
"""Of what stands before the first item, white space too."""

_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_MARK = re.compile(rb'["{}\[\]]')
_SPACE = re.compile(rb"[ \t\r\n]*+")
_HEAD, _BETWEEN, _ITEM, _TAIL = range(4)


class Items:
    """Feed it the document; each call says which items have become complete with it.

    `name` is that of the array. Raises BadRequest, 413 for an item over `item_max_bytes`.
    """

    def __init__(self, name: str, item_max_bytes: int) -> None:
        self._name = name
        self._item_max_bytes = item_max_bytes
        self._opening = re.compile(rb'\s*\{\s*"%s"\s*:\s*\[' % name.encode())
        self._held = b""
        self._begun_at = 0
        """Where in what is held the item begins, or what stands before it."""
        self._at = _HEAD
        self._count = 0
        self._has_comma = True
        self._seen = 0
        """Up to where the item has been looked through."""
        self._depth = 0
        self._is_quoted = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The items that end in `piece`."""
        # Cut off once for each piece: an item may be much smaller than one.
        self._held = self._held[self._begun_at :] + piece
        self._seen -= self._begun_at
        self._begun_at = 0
        found: list[bytes] = []
        if self._at == _HEAD:
            self._open()
        while self._at in (_BETWEEN, _ITEM):
            if self._at == _BETWEEN and not self._begin():
                break
            item = self._finish() if self._at == _ITEM else b""
            if item is None:
                break
            found += [item] if item else []
        if self._at == _TAIL:
            self._close()
        return found

    def end(self) -> None:
        """Nothing more comes. Raises BadRequest where something is missing."""
        if self._at != _TAIL or self._held[self._begun_at :] != b"}":
            raise self._malformed("it ends before its end")

    def _open(self) -> None:
        found = self._opening.match(self._held)
        if found is not None:
            self._begun_at = found.end()
            self._at = _BETWEEN
        elif len(self._held) > HEAD_MAX_BYTES:
            raise self._malformed("it does not begin with this array")

    def _begin(self) -> bool:
        """Behind an item, or before the first: whether there is more to look at."""
        place = self._begun_at = _end_of(_SPACE, self._held, self._begun_at)
        mark = self._held[place : place + 1]
        if mark == b"," and not self._has_comma:
            self._has_comma = True
            self._begun_at += 1
            return True
        if mark == b"]" and (not self._has_comma or not self._count):
            self._begun_at += 1
            self._at = _TAIL
            return False
        if mark == b"{" and self._has_comma:
            self._at, self._seen, self._depth, self._is_quoted = _ITEM, place, 0, False
            return True
        if mark:
            raise self._malformed(f"{self._name}.{self._count} is no object")
        return False

    def _finish(self) -> bytes | None:
        """The item, where it ends in what is held."""
        held, place, depth = self._held, self._seen, self._depth
        is_quoted = self._is_quoted
        while True:
            if is_quoted:
                place = _end_of(_IN_STRING, held, place)
                if held[place : place + 1] != b'"':
                    break
                place += 1
            mark = _MARK.search(held, place)
            is_quoted = mark is not None and mark[0] == b'"'
            place = len(held) if mark is None else mark.end()
            if mark is None:
                break
            if not is_quoted:
                depth += 1 if mark[0] in b"{[" else -1
                if depth == 0:
                    return self._taken(place)
        self._seen, self._depth, self._is_quoted = place, depth, is_quoted
        self._judge(len(held) - self._begun_at)
        return None

    def _taken(self, end: int) -> bytes:
        self._judge(end - self._begun_at)
        item = self._held[self._begun_at : end]
        self._begun_at = end
        self._count += 1
        self._has_comma = False
        self._at = _BETWEEN
        return item

    def _judge(self, size_bytes: int) -> None:
        if size_bytes > self._item_max_bytes:
            raise BadRequest(
                f"{self._name}.{self._count} is larger than {self._item_max_bytes} bytes",
                status=413,
                code="request_too_large",
            )

    def _close(self) -> None:
        rest = self._held[self._begun_at :].strip()
        if rest not in (b"", b"}"):
            raise self._malformed(f'something stands behind the array; "{self._name}" is all')
        self._held, self._begun_at = rest, 0

    def _malformed(self, why: str) -> BadRequest:
        return BadRequest(f'expected {{"{self._name}": [...]}}: {why}')


def _end_of(pattern: re.Pattern[bytes], held: bytes, place: int) -> int:
    """Where what `pattern` takes from `place` on ends; it may be nothing."""
    found = pattern.match(held, place)
    return place if found is None else found.end()
