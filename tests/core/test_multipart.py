"""Forms with a file in them: the same whatever the pieces, and refused where two readers could
understand them differently.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.multipart import (
    FIELD_MAX_BYTES,
    PART_HEAD_MAX_BYTES,
    PARTS_MAX,
    Form,
    boundary_of,
)
from headgate.errors import BadRequest

EDGE = b"XX"
FILE = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
PURPOSE = b'--XX\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
END = b"\r\n--XX--\r\n"


def read(
    pieces: Iterable[bytes], most_bytes: int = 10_000, edge: bytes = EDGE
) -> tuple[Form, bytes]:
    form = Form(edge, most_bytes)
    content = b"".join([form.feed(piece) for piece in pieces])
    form.end()
    return form, content


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[place : place + size] for place in range(0, len(body), size)]


def problem(body: bytes, most_bytes: int = 10_000) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read([body], most_bytes)
    with pytest.raises(BadRequest) as again:
        read(cut(body, 1), most_bytes)
    assert again.value.status_hint == caught.value.status_hint
    return caught.value


def test_what_the_sdks_client_sends_is_read_in_any_pieces() -> None:
    content = b'{"a": 1}\r\n--XX is no boundary\n\r\n-\xff'
    request = httpx2.Request(
        "POST",
        "http://host/",
        data={"purpose": "batch", "expires_after[seconds]": "3600"},
        files={"file": ('in "1".jsonl', io.BytesIO(content), "application/json")},
    )
    body, edge = request.read(), boundary_of(request.headers["content-type"].encode())
    for size in (1, 2, 3, 7, 50, len(body)):
        form, got = read(cut(body, size), edge=edge)
        assert got == content
        assert form.fields == {"purpose": "batch", "expires_after[seconds]": "3600"}
        assert form.file_name == "in %221%22.jsonl"


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=30), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_content_comes_out_as_it_went_in(
    content: bytes, sizes: list[int], file_first: bool
) -> None:
    if b"\r\n--XX" in content:
        return
    parts = [PURPOSE, FILE + content + b"\r\n"]
    body = b"".join(parts[::-1] if file_first else parts) + b"--XX--"
    pieces = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    form, got = read([*pieces, body])
    assert got == content
    assert form.fields == {"purpose": "batch"}


def test_a_name_says_no_folder_and_nothing_invisible() -> None:
    for name, shown in (
        (b"../../etc/passwd", "passwd"),
        (b"C:\\\\x\\\\a.jsonl", "a.jsonl"),
        (b'a\\"b', 'a"b'),
        (b"a\x1b[0m\x00", "a?[0m?"),
        (b"x" * 1000, "x" * 256),
        (b"", "upload"),
        ("ü.jsonl".encode(), "ü.jsonl"),
        (b"\xff", "\ufffd"),
    ):
        form, _ = read([FILE.replace(b"a.jsonl", name) + END])
        assert form.file_name == shown


def test_what_stands_behind_the_end_is_none_of_ours() -> None:
    form, content = read([FILE + b"x" + END, b"\r\nmore", b"--XX\r\n\r\n"])
    assert (form.file_name, content) == ("a.jsonl", b"x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--X",
        b"{}",
        b"--YY\r\n",
        FILE,
        FILE + b"content",
        FILE + b"x\r\n--XX",
        FILE + b"x\r\n--XXjunk\r\n",
        FILE + b"x\r\n--XX-junk--\r\n",
        FILE + b"x\r\n" + FILE + b"y" + END,
        PURPOSE + PURPOSE + FILE + END,
        b"--XX\r\n\r\nx" + END,
        b"--XX\r\ncontent-type: a/b\r\n\r\nx" + END,
        b'--XX\r\ncontent-disposition: form-data; filename="a"\r\n\r\nx' + END,
        b'--XX\r\ncontent-disposition: form-data; name="a"; name="file"\r\n\r\nx' + END,
        b"--XX\r\ncontent-disposition: form-data; name=\"file\"; what\r\n\r\nx" + END,
        b'--XX\r\ncontent-disposition: attachment; name="file"\r\n\r\nx' + END,
        FILE.replace(b"\r\n\r\n", b"\r\ncontent-transfer-encoding: base64\r\n\r\n") + END,
    ],
)  # fmt: skip
def test_what_is_no_such_form_is_refused(body: bytes) -> None:
    assert problem(body).status_hint == 400


def test_a_form_without_a_file_says_so() -> None:
    assert problem(PURPOSE + b"--XX--").code == "missing_file"


def test_everything_is_bounded() -> None:
    assert problem(FILE + b"x" * 101 + END, 100).status_hint == 413
    assert read([FILE + b"x" * 100 + END], 100)[1] == b"x" * 100
    for body in (
        PURPOSE.replace(b"batch", b"x" * (FIELD_MAX_BYTES + 1)) + b"--XX--",
        FILE.replace(b"a.jsonl", b"a" * PART_HEAD_MAX_BYTES) + END,
        b"--XX\r\n" + b"a" * (PART_HEAD_MAX_BYTES + 1),
        b"--XX" + b" " * (PART_HEAD_MAX_BYTES + 1),
        b"".join(PURPOSE.replace(b"purpose", b"p%d" % n) for n in range(PARTS_MAX + 1)),
    ):
        assert problem(body).status_hint == 400


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data;boundary="a b"', b"a b"),
        (b"multipart/form-data; boundary=abc; charset=utf-8", b"abc"),
        (b"multipart/form-data; boundary=" + b"x" * 70, b"x" * 70),
    ],
)
def test_a_content_type_names_its_boundary(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [b"", b"application/json", b"multipart/form-data", b"multipart/form-data; boundary=",
     b"multipart/form-data; boundary=" + b"x" * 71, b"multipart/form-data; boundary=a\r\nb",
     b'multipart/form-data; boundary="a ', b"multipart/mixed; boundary=a",
     b"multipart/form-data; boundary=a; boundary=b"],
)  # fmt: skip
def test_another_content_type_is_415(content_type: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        boundary_of(content_type)
    assert caught.value.status_hint == 415
