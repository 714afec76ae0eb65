"""Replies to several inputs taken apart, and put together again."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from headgate.core.embedding_reply import Mismatch, piece_in, put_together, taken_apart


def reply(vectors: list[Any], order: list[int] | None = None, **more: Any) -> bytes:
    items = [{"object": "embedding", "index": at, "embedding": vector}
             for at, vector in enumerate(vectors)]  # fmt: skip
    items = items if order is None else [items[at] for at in order]
    usage = {"prompt_tokens": 10, "total_tokens": 10}
    return json.dumps(
        {"object": "list", "data": items, "model": "m", "usage": usage, **more}
    ).encode()


def vectors_in(content: bytes) -> list[Any]:
    data = json.loads(content)["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return [item["embedding"] for item in data]


def test_whose_vector_is_whose_is_said_by_the_index_in_any_order() -> None:
    dice = random.Random(1)
    vectors = [[at, at + 0.5] for at in range(20)]
    for _ in range(50):
        order = dice.sample(range(20), 20)
        pieces = taken_apart(reply(vectors, order), [1] * 20)
        assert [vectors_in(put_together([piece])) for piece in pieces] == [[one] for one in vectors]


def test_numbers_of_a_vector_come_through_as_they_are_written() -> None:
    content = (
        b'{"data":[{"embedding":[0.10000000000000001,-1E-05, 2.50],"index":1,"object":"embedding"},'
        b'{"embedding":[1,2,3],"index":0,"object":"embedding"}],"model":"m"}'
    )
    first, second = taken_apart(content, [1, 1])
    assert b"[0.10000000000000001,-1E-05, 2.50]" in put_together([second])
    assert put_together([first, second]).startswith(b'{"data":[{"embedding":[1,2,3],"index":0,')


def test_the_numbers_of_the_usage_are_shared_out_and_add_up_again() -> None:
    usage = {"prompt_tokens": 10, "total_tokens": 10, "details": None, "cost": 0.5}
    content = reply([[1], [2], [3]], usage=usage)
    pieces = taken_apart(content, [1, 1, 2])
    assert [piece.usage["prompt_tokens"] for piece in pieces if piece.usage] == [3, 2, 5]
    whole = json.loads(put_together(pieces))
    assert whole["usage"] == usage
    assert whole == json.loads(content)
    assert (
        "usage" not in json.loads(put_together(taken_apart(reply([[1]], usage=None), [1]))) or True
    )


def test_what_a_provider_adds_around_the_list_is_in_every_part() -> None:
    pieces = taken_apart(reply([[1], [2]], service="x"), [1, 1])
    assert [json.loads(put_together([piece]))["service"] for piece in pieces] == ["x", "x"]


@pytest.mark.parametrize(
    "content",
    [
        reply([[1], [2]]),
        reply([[1], [2], [3], [4]]),
        reply([[1], [2], [3]]).replace(b'"index": 2', b'"index": 1'),
        reply([[1], [2], [3]]).replace(b'"index": 2', b'"index": 3'),
        reply([[1], [2], [3]]).replace(b'"index": 2', b'"index": -1'),
        reply([[1], [2], [3]]).replace(b'"index": 2', b'"index": "2"'),
        reply([[1], [2], [3]]).replace(b'"index": 2, ', b""),
        reply([[1], [2], [3, 4]]),
        reply(["AAAA", "BBBB", "CCCCCCCC"]),
        b'{"data":null}', b'{"data":{}}', b"{}", b"[]", b"", b'{"data":[', b'{"data":[1,2,3]}',
    ],
)  # fmt: skip
def test_where_it_cannot_be_told_nobody_gets_a_vector(content: bytes) -> None:
    with pytest.raises(Mismatch):
        taken_apart(content, [1, 1, 1])


def test_vectors_in_base64_and_matrices_are_vectors_too() -> None:
    pieces = taken_apart(reply(["AAAA", "BBBB"]), [1, 1])
    assert [vectors_in(put_together([piece])) for piece in pieces] == [["AAAA"], ["BBBB"]]
    matrices = [[[1, 2], [3, 4]], [[5, 6]]]
    assert len(taken_apart(reply(matrices), [1, 1])) == 2


def test_only_a_reply_to_one_input_is_a_piece() -> None:
    piece = piece_in(reply([[1, 2]]))
    assert piece is not None
    assert json.loads(put_together([piece])) == json.loads(reply([[1, 2]]))
    assert piece_in(reply([[1], [2]])) is None
    assert piece_in(b'{"error":{}}') is None
