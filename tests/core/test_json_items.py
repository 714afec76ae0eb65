"""Items of a long array, cut out as they arrive: those that a parser of all of it would find."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.json_items import HEAD_MAX_BYTES, Items
from headgate.errors import BadRequest

VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(['"]}', "\\", "{[", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def items_in(document: bytes, size: int, most_bytes: int = 10_000) -> list[bytes]:
    items = Items("requests", most_bytes)
    found = []
    for place in range(0, len(document), size):
        found += items.feed(document[place : place + size])
    items.end()
    return found


@given(
    st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6),
    st.integers(1, 60),
    st.sampled_from([None, 1]),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_the_items_are_those_of_the_document_in_any_pieces(
    objects: list[dict[str, Any]], size: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps({"requests": objects}, indent=indent, ensure_ascii=ascii_only)
    document = text.encode("utf-8", "surrogatepass")
    assert [json.loads(item) for item in items_in(document, size)] == objects


def test_white_space_stands_anywhere() -> None:
    document = b' \n{ "requests" :\t[ {"a": 1 } ,\r\n {} ] } \n'
    assert items_in(document, 1) == items_in(document, 100) == [b'{"a": 1 }', b"{}"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b'{"requests": {}}',
        b'{"requests": [',
        b'{"requests": []',
        b'{"requests": [{}',
        b'{"requests": [{"a": "',
        b'{"requests": [{},]}',
        b'{"requests": [,{}]}',
        b'{"requests": [{} {}]}',
        b'{"requests": [1]}',
        b'{"requests": [[{}]]}',
        b'{"requests": ["{}"]}',
        b'{"requests": [{}], "more": 1}',
        b'{"requests": [{}]}{}',
        b'{"requests": [{}]]',
        b'{"more": 1, "requests": []}',
        b'"requests": []',
        b" " * (HEAD_MAX_BYTES + 1),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_anything_else_is_refused(document: bytes, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        items_in(document, size)
    assert caught.value.status_hint == 400


@pytest.mark.parametrize("size", [1, 64, 10_000])
def test_an_item_has_a_limit_whether_it_is_whole_or_never_ends(size: int) -> None:
    largest = b'{"a":"%s"}' % (b"x" * 92)
    assert items_in(b'{"requests":[%s,%s]}' % (largest, largest), size, 100) == [largest, largest]
    for document in (
        b'{"requests":[{},{"a":"%s"}]}' % (b"x" * 93),
        b'{"requests":[{},{"a":"%s' % (b"x" * 1000),
        b'{"requests":[{},{"a":' + b"[" * 1000,
    ):
        with pytest.raises(BadRequest, match=r"requests\.1 ") as caught:
            items_in(document, size, 100)
        assert caught.value.status_hint == 413


def test_what_is_held_is_one_item_and_one_piece() -> None:
    items = Items("requests", 1000)
    items.feed(b'{"requests":[')
    for _ in range(1000):
        assert len(items.feed(b'{"a":"%s"},' % (b"x" * 500))) == 1
        assert len(items._held) < 2000
