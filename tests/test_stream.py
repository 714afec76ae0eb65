"""Bodies: read once, closed any number of times, and their end told exactly once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tries import run

from headgate.errors import UpstreamTimeout
from headgate.stream import Chunks, Tap, Until, Value, Whole, entry_value
from headgate.types import Body, Entry


async def read(body: Body) -> list[bytes]:
    return [chunk async for chunk in body]


async def pieces(*chunks: bytes | Exception) -> AsyncIterator[bytes]:
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


def test_a_whole_answer_is_one_chunk_and_is_read_once() -> None:
    body = Whole(b"answer")
    assert asyncio.run(read(body)) == [b"answer"]
    assert asyncio.run(read(body)) == []
    assert body.content == b"answer"


def test_a_body_with_a_deadline_hands_on_what_is_there_and_ends_with_an_error() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(60)

    closes = []

    async def close() -> None:
        closes.append(1)

    async def scene() -> bytes:
        body = Until(Chunks(endless(), close), asyncio.get_running_loop().time() + 5, 5.0)
        first = await anext(body)
        with pytest.raises(UpstreamTimeout, match="deadline of 5 s"):
            await anext(body)
        await body.aclose()
        return first

    assert run(scene()) == (b"a", 5)
    assert closes == [1]


def test_an_empty_answer_has_no_chunk() -> None:
    assert asyncio.run(read(Whole(b""))) == []


def test_a_closed_whole_answer_has_nothing_more_to_read() -> None:
    async def scene() -> list[bytes]:
        body = Whole(b"answer")
        await body.aclose()
        await body.aclose()
        return await read(body)

    assert asyncio.run(scene()) == []


def test_chunks_pass_in_order_and_their_source_is_let_go_once() -> None:
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    async def scene() -> list[bytes]:
        body = Chunks(pieces(b"a", b"b"), close)
        read_chunks = await read(body)
        await body.aclose()
        await body.aclose()
        return read_chunks

    assert asyncio.run(scene()) == [b"a", b"b"]
    assert closed == [True]


def test_chunks_need_no_source_to_let_go_of() -> None:
    asyncio.run(Chunks(pieces(b"a")).aclose())


JSON: list[Any] = [None, 0, 1.5, True, "", "é", [], {}, {"a": [1, {"b": None}]}]


@pytest.mark.parametrize("result", JSON, ids=repr)
def test_a_json_value_is_kept_as_its_bytes(result: Any) -> None:
    value = Value.of(result)
    assert value.original is result
    assert value.content is not None
    assert not value.loose
    copied = value.copy()
    assert copied == result
    assert type(copied) is type(result)


class Sketch:
    """An object as SDKs return them."""

    def __init__(self) -> None:
        self.words = ["a"]


OBJECTS: list[Any] = [
    ("a", ["b"]),
    {1: 2},
    {"a", "b"},
    b"bytes",
    float("inf"),
    "\ud800",
    {"x": (1,)},
]


@pytest.mark.parametrize("result", OBJECTS, ids=range(len(OBJECTS)))
def test_any_other_value_is_kept_as_a_copy_with_its_types(result: Any) -> None:
    value = Value.of(result)
    assert value.content is None
    assert not value.loose
    assert value.copy() == result
    assert type(value.copy()) is type(result)


def test_every_copy_is_its_own_all_the_way_down() -> None:
    sketch = Sketch()
    value = Value.of(sketch)
    sketch.words.append("changed later")
    first = value.copy()
    first.words.append("changed in a copy")
    assert value.copy().words == ["a"]


class Stubborn:
    """Refuses to be copied with the error it is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __deepcopy__(self, memo: dict[int, Any]) -> Stubborn:
        raise self._error


class Own(Exception):
    """Of the class that is to be copied."""


REFUSALS = [TypeError(), RecursionError(), RuntimeError(), KeyError(), Own()]


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_what_refuses_to_be_copied_is_loose(error: Exception) -> None:
    result = Stubborn(error)
    value = Value.of(result)
    assert value.loose
    assert value.original is result


def test_locks_and_generators_are_loose() -> None:
    assert Value.of(threading.Lock()).loose
    assert Value.of(number for number in range(3)).loose
    assert Value.of(["in a list", threading.Lock()]).loose


def test_a_value_is_no_stream() -> None:
    value = Value.of("x")
    with pytest.raises(TypeError, match="not a stream"):
        asyncio.run(read(value))
    asyncio.run(value.aclose())


@pytest.mark.parametrize("result", [{"a": [1]}, (1, [2])], ids=["JSON", "object"])
def test_the_value_of_an_entry_is_a_fresh_copy(result: Any) -> None:
    value = Value.of(result)
    kind = "object" if value.content is None else "value"
    entry = Entry(b"k", b"s", "m", "function", 0.0, 1.0, value.content or b"", kind,
                  held=value.held)  # fmt: skip
    assert entry_value(entry) == result
    assert entry_value(entry) is not entry_value(entry)


def ended(body: Body) -> tuple[Tap, list[BaseException | None]]:
    """A tap on `body`, and what it will have been told."""
    ends: list[BaseException | None] = []
    return Tap(body, ends.append), ends


def test_a_tap_passes_every_chunk_and_tells_the_end_once() -> None:
    tap, ends = ended(Chunks(pieces(b"a", b"b")))

    async def scene() -> list[bytes]:
        chunks = await read(tap)
        assert ends == [None]
        await tap.aclose()
        return chunks

    assert asyncio.run(scene()) == [b"a", b"b"]
    assert ends == [None]


def test_a_tap_is_quiet_until_the_end() -> None:
    tap, ends = ended(Chunks(pieces(b"a", b"b")))

    async def scene() -> None:
        assert await anext(tap) == b"a"
        assert await anext(tap) == b"b"
        assert ends == []
        with pytest.raises(StopAsyncIteration):
            await anext(tap)

    asyncio.run(scene())
    assert ends == [None]


def test_a_tap_tells_what_broke_the_stream_and_raises_it() -> None:
    error = ConnectionResetError("gone")
    tap, ends = ended(Chunks(pieces(b"a", error)))
    with pytest.raises(ConnectionResetError):
        asyncio.run(read(tap))
    asyncio.run(tap.aclose())
    assert ends == [error]


def test_a_tap_nobody_read_tells_that_its_reader_left() -> None:
    """An async generator that was never started would tell nothing."""
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    tap, ends = ended(Chunks(pieces(b"a"), close))
    asyncio.run(tap.aclose())
    asyncio.run(tap.aclose())
    assert [type(end) for end in ends] == [GeneratorExit]
    assert closed == [True]


def test_a_tap_tells_of_a_reader_cancelled_in_the_middle() -> None:
    async def scene() -> list[BaseException | None]:
        async def endless() -> AsyncIterator[bytes]:
            yield b"a"
            await asyncio.Event().wait()

        tap, ends = ended(Chunks(endless()))
        first = asyncio.Event()

        async def reading() -> None:
            async for _ in tap:
                first.set()

        reader = asyncio.ensure_future(reading())
        await first.wait()
        reader.cancel()
        await asyncio.wait([reader])
        return ends

    assert [type(end) for end in asyncio.run(scene())] == [asyncio.CancelledError]
