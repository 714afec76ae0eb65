"""The books: copies for readers, waiting with a reason, and the bill."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headgate.faultserver.records import Bill, Exchange, Records, bill_of, summary


def exchange(serial: int, **more: Any) -> Exchange:
    return Exchange(
        serial, 1, 0.0, "POST", "/p", {}, b"", None, operation="chat", model="m", **more
    )


def test_readers_get_copies_that_stand_still() -> None:
    records = Records()
    link, one = records.open(1.0), exchange(1)
    records.add(one)
    seen, links = records.exchanges(), records.links()
    records.note(one, ended="complete")
    records.note(link, ended="complete")
    assert (seen[0].ended, links[0].ended) == ("", "")
    assert (records.exchanges()[0].ended, records.links()[0].ended) == ("complete", "complete")


def test_a_change_wakes_who_waits_for_it() -> None:
    records = Records()
    one = exchange(1)
    records.add(one)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(records.wait_for, 1, lambda e: bool(e.ended), 10, "ended")
        idle = threads.submit(records.wait_idle, 10)
        records.note(one, ended="cut")
        assert [found.ended for found in waiting.result()] == ["cut"]
        idle.result()


def test_only_what_was_waited_for_is_returned() -> None:
    records = Records()
    for serial, ended in enumerate(("", "cut", "", "cut"), 1):
        records.add(exchange(serial, ended=ended))
    found = records.wait_for(2, lambda one: one.ended == "cut", 0, "cuts")
    assert [one.serial for one in found] == [2, 4]


def test_waiting_in_vain_says_what_there_was_instead() -> None:
    records = Records()
    records.add(exchange(1, ended="cut"))
    records.add(exchange(2))
    message = r"1 of 2 ended in 0\.01 s; so far: 1 chat m cut, 2 chat m under way"
    with pytest.raises(TimeoutError, match=message):
        records.wait_for(2, lambda one: bool(one.ended), 0.01, "ended")


def test_an_open_connection_is_not_idle() -> None:
    records = Records()
    link = records.open(1.0)
    with pytest.raises(TimeoutError, match=r"still open after 0\.01 s: .*Link\(number=1"):
        records.wait_idle(0.01)
    records.note(link, ended="complete")
    records.wait_idle(0)


def test_connections_are_waited_for_too() -> None:
    records = Records()
    records.open(1.0)
    assert [link.number for link in records.wait_for_links(1, 0)] == [1]
    with pytest.raises(TimeoutError, match=r"^1 of 2 connections in 0\.01 s$"):
        records.wait_for_links(2, 0.01)


def test_connections_and_requests_are_numbered_from_one() -> None:
    records = Records()
    assert [records.open(0.0).number, records.open(0.0).number] == [1, 2]
    assert records.next_serial() == 1
    records.add(exchange(1))
    assert records.next_serial() == 2


def test_the_bill_leaves_out_what_was_never_taken_on() -> None:
    taken = [exchange(1, tokens_in=5, tokens_out=7), exchange(2, tokens_in=1)]
    assert bill_of([*taken, exchange(3)]) == Bill(2, 6, 7)
    assert bill_of([]) == Bill()


def test_a_summary_of_nothing_says_so() -> None:
    assert summary([]) == "no request"
