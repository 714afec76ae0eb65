"""The reply to a call whose inputs were answered each by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.core.embedding_reply import taken_apart
from headgate.errors import UpstreamGarbled
from headgate.joining.parts import Part, piece_of, whole_of_parts
from headgate.stream import Chunks, Whole
from headgate.types import Call, Provenance, Reply, Target, Usage, WireRequest

CALL = Call("embeddings", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))
FRESH = Provenance(stored=True, attempts=2, target="p/m")
HIT = Provenance(hit=True, age_s=5.0, ttl_s=7.0, target="p/m")
FOLLOWED = Provenance(collapsed=True, attempts=1, target="p/m")
STALE = Provenance(hit=True, ttl_s=-1.0, detail="stale-if-error", target="p/m")


class Told:
    """An account that writes down what was spared."""

    def __init__(self) -> None:
        self.parts: list[Provenance] = []

    def spared(self, part: Reply) -> None:
        self.parts.append(part.provenance)


def answer(number: int, origin: Provenance) -> Reply:
    content = json.dumps({
        "data": [{"index": 0, "embedding": [number]}], "usage": {"total_tokens": number}
    }).encode()  # fmt: skip
    return Reply(200, ((b"x", b"%d" % number),), Whole(content), Usage(number), origin)


def whole(*origins: Provenance, keys: bytes = b"") -> tuple[Reply, list[Provenance]]:
    told = Told()
    replies = [answer(number, origin) for number, origin in enumerate(origins, 1)]
    names = [bytes([key]) for key in keys or range(len(replies))]
    return whole_of_parts(replace(CALL, account=told), names, replies), told.parts


def content(reply: Reply) -> Any:
    assert isinstance(reply.body, Whole)
    return json.loads(reply.body.content)


def test_vectors_stand_in_order_and_tokens_add_up() -> None:
    reply, _ = whole(FRESH, HIT, FRESH)
    assert [item["embedding"] for item in content(reply)["data"]] == [[1], [2], [3]]
    assert content(reply)["usage"] == {"total_tokens": 6}
    assert reply.usage == Usage(6)


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ([HIT, replace(HIT, age_s=9.0, ttl_s=1.0)], replace(HIT, age_s=9.0, ttl_s=1.0)),
        ([FRESH, replace(FRESH, stored=False)], FRESH),
        ([HIT, FRESH, HIT], replace(FRESH, detail="hits-2-of-3")),
        ([FOLLOWED, FRESH], FRESH),
        ([FOLLOWED, FOLLOWED], FOLLOWED),
        ([HIT, FOLLOWED], replace(FOLLOWED, detail="hits-1-of-2")),
        ([HIT, STALE], STALE),
    ],
)
def test_where_a_reply_came_from_is_said_of_all_of_it(
    origins: list[Provenance], expected: Provenance
) -> None:
    assert whole(*origins)[0].provenance == expected


def test_what_nobody_was_paid_for_is_told_once_for_each_input() -> None:
    assert whole(FRESH, HIT, FOLLOWED, STALE)[1] == [HIT, FOLLOWED, STALE]
    assert whole(FRESH, FRESH, keys=b"aa")[1] == [FRESH], "the second is the first once more"


def test_headers_are_those_of_what_was_asked_for() -> None:
    assert whole(HIT, FRESH)[0].headers == ((b"x", b"2"),)
    assert whole(HIT, HIT)[0].headers == ((b"x", b"1"),)


def test_an_answer_without_a_vector_makes_no_whole_and_no_hole() -> None:
    stream = Chunks(iter(()))  # type: ignore[arg-type]
    for body in (Whole(b"{}"), stream):
        with pytest.raises(UpstreamGarbled):
            whole_of_parts(
                CALL, [b"a", b"b"], [answer(1, FRESH), replace(answer(2, HIT), body=body)]
            )


def test_what_is_known_of_a_part_is_not_read_again() -> None:
    (piece,) = taken_apart(b'{"data":[{"index":0,"embedding":[1]}]}', [1])
    known = Reply(200, (), Part(b"unreadable", piece), Usage(1), FRESH)
    assert piece_of(known) is piece
    assert content(whole_of_parts(CALL, [b"a"], [known]))["data"][0]["embedding"] == [1]
