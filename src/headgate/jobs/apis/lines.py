"""JSONL as it arrives: lines of a bounded length out of pieces of any size."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headgate.errors import UpstreamTooLarge

LINE_BYTES_MAX = 64_000_000


async def lines_in(
    pieces: AsyncIterator[bytes], line_bytes_max: int = LINE_BYTES_MAX
) -> AsyncIterator[bytes]:
    """The lines, without their ends and without empty ones; the last needs no end. Raises
    UpstreamTooLarge for a longer one."""
    rest = bytearray()
    async for piece in pieces:
        first, *others = piece.split(b"\n")
        rest += first
        for following in others:
            if line := bytes(rest).strip():
                yield line
            rest = bytearray(following)
        if len(rest) > line_bytes_max:
            raise UpstreamTooLarge(f"a result is longer than {line_bytes_max} bytes")
    if line := bytes(rest).strip():
        yield line
