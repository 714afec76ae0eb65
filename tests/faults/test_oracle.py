"""The oracle itself: it is content with a healthy gateway, and each of its points can fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import billing
import borrowed
import neighbours
import oracle
import pytest
from billing import Books
from lab import KEY, OTHER_KEY, PATHS, Lab, fields_for
from msgspec.structs import replace
from neighbours import Asked
from oracle import Heard, bounded_memory
from rawclient import CHAT, MESSAGES
from several import several
from stores.ledgers import written

from headgate.core.booking import ANSWER, AVOIDED_EXACT, RETRY
from headgate.core.concurrency import ShedSettings
from headgate.core.money import Tokens
from headgate.testing import CutAt, Exchange, FakeClock, Mark, tenant_of
from headgate.types import Entry

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize("path", PATHS)
def test_a_healthy_gateway_passes(lab: Lab, path: str) -> None:
    for key in (KEY, OTHER_KEY):
        for stream in (False, True, False):
            reply = lab.ask(path, key=key, stream=stream)
            assert (reply.status, reply.is_whole) == (200, True)
    assert lab.stored() == 2


def test_the_sdks_are_listened_to(lab: Lab) -> None:
    fields: Any = fields_for(CHAT)
    lab.openai().chat.completions.create(**fields)
    list(lab.openai().chat.completions.create(**fields, stream=True))
    lab.anthropic(OTHER_KEY).messages.create(**fields_for(MESSAGES))
    assert [bool(oracle.marks_in(bytes(heard.reply))) for heard in lab.heard] == [True] * 3


def heard(reply: bytes, key: str = KEY, asked: Any = None) -> Heard:
    one = Heard(tenant_of(key), asked)
    one.reply += reply
    return one


@pytest.mark.parametrize(
    "reply",
    [
        HEAD + b"data: {}\n\n",
        HEAD + b"data: [DONE]\n\ndata: [DONE]\n\n",
        HEAD + b"data: [DONE]\n\n" + HEAD + b"data: [DONE]\n\n",
    ],
)
def test_a_reply_that_just_stops_or_ends_twice_is_found(reply: bytes) -> None:
    with pytest.raises(AssertionError):
        oracle.one_outcome(heard(reply))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"data: [DONE]\n\n",
        HEAD + b'data: {"error": {}}\n\n',
        HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n") + b"5\r\ndata:\r\n",
    ],
)
def test_an_end_of_any_kind_is_an_outcome(reply: bytes) -> None:
    oracle.one_outcome(heard(reply))


def exchange(serial: int, body: Any, **more: Any) -> Exchange:
    return Exchange(
        serial, 1, 0.0, "POST", CHAT, {}, b"", body, operation="chat", model="m", **more
    )


def test_the_answer_to_another_tenant_or_question_is_found() -> None:
    asked, other = {"model": "m"}, {"model": "n"}
    calls = {1: exchange(1, asked)}
    reply = f'{{"id": "{Mark(tenant_of(KEY), 1)}"}}'.encode()
    oracle.no_foreign_bytes(heard(reply, KEY, asked), calls)
    with pytest.raises(AssertionError, match="went to"):
        oracle.no_foreign_bytes(heard(reply, OTHER_KEY, asked), calls)
    with pytest.raises(AssertionError, match="another question"):
        oracle.no_foreign_bytes(heard(reply, KEY, other), calls)


def entry(content: bytes) -> Entry:
    return Entry(b"k" * 32, b"s" * 32, "m", "chat", 0.0, 1e12, content)


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"choices": [{"finish_reason": null}]}'])
def test_an_entry_that_is_no_whole_answer_is_found(lab: Lab, content: bytes) -> None:
    lab.gate.runtime.tiers.put(entry(content))
    with pytest.raises(AssertionError, match="stored although"):
        oracle.only_verified_entries(lab.gate.runtime, {})
    lab.gate.runtime.clear()


def test_an_entry_from_a_call_that_was_cut_is_found(lab: Lab) -> None:
    lab.ask()
    (call,) = lab.server.wait_for_ended(1)
    oracle.only_verified_entries(lab.gate.runtime, {1: call})
    call.ended = "cut"
    with pytest.raises(AssertionError, match="ended as 'cut'"):
        oracle.only_verified_entries(lab.gate.runtime, {1: call})
    call.ended, call.body_bytes = "complete", call.body_bytes - 1
    with pytest.raises(AssertionError, match="stored in part"):
        oracle.only_verified_entries(lab.gate.runtime, {1: call})


def test_too_many_attempts_are_found() -> None:
    asked = {"model": "m"}
    calls = [exchange(serial, asked) for serial in range(oracle.ATTEMPTS_MAX)]
    oracle.attempts_within_budget([heard(b"", KEY, asked)], calls)
    with pytest.raises(AssertionError, match="4 attempts"):
        oracle.attempts_within_budget([heard(b"", KEY, asked)], [*calls, exchange(9, asked)])


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("asyncio", level, "", 0, message, (), None)


def test_a_line_that_should_not_be_logged_is_found() -> None:
    oracle.nothing_was_logged([record(logging.WARNING, "slow")])
    for wrong in (
        record(logging.ERROR, "failed"),
        record(logging.WARNING, "Task exception was never retrieved"),
    ):
        with pytest.raises(AssertionError):
            oracle.nothing_was_logged([wrong])


def test_a_credential_anywhere_is_found() -> None:
    oracle.no_credential(["fine"], [KEY, ""])
    with pytest.raises(AssertionError):
        oracle.no_credential([f"refused: {KEY}"], [KEY])


def test_memory_beyond_its_bound_is_found_even_if_it_was_given_back() -> None:
    with bounded_memory(lambda: 60_000_000):
        assert len(bytearray(20_000_000)) == 20_000_000
    with (
        pytest.raises(AssertionError, match="memory grew by"),
        bounded_memory(lambda: 20_000_000),
    ):
        assert len(b"x" * 80_000_000) == 80_000_000


def test_a_call_that_never_ends_upstream_is_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "SETTLE_S", 0.05)
    lab.server.script(CutAt(0, by="stall"))
    with lab.leaving():
        lab.server.wait_for_calls(1)
        with pytest.raises(AssertionError, match="under way"):
            oracle.answered_upstream(lab.server)
    monkeypatch.undo()


def test_an_open_file_is_counted(tmp_path: Any) -> None:
    before = oracle.open_files()
    with (tmp_path / "x").open("w"):
        assert list(oracle.open_files() - before) == [str(tmp_path / "x")]
    oracle.files_are_closed(before)


# Point 2: books that were kept in a laboratory, and then forged.


def kept_in(lab: Lab) -> Books:
    """Of two answers, one of which was read from the cache once more."""
    for about in ("France", "France", "Peru"):
        assert lab.ask(about=about).status == 200
    sums = [billing.settled(lab.gate.runtime)]
    return Books(written(lab.ledger_path), sums)


def judged(lab: Lab, books: Books, attempts: int = 2) -> None:
    calls = lab.server.calls
    billing.ledger_is_the_bill(books, calls, calls, attempts)


def forged(books: Books, number: int, **changes: Any) -> Books:
    """One row is another one."""
    rows = list(books.rows)
    rows[number] = replace(rows[number], row=replace(rows[number].row, **changes))
    return books._replace(rows=rows)


def test_books_that_were_kept_well_are_the_bill(lab: Lab) -> None:
    books = kept_in(lab)
    judged(lab, books)
    assert sorted(booked.row.kind for booked in books.rows) == [ANSWER, ANSWER, AVOIDED_EXACT]


def test_a_row_that_is_booked_twice_is_found(lab: Lab) -> None:
    books = kept_in(lab)
    again = next(booked for booked in books.rows if booked.row.kind == ANSWER)
    with pytest.raises(AssertionError, match="and not billed"):
        judged(lab, books._replace(rows=[*books.rows, again]))
    estimated = replace(again, call="other", row=replace(again.row, is_estimated=True))
    with pytest.raises(AssertionError, match="3 rows are billed for 2 attempts"):
        judged(lab, books._replace(rows=[*books.rows, estimated]))


def test_a_request_that_is_not_booked_is_found(lab: Lab) -> None:
    books = kept_in(lab)
    rows = [booked for booked in books.rows if booked.row.kind != ANSWER]
    with pytest.raises(AssertionError, match="of 2 requests to 'm' 0 are booked"):
        judged(lab, books._replace(rows=rows))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"tokens": Tokens(input=999)}, "and not billed"),
        ({"tokens": Tokens(), "is_estimated": True}, "as nothing"),
        ({"is_estimated": True}, "not booked as such"),
        ({"kind": AVOIDED_EXACT}, "requests to 'm' 1 are booked"),
        ({"target": "openai/other"}, "'other'|requests to 'm'"),
    ],
)
def test_a_row_that_says_something_else_than_the_bill_is_found(
    lab: Lab, changes: Any, what: str
) -> None:
    books = kept_in(lab)
    number = next(at for at, booked in enumerate(books.rows) if booked.row.kind == ANSWER)
    with pytest.raises(AssertionError, match=what):
        judged(lab, forged(books, number, **changes))


def test_a_call_that_is_served_twice_is_found(lab: Lab) -> None:
    books = kept_in(lab)
    answer = next(booked for booked in books.rows if booked.row.kind == ANSWER)
    spared = replace(answer, row=replace(answer.row, kind=AVOIDED_EXACT))
    with pytest.raises(AssertionError, match="was served 2 times"):
        judged(lab, books._replace(rows=[*books.rows, spared]))


def test_sums_that_are_not_those_of_the_rows_are_found(lab: Lab) -> None:
    books = kept_in(lab)
    for name, what in (("avoided", "do not add up"), ("served", "do not add up")):
        wrong = [{**cost, f"{name}_tokens": cost[f"{name}_tokens"] + 1} for cost in books.sums]
        with pytest.raises(AssertionError, match=what):
            judged(lab, books._replace(sums=wrong))
    number = next(at for at, booked in enumerate(books.rows) if booked.row.kind == ANSWER)
    with pytest.raises(AssertionError, match="on disk"):
        judged(lab, forged(books, number, kind=RETRY))


def test_the_answers_that_were_heard_are_those_that_were_read_to_their_end(lab: Lab) -> None:
    lab.ask()
    lab.ask(about="Peru", stream=True)
    lab.server.script(CutAt(300))
    lab.ask(about="Chad", stream=True)
    with lab.leaving(about="Mali") as client:
        client.rest()
    assert billing.answers_in(lab.heard) == {1, 2}


# Point 5: what is lent while a call is under way.


def test_whatever_a_call_has_borrowed_is_found_until_it_is_over(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "SETTLE_S", 0.05)
    lab.server.hold()
    with lab.leaving() as client:
        lab.server.wait_for_calls(1)
        assert borrowed.lent(lab.gate) == {
            "calls behind the door": 1, "permits": 1, "places": 1, "reservations": 1, "flights": 1,
        }  # fmt: skip
        with pytest.raises(AssertionError, match="permits"):
            borrowed.everything_is_back(lab.gate)
        monkeypatch.undo()
        lab.server.release()
        client.rest()
    borrowed.everything_is_back(lab.gate)


def test_a_probe_that_has_not_come_back_is_found(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(lambda server: several(server, 1))
    lab.ask()
    guards, now_s = lab.gate.runtime.guards, lab.gate.runtime.clock.monotonic()
    ((_, breaker),) = guards.deployments.items()
    breaker.force("open", now_s)
    breaker.force("half_open", now_s)
    breaker.admit(now_s)
    assert borrowed.lent(lab.gate) == {"probes": 1}
    breaker.reset(now_s)


# Point 8: neighbours that wait for a fault, or meet it.


def test_a_neighbour_that_waits_as_long_as_the_fault_lasts_is_found(
    open_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = open_lab(lambda server: several(server, 1), beside=True)
    monkeypatch.setattr(oracle, "SETTLE_S", 0.2)
    with pytest.raises(AssertionError, match="a healthy provider answers"):
        hold_up(lab)
    monkeypatch.undo()


def hold_up(lab: Lab) -> None:
    """As if whoever asks the healthy provider had to wait for the end of the fault."""
    with lab.healthy_meanwhile() as enough:
        lab.servers[1].hold()
        try:
            enough()
        finally:
            lab.servers[1].release()


def test_neighbours_that_are_turned_away_are_found(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(lambda server: several(server, 1), beside=True)
    with pytest.raises(AssertionError, match="503"):
        turn_away(lab)


def turn_away(lab: Lab) -> None:
    """As if the fault of one provider were everybody's."""
    with lab.healthy_meanwhile() as enough:
        lab.gate.door.adjust(ShedSettings(memory_max_bytes=1))
        oracle.until(lambda: lab.gate.door.shed > 0, "somebody is turned away")
        enough()


def test_neighbours_that_fail_or_take_longer_are_found() -> None:
    usual, slow = [Asked(200, 0.2)] * 20, [Asked(200, 0.5)] * 20
    neighbours.undisturbed(usual, usual)
    neighbours.undisturbed(usual, [Asked(200, 0.3)] * 20)
    neighbours.undisturbed(usual, [*usual, *slow[:9]])
    with pytest.raises(AssertionError, match=r"0\.500 s instead of 0\.200 s"):
        neighbours.undisturbed(usual, slow)
    with pytest.raises(AssertionError):
        neighbours.undisturbed(usual, [*usual, Asked(503, 0.001)])
    quick = [Asked(200, 0.002)] * 20
    neighbours.undisturbed(quick, [Asked(200, neighbours.FLOOR_S)] * 20)
    with pytest.raises(AssertionError):
        neighbours.undisturbed(quick, [Asked(200, neighbours.FLOOR_S + 0.01)] * 20)


# Point 9: a provider that is found too late, or lost again.


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        (lambda since_s: since_s >= 1.0, "first answered after"),
        (lambda since_s: False, "first answered after"),
        (lambda since_s: not 10.5 < since_s < 12, "refused after"),
    ],
)
def test_a_provider_that_is_found_late_or_lost_again_is_found(
    open_lab: Callable[..., Lab], answers: Callable[[float], bool], what: str
) -> None:
    clock = FakeClock()
    lab = open_lab(lambda server: several(server, 1), clock=clock)
    lab.ask()
    ((_, breaker),) = lab.gate.runtime.guards.deployments.items()
    breaker.force("open", clock.monotonic())
    open_until_s = clock.monotonic() + neighbours.wait_s(lab.gate)

    def is_answered(number: int) -> bool:
        return answers(clock.monotonic() - open_until_s)

    with pytest.raises(AssertionError, match=what):
        neighbours.recovers(lab.gate, clock, is_answered, window_s=10.0)


def test_a_provider_that_is_found_in_time_and_stays_so_is_content(
    open_lab: Callable[..., Lab],
) -> None:
    clock = FakeClock()
    lab = open_lab(lambda server: several(server, 1), clock=clock)
    first_s, open_s = neighbours.recovers(lab.gate, clock, lambda number: number != 5, 10.0)
    assert (first_s, open_s) == (0.0, 0.0)
