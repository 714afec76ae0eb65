"""A form with a file in it (RFC 7578), read piece by piece: never more than a piece is held. Pure.

Whatever two readers could understand differently is refused: a boundary that is none, a part that
nobody closes, a field that comes twice.
"""

from __future__ import annotations

import re

from headgate.errors import BadRequest

PARTS_MAX = 16
PART_HEAD_MAX_BYTES = 4_096
FIELD_MAX_BYTES = 4_096
"""Of a part that is no file."""
FILE_NAME_CHARS_MAX = 256

_TYPE = re.compile(
    rb'multipart/form-data *; *boundary=("?)'
    rb"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\1(?: *; *charset=[\w-]+)? *",
    re.IGNORECASE,
)
_DISPOSITION = re.compile(rb"content-disposition *: *form-data *(;[^\r\n]*)", re.IGNORECASE)
_PARAMETER = re.compile(rb'; *([a-z*]+) *= *(?:"((?:[^"\\]|\\.)*)"|([^";, ]+)) *', re.IGNORECASE)
_ENCODING = re.compile(rb"content-transfer-encoding *: *(.*)", re.IGNORECASE)
_PLAIN = frozenset({b"7bit", b"8bit", b"binary"})

_START, _EDGE, _HEAD, _CONTENT, _AFTER = range(5)


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a Content-Type names. Raises BadRequest (415) for another type."""
    found = _TYPE.fullmatch(content_type)
    if found is None:
        raise BadRequest(
            "send the file as multipart/form-data with a boundary of at most 70 characters",
            status=415,
            code="unsupported_media_type",
        )
    return found[2]


class Form:
    """A form with one file, in the part named `file`; every other part is a short field.

    Feed it what arrives; `fields` and `file_name` are known as far as it has come.
    """

    def __init__(self, boundary: bytes, file_max_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        """None as long as the part of the file has not begun."""
        self._delimiter = b"\r\n--" + boundary
        self._file_max_bytes = file_max_bytes
        self._file_bytes = 0
        # The first delimiter has no line before it; here it gets one.
        self._held = b"\r\n"
        self._came = b""
        self._parts = 0
        self._name = ""
        self._value = b""
        self._at = _START
        self._steps = (self._start, self._edge, self._head, self._content, self._after)

    def feed(self, piece: bytes) -> bytes:
        """What has come of the file with `piece`. Raises BadRequest for what is no such form, 413
        for a file over the limit."""
        self._held += piece
        self._came = b""
        while self._steps[self._at]():
            pass
        return self._came

    def end(self) -> None:
        """Nothing more comes. Raises BadRequest where something is missing."""
        if self._at != _AFTER:
            raise _malformed("it ends before its closing boundary")
        if self.file_name is None:
            raise BadRequest('the form has no part named "file"', code="missing_file")

    # Each step takes something of what is held, and says whether the next one has a chance.

    def _start(self) -> bool:
        if not self._held.startswith(self._delimiter[: len(self._held)]):
            raise _malformed("it does not begin with its boundary")
        if len(self._held) < len(self._delimiter):
            return False
        self._held = self._held[len(self._delimiter) :]
        self._at = _EDGE
        return True

    def _edge(self) -> bool:
        """Behind a boundary: the end of all, or the end of a line."""
        if self._held.startswith(b"--"):
            self._at = _AFTER
            return True
        line, end, rest = self._held.partition(b"\r\n")
        if line.strip(b" \t") not in (b"", b"-", b"\r") or len(line) > PART_HEAD_MAX_BYTES:
            raise _malformed("something stands behind a boundary")
        if not end:
            return False
        if line.strip(b" \t"):
            raise _malformed("something stands behind a boundary")
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise _malformed(f"it has more than {PARTS_MAX} parts")
        self._held = rest
        self._at = _HEAD
        return True

    def _head(self) -> bool:
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if len(head) > PART_HEAD_MAX_BYTES:
            raise _malformed(f"the head of a part is larger than {PART_HEAD_MAX_BYTES} bytes")
        if not end:
            return False
        self._begin(head)
        self._held = rest
        self._at = _CONTENT
        return True

    def _begin(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        found = [match for line in lines if (match := _DISPOSITION.fullmatch(line))]
        if len(found) != 1:
            raise _malformed("a part does not say once that it is form-data")
        if any((it := _ENCODING.fullmatch(line)) and it[1].lower() not in _PLAIN for line in lines):
            raise _malformed("a part is encoded; send its bytes as they are")
        named = _parameters(found[0][1])
        self._name = named.get("name", "")
        self._value = b""
        if not self._name or self._name in self.fields:
            raise _malformed(f"the part {self._name[:80]!r} comes twice, or has no name")
        if self._name == "file":
            if self.file_name is not None:
                raise _malformed("it has two parts named 'file'; send one file")
            self.file_name = _shown(named.get("filename", "")) or "upload"

    def _content(self) -> bool:
        content, end, rest = self._held.partition(self._delimiter)
        if not end:
            # A boundary may have begun at the end of what is there.
            keep = len(self._delimiter) - 1
            content, rest = self._held[:-keep], self._held[-keep:]
        self._held = rest
        if self._name == "file":
            self._file_bytes += len(content)
            self._came += content
            if self._file_bytes > self._file_max_bytes:
                raise too_large(self._file_max_bytes)
        else:
            self._take_value(content, is_whole=bool(end))
        self._at = _EDGE if end else _CONTENT
        return bool(end)

    def _take_value(self, content: bytes, *, is_whole: bool) -> None:
        self._value += content
        if len(self._value) > FIELD_MAX_BYTES:
            raise _malformed(
                f"the field {self._name[:80]!r} is larger than {FIELD_MAX_BYTES} bytes"
            )
        if is_whole:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _after(self) -> bool:
        """What stands behind the end is none of ours (RFC 2046 section 5.1.1)."""
        self._held = b""
        return False


def too_large(file_max_bytes: int) -> BadRequest:
    """A file over the limit."""
    return BadRequest(
        f"the file is larger than {file_max_bytes} bytes (batch.jobs.file_max_bytes)",
        status=413,
        code="file_too_large",
    )


def _parameters(raw: bytes) -> dict[str, str]:
    """`; name="a"; filename="b"` as a table. Raises BadRequest for what is not of this form."""
    named: dict[str, str] = {}
    place = 0
    while place < len(raw.rstrip()):
        found = _PARAMETER.match(raw, place)
        if found is None or (name := found[1].decode().lower()) in named:
            raise _malformed("the disposition of a part makes no sense")
        quoted = found[2]
        value = found[3] if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
        named[name] = value.decode("utf-8", "replace")
        place = found.end()
    return named


def _shown(name: str) -> str:
    """A file's name without its folders, and without what would not be shown as it is."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(char if char.isprintable() else "?" for char in last)[:FILE_NAME_CHARS_MAX]


def _malformed(why: str) -> BadRequest:
    return BadRequest(f"the form cannot be read: {why}", code="malformed_form")
