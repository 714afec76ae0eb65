"""Forms with files, as clients upload them."""

from __future__ import annotations

import doctest

from headgate.faultserver import multipart
from headgate.faultserver.multipart import Part, parts_of


def form(*pieces: bytes) -> bytes:
    return b"".join(b"--x\r\n" + piece + b"\r\n" for piece in pieces) + b"--x--\r\n"


PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'
FILE = (
    b'content-disposition: form-data; name="file"; filename="in.jsonl"\r\n'
    b"content-type: application/octet-stream\r\n\r\na\r\n--y\r\n\r\nb"
)


def test_the_example_runs() -> None:
    failed, tried = doctest.testmod(multipart)
    assert (failed, tried > 1) == (0, True)


def test_fields_and_files_are_found_with_their_bytes() -> None:
    parts = parts_of('multipart/form-data; boundary="x"', form(PURPOSE, FILE, PURPOSE))
    assert parts["purpose"] == Part("purpose", "", b"batch")
    assert parts["file"] == Part("file", "in.jsonl", b"a\r\n--y\r\n\r\nb")


def test_what_is_no_form_has_no_fields() -> None:
    assert parts_of("application/json", b"{}") == {}
    assert parts_of("multipart/form-data", form(PURPOSE)) == {}
    assert parts_of("multipart/form-data; boundary=x", b"nothing") == {}
    assert parts_of("multipart/form-data; boundary=x", form(b"no-name: 1\r\n\r\na")) == {}
