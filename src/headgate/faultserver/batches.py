"""One batch of the fault server: what was asked, how it goes, and what its provider charges. It
moves on when it is looked at; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headgate.faultserver.courses import (
    DONE,
    EXPIRED,
    FAILED,
    Asked,
    BatchCharge,
    BatchCourse,
    Line,
    Result,
    has,
    laid_out,
    results_of,
)
from headgate.faultserver.marks import Mark

IN_PROGRESS, CANCELLING, ENDED, INVALID = "in_progress", "cancelling", "ended", "invalid"


class Batch:
    """One of them, in no dialect."""

    def __init__(
        self,
        batch_id: str,
        mark: Mark,
        items: list[Asked],
        course: BatchCourse,
        created_s: int,
    ) -> None:
        self.id = batch_id
        self.tenant = mark.tenant
        self.items = items
        self.course = course
        self.created_s = created_s
        self.details: dict[str, Any] = {}
        """What its dialect keeps of the request: endpoint, metadata, …"""
        self.errors: list[dict[str, Any]] = []
        """What is wrong with its input file."""
        self.looks = 0
        self.cancelled_at: int | None = None
        """The looks there had been when it was cancelled."""
        self._mark = mark

    @property
    def state(self) -> str:
        """One of the four names above."""
        course = self.course
        if self.errors or course.invalid:
            return INVALID
        if self.cancelled_at is not None:
            is_over = self.looks - self.cancelled_at >= course.cancel_looks
            return ENDED if is_over else CANCELLING
        return IN_PROGRESS if course.looks is None or self.looks < course.looks else ENDED

    @property
    def is_vanished(self) -> bool:
        """Whether its provider has forgotten it."""
        after = self.course.vanishes_after
        return after is not None and self.looks >= after

    def look(self) -> None:
        """Somebody has asked how it is."""
        self.looks += 1

    def cancel(self) -> bool:
        """Whether there was something to cancel."""
        state = self.state
        if state == IN_PROGRESS:
            self.cancelled_at = self.looks
        return state in (IN_PROGRESS, CANCELLING)

    def results(self) -> list[Result]:
        """What comes of its items, or has come of them, in the order of the input."""
        if self.errors or self.course.invalid:
            return []
        is_cancelled = self.cancelled_at is not None
        if not is_cancelled and self.course.looks is None and not self.is_vanished:
            return []
        return results_of(self.items, self.course, str(self._mark), is_cancelled=is_cancelled)

    def charges(self) -> list[BatchCharge]:
        """What is charged for it: it is worked off whether anybody looks or not."""
        return [
            BatchCharge(
                self.id,
                one.asked.custom_id,
                self.tenant,
                one.asked.model,
                one.tokens_in,
                one.tokens_out,
            )
            for one in self.results()
            if one.end == DONE
        ]

    def counts(self) -> dict[str, int]:
        """How many items ended how, by now."""
        ends = [one.end for one in self.results()] if self.state == ENDED else []
        return {end: ends.count(end) for end in (DONE, FAILED, EXPIRED)}


def openai_files(batch: Batch, seed: int) -> tuple[bytes, bytes]:
    """Output file and error file of a batch that has ended; each empty where there is none."""
    good: list[tuple[int, Line]] = []
    bad: list[tuple[int, Line]] = []
    for place, one in enumerate(batch.results()):
        if one.end == DONE:
            is_void = has(batch.course.status_0, place)
            good.append((place, _void(one, place) if is_void else _answered(one, place)))
        elif one.end == FAILED:
            bad.append((place, _answered(one, place)))
        elif one.end == EXPIRED:
            bad.append((place, _failing(one.asked.custom_id, "batch_expired")))
    # Strangers come with the answers, or with the errors where there are no answers.
    calm = msgspec.structs.replace(batch.course, strangers=0)
    output = laid_out(good, batch.course if good else calm, seed, _failing)
    errors = laid_out(bad, calm if good else batch.course, seed, _failing)
    return written(output), written(errors)


def anthropic_results(batch: Batch, seed: int) -> bytes:
    """The results of a batch that has ended."""
    lines = [(place, _anthropic_line(one)) for place, one in enumerate(batch.results())]
    return written(laid_out(lines, batch.course, seed, _anthropic_failing))


def written(lines: list[Line]) -> bytes:
    """One JSON object a line."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _answered(one: Result, place: int) -> Line:
    return {
        "id": f"batch_req_{place}",
        "custom_id": one.asked.custom_id,
        "response": {
            "status_code": one.status,
            "request_id": f"req_{place}",
            "body": msgspec.Raw(one.body),
        },
        "error": None,
    }


def _void(one: Result, place: int) -> Line:
    empty = {"status_code": 0, "request_id": "", "body": None}
    return {
        "id": f"batch_req_{place}",
        "custom_id": one.asked.custom_id,
        "response": empty,
        "error": None,
    }


def _failing(custom_id: str, code: str = "server_error") -> Line:
    message = {"batch_expired": "This request could not be executed in time."}
    error = {"code": code, "message": message.get(code, "The request failed.")}
    return {"id": "batch_req_x", "custom_id": custom_id, "response": None, "error": error}


def _anthropic_line(one: Result) -> Line:
    make: dict[str, Callable[[], dict[str, Any]]] = {
        DONE: lambda: {"type": "succeeded", "message": msgspec.Raw(one.body)},
        FAILED: lambda: {"type": "errored", "error": msgspec.Raw(one.body)},
        EXPIRED: lambda: {"type": "expired"},
    }
    result = make.get(one.end, lambda: {"type": "canceled"})()
    return {"custom_id": one.asked.custom_id, "result": result}


def _anthropic_failing(custom_id: str) -> Line:
    detail = {"type": "api_error", "message": "The request failed."}
    error = {"type": "error", "error": detail, "request_id": None}
    return {"custom_id": custom_id, "result": {"type": "errored", "error": error}}
