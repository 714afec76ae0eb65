"""Names into addresses, when the name service answers, fails, or says nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headgate.providers.wire_names import THREADS, LookupTooSlow, Names

HERE = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


@contextmanager
def silent() -> Iterator[Any]:
    """A look-up that takes until the end of the block."""
    ended = threading.Event()

    def lookup(*_: object) -> Any:
        ended.wait(60)
        return HERE

    try:
        yield lookup
    finally:
        ended.set()


def hosts(names: Names, *asked: str) -> list[Any]:
    """The first address for each name, or what was raised."""

    async def run() -> list[Any]:
        found = [names.resolve(name, 80) for name in asked]
        try:
            return await asyncio.gather(*found, return_exceptions=True)
        finally:
            await names.close()

    results = asyncio.run(run())
    return [each if isinstance(each, Exception) else each[0]["host"] for each in results]


def test_a_name_is_an_address_of_this_machine() -> None:
    (found,) = asyncio.run(Names().resolve("127.0.0.1", 80, socket.AF_INET))
    assert (found["host"], found["port"], found["family"]) == ("127.0.0.1", 80, socket.AF_INET)
    assert hosts(Names(), "localhost")[0] in ("127.0.0.1", "::1")


def test_a_name_that_nobody_knows_is_an_error() -> None:
    def unknown(*_: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    (error,) = hosts(Names(unknown), "x.invalid")
    assert isinstance(error, socket.gaierror)
    assert not isinstance(error, LookupTooSlow)


def test_a_silent_name_service_is_given_up_and_takes_few_threads() -> None:
    with silent() as lookup:
        before = set(threading.enumerate())
        errors = hosts(Names(lookup, limit_s=0.05), *[f"{n}.invalid" for n in range(50)])
        begun = {*threading.enumerate()} - before
        assert 0 < sum(thread.name.startswith("headgate-names") for thread in begun) <= THREADS
    assert {type(error) for error in errors} == {LookupTooSlow}
    assert {error.strerror for error in errors} == {"not resolved within 0.05 s"}


def test_the_last_good_answer_serves_while_there_is_no_other() -> None:
    answers: list[Any] = [HERE, socket.gaierror(socket.EAI_AGAIN, "down"), HERE[:0]]

    def lookup(*_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run() -> list[int]:
        names = Names(lookup)
        return [len(await names.resolve("a.invalid", 80)) for _ in range(3)]

    assert asyncio.run(run()) == [1, 1, 0]
