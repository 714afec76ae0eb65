"""Stored streams sent again: which bytes, in which pieces, at which pace."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.stream import PIECE_BYTES, Recorded, pieces

EVENT = b"data: " + b"x" * 93 + b"\n\n"


async def read(body: Recorded) -> list[bytes]:
    return [piece async for piece in body]


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_pieces_are_the_content_again(parts: list[bytes]) -> None:
    content = b"\n\n".join(parts)
    assert b"".join(pieces(content)) == content


def test_pieces_end_between_events_and_are_bounded() -> None:
    made = list(pieces(EVENT * 5_000))
    assert len(made) > 5
    assert all(piece.endswith(b"\n\n") and len(piece) <= PIECE_BYTES for piece in made)
    assert all(len(a) + len(EVENT) > PIECE_BYTES for a, _ in pairwise(made))


def test_an_event_larger_than_a_piece_is_not_cut() -> None:
    large = b"data: " + b"y" * (PIECE_BYTES * 2) + b"\n\n"
    assert list(pieces(EVENT + large + EVENT)) == [EVENT, large, EVENT]


def test_content_without_a_border_is_one_piece() -> None:
    assert list(pieces(b"z" * (PIECE_BYTES * 3))) == [b"z" * (PIECE_BYTES * 3)]
    assert list(pieces(b"")) == []


def test_a_replay_leaves_out_what_it_is_told_to() -> None:
    content = b"data: a\n\ndata: u\n\ndata: b\n\n"
    assert asyncio.run(read(Recorded(content, (0, 0)))) == [content]
    assert asyncio.run(read(Recorded(content, (9, 18)))) == [b"data: a\n\ndata: b\n\n"]


def test_a_paced_replay_is_one_event_at_a_time() -> None:
    events = [b"data: a\n\n", b": ping\n\n", b"data: b\n\n"]
    assert asyncio.run(read(Recorded(b"".join(events), (0, 0), pause_s=0.001))) == events


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
def test_a_closed_replay_says_no_more(pause_s: float) -> None:
    async def act() -> list[bytes]:
        body = Recorded(EVENT * 3, (0, 0), pause_s)
        await body.aclose()
        await body.aclose()
        return await read(body)

    assert asyncio.run(act()) == []
