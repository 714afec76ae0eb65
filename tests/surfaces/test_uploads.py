"""A body as a thread reads it: in order, no faster than it is wanted, and never past its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from headgate.core.json_items import Items
from headgate.core.multipart import Form
from headgate.errors import BadRequest
from headgate.surfaces.uploads import FileInForm, Pieces, items_in

T = TypeVar("T")
FILE = b'--XX\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
PURPOSE = b'--XX\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n'


def read(
    work: Callable[[Pieces], T], *bodies: bytes, most_bytes: int = 1000, breaks_off: bool = False
) -> tuple[T, int]:
    """What `work` does in a thread with a body of these pieces, and how many were asked for."""
    asked: list[int] = []

    async def receive() -> dict[str, Any]:
        asked.append(1)
        if len(asked) > len(bodies):
            return {"type": "http.disconnect"}
        more = breaks_off or len(asked) < len(bodies)
        return {"type": "http.request", "body": bodies[len(asked) - 1], "more_body": more}

    async def use() -> T:
        return await asyncio.to_thread(work, Pieces(receive, 0, most_bytes))

    return asyncio.run(use()), len(asked)


def test_the_pieces_come_in_order() -> None:
    assert read(list, b"a", b"", b"bc") == ([b"a", b"", b"bc"], 3)
    assert read(list, b"") == ([b""], 1)


def test_nothing_is_asked_for_before_it_is_wanted() -> None:
    assert read(lambda pieces: next(iter(pieces)), b"a", b"b", b"c") == (b"a", 1)


@pytest.mark.parametrize("bodies", [(b"x" * 11,), (b"x" * 10, b"x"), (b"x" * 6, b"x" * 6, b"x")])
def test_a_body_over_the_limit_is_413(bodies: tuple[bytes, ...]) -> None:
    with pytest.raises(BadRequest) as caught:
        read(list, *bodies, most_bytes=10)
    assert (caught.value.status_hint, caught.value.code) == (413, "body_too_large")
    assert read(list, b"x" * 10, most_bytes=10)[0] == [b"x" * 10]


def test_what_announces_more_is_not_asked_for_at_all() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("asked")

    async def use() -> None:
        Pieces(receive, 11, 10)

    with pytest.raises(BadRequest) as caught:
        asyncio.run(use())
    assert caught.value.status_hint == 413


def test_a_body_that_breaks_off_is_none() -> None:
    with pytest.raises(BadRequest) as caught:
        read(list, b"a", breaks_off=True)
    assert caught.value.status_hint == 400


def kept(pieces: Pieces) -> tuple[str, bytes]:
    sent = FileInForm(Form(b"XX", 1000), pieces, "batch")
    return sent.begin(), b"".join(sent.content())


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "body",
    [
        PURPOSE + b"batch\r\n" + FILE + b"content\r\n--XX--",
        FILE + b"content\r\n" + PURPOSE + b"batch\r\n--XX--",
    ],
)
def test_a_file_comes_out_of_its_form(body: bytes, size: int) -> None:
    pieces = [body[place : place + size] for place in range(0, len(body), size)]
    assert read(kept, *pieces)[0] == ("a", b"content")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (PURPOSE + b"vision\r\n" + FILE + b"content\r\n--XX--", "invalid_purpose"),
        (FILE + b"content\r\n" + PURPOSE + b"vision\r\n--XX--", "invalid_purpose"),
        (FILE + b"content\r\n--XX--", "invalid_purpose"),
        (PURPOSE + b"batch\r\n--XX--", "missing_file"),
        (PURPOSE + b"batch\r\n" + FILE + b"content", "malformed_form"),
        (PURPOSE.replace(b"purpose", b"expires_after[anchor]") + b"created_at\r\n" + PURPOSE
         + b"batch\r\n" + FILE + b"content\r\n--XX--", "unsupported_parameter"),
    ],
)  # fmt: skip
def test_a_form_is_judged_as_a_whole(body: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(kept, body)
    assert caught.value.code == code


def test_items_come_out_of_their_array() -> None:
    def items(pieces: Pieces) -> list[bytes]:
        return list(items_in(pieces, Items("requests", 100)))

    assert read(items, b'{"requests": [{"a"', b": 1}, {}", b"]}")[0] == [b'{"a": 1}', b"{}"]
    with pytest.raises(BadRequest):
        read(items, b'{"requests": [{}')
