"""JSONL as it arrives, in pieces of any size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import UpstreamTooLarge
from headgate.jobs.apis.lines import lines_in


async def pieces_of(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def read(content: bytes, size: int = 7, most: int = 1000) -> list[bytes]:
    async def run() -> list[bytes]:
        return [line async for line in lines_in(pieces_of(content, size), most)]

    return asyncio.run(run())


def test_empty_lines_and_a_missing_last_end_change_nothing() -> None:
    assert read(b'\n{"a":1}\r\n\n  \n{"b":2}') == [b'{"a":1}', b'{"b":2}']
    assert read(b"") == []


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=20), st.integers(1, 30))
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], size: int) -> None:
    wanted = [line.replace(b"\n", b"x").strip() for line in lines]
    content = b"\n".join(wanted)
    assert read(content, size) == [line for line in wanted if line]


def test_a_line_without_end_is_given_up() -> None:
    assert read(b"x" * 50 + b"\n", 10, 50) == [b"x" * 50]
    with pytest.raises(UpstreamTooLarge):
        read(b"x" * 51, 10, 50)
