"""The desk of the fault server at which files and batches are handed in: it finds out what is asked
of whom, and keeps all of it, by tenant. What it says stands in one file for each dialect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import msgspec

from headgate.clock import Clock
from headgate.faultserver import desk_anthropic, desk_openai
from headgate.faultserver.answers import Prepared
from headgate.faultserver.batches import Batch
from headgate.faultserver.courses import BatchCharge, BatchCourse
from headgate.faultserver.desk_routes import route
from headgate.faultserver.desk_words import Answered, Ask, Drawers
from headgate.faultserver.playbook import Playbook, Script
from headgate.testing_server import Plan

_ANSWERS: dict[str, Callable[[Ask, Drawers], Answered]] = {
    **desk_openai.ANSWERS,
    **desk_anthropic.ANSWERS,
}


class Desk:
    """Files and batches of one server. Answers in the server's thread; any thread may read the
    charges."""

    def __init__(self, seed: int, clock: Clock, scheme: str) -> None:
        self.courses: Playbook[BatchCourse] = Playbook()
        self._clock = clock
        self._scheme = scheme
        self._lock = threading.Lock()
        self._drawers = Drawers(seed, self._course)

    def served(self, prepared: Prepared) -> Prepared:
        """The request with the answer to it, where it is for this desk: what it asks for is done
        now, whatever becomes of the answer."""
        found = route(prepared.request)
        if found is None:
            return prepared
        operation, subject = found
        request = prepared.request
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        origin = f"{self._scheme}://{request.headers.get('host', '')}"
        asked = Ask(request, prepared.mark, subject, query, origin, int(self._clock.wall()))
        with self._lock:
            answer = _ANSWERS[operation](asked, self._drawers)
        headers = ((b"content-type", answer.content_type.encode()), *_named(prepared))
        plan = Plan(answer.status, headers, (answer.content,))
        return msgspec.structs.replace(prepared, offered=plan)

    def charges(self) -> list[BatchCharge]:
        """Every item of every batch that is charged, in the order of the batches."""
        with self._lock:
            batches: list[Batch] = list(self._drawers.batches.values())
            return [charge for batch in batches for charge in batch.charges()]

    def write(self, course: BatchCourse, model: str, times: int | None) -> None:
        """How the next batches go."""
        self.courses.add(Script((course,), model, None, times))

    def _course(self, model: str) -> BatchCourse:
        return next(iter(self.courses.take(model)), BatchCourse())


def _named(prepared: Prepared) -> tuple[tuple[bytes, bytes], ...]:
    name = b"request-id" if prepared.operation.startswith("message_") else b"x-request-id"
    return ((name, f"req_{prepared.mark}".encode()),)
