"""Forms with files, as clients upload them (RFC 7578). Pure."""

from __future__ import annotations

import re

from msgspec import Struct

_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?')
_NAME = re.compile(r'(?:^|[;\s])name="((?:[^"\\]|\\.)*)"')
_FILENAME = re.compile(r'filename="((?:[^"\\]|\\.)*)"')


class Part(Struct, frozen=True):
    """One field; `filename` is "" where it is no file."""

    name: str
    filename: str
    content: bytes


def parts_of(content_type: str, raw: bytes) -> dict[str, Part]:
    """The fields of a form by their name, the first of each; empty for what is no form.

    >>> head = b'--x\\r\\ncontent-disposition: form-data; name="purpose"'
    >>> form = head + b"\\r\\n\\r\\nbatch\\r\\n--x--\\r\\n"
    >>> parts_of("multipart/form-data; boundary=x", form)["purpose"].content
    b'batch'
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None or not content_type.lower().startswith("multipart/form-data"):
        return {}
    found: dict[str, Part] = {}
    mark = b"\r\n--" + boundary[1].encode("latin-1")
    for piece in (b"\r\n" + raw).split(mark)[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        part = _part(head.decode("latin-1"), content)
        if part is not None:
            found.setdefault(part.name, part)
    return found


def _part(head: str, content: bytes) -> Part | None:
    for line in head.split("\r\n"):
        field, _, value = line.partition(":")
        name = _NAME.search(value)
        if field.strip().lower() == "content-disposition" and name is not None:
            file = _FILENAME.search(value)
            return Part(name[1], file[1] if file else "", content)
    return None
