"""What must hold after every scenario, whatever was done to the gateway in it: ten points.

1 one outcome per request. 2 the ledger is the bill (billing.py). 3 no foreign bytes. 4 only whole,
verified entries. 5 everything back: tasks, connections, files; permits, places, flights
(borrowed.py). 6 memory bounded. 7 no credential anywhere. 10 attempts within their budget. All of
these `lab.laboratory` judges when it ends, so that no scenario can leave one out. 8 healthy traffic
undisturbed and 9 recovery in time (neighbours.py) need a moment in which the fault is on, which
only the scenario knows: `lab.healthy_meanwhile`, and `faults/test_neighbours.py` for every fault
that lasts. `faults/matrix.py` says which row has which.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from events import ends_in, has_failed, is_finished
from rawclient import body_of

from headgate.core.verdict import judge
from headgate.runtime import Runtime
from headgate.testing import Exchange, FaultServer, marks_in
from headgate.types import EVERYTHING, Entry

ATTEMPTS_MAX = 3
ENTRIES_MAX = 100_000
SETTLE_S = 30.0
_PROC = Path("/proc/self")


class Heard:
    """What one client heard in answer to its request, byte for byte."""

    def __init__(self, tenant: str, asked: Any) -> None:
        self.tenant = tenant
        self.asked = asked
        """The JSON it sent; None for what was none."""
        self.reply = bytearray()
        """Head and body as they came."""
        self.has_left = False
        """Whether it left before the end of its own will."""


def until(holds: Callable[[], object], what: str) -> None:
    """Returns as soon as `holds()`."""
    deadline_s = time.monotonic() + SETTLE_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


def one_outcome(heard: Heard) -> None:
    """Point 1: an error, a whole answer, or a visible break; a stream has one end."""
    reply = bytes(heard.reply)
    if heard.has_left or not reply:
        return
    assert reply.count(b"HTTP/1.1 ") == 1, "one status line for one request"
    if b"content-type: text/event-stream" not in reply.partition(b"\r\n\r\n")[0].lower():
        return
    body = received(reply)
    assert ends_in(body) <= 1, "a stream ends once"
    if is_whole(reply):
        assert is_finished(body) or has_failed(body), f"it just stops: {reply[-200:]!r}"


def received(reply: bytes) -> bytes:
    """The body as far as it came."""
    head, _, rest = reply.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    pieces, place = [], 0
    while place < len(rest):
        end = rest.find(b"\r\n", place)
        if end < 0:
            end = len(rest)
        size = int(rest[place:end], 16)
        pieces.append(rest[end + 2 : end + 2 + size])
        place = end + 2 + size + 2
    return b"".join(pieces)


def is_whole(reply: bytes) -> bool:
    """Whether HTTP says that this is all."""
    try:
        body_of(reply)
    except (EOFError, ValueError):
        return False
    return True


def no_foreign_bytes(heard: Heard, calls: dict[int, Exchange]) -> None:
    """Point 3: every mark is that of the one who asked, on a question equal to the one asked."""
    reply = bytes(heard.reply)
    for mark in marks_in(reply) | marks_in(received(reply)):
        assert mark.tenant == heard.tenant, f"an answer to {mark.tenant} went to {heard.tenant}"
        answered = _question(calls[mark.serial].body)
        assert answered == _question(heard.asked), "the answer to another question"


def _question(body: Any) -> Any:
    """What was asked, without the labels and limits that two askers of the same may differ in."""
    if not isinstance(body, dict):
        return body
    names = ("messages", "input", "prompt", "system", "tools")
    # Deployments of `m` are called `m1`, `m2`, ... (several.py).
    model = "m" if re.fullmatch(r"m\d", str(body.get("model"))) else body.get("model")
    return {"model": model, **{name: body.get(name) for name in names}}


def only_verified_entries(runtime: Runtime, calls: dict[int, Exchange]) -> None:
    """Point 4."""
    for entry in runtime.tiers.list(EVERYTHING, limit=ENTRIES_MAX):
        assert entry.status == 200
        sources = [calls[mark.serial] for mark in marks_in(entry.content)]
        if entry.kind == "stream":
            _is_whole_stream(entry, sources)
        else:
            _is_whole_answer(entry, sources)


def _is_whole_answer(entry: Entry, sources: list[Exchange]) -> None:
    verdict = judge(entry.operation, entry.status, entry.content, limit_explicit=True)
    assert verdict.skip == "", f"stored although {verdict.skip}"
    for call in sources:
        until(lambda: call.ended, "the provider notes that all of it is sent")  # noqa: B023
        assert call.ended == "complete", f"stored from a call that ended as {call.ended!r}"
        assert call.body_bytes == len(entry.content), "stored in part"


def _is_whole_stream(entry: Entry, sources: list[Exchange]) -> None:
    """Up to and with its marker: what comes behind that does not count, nor how it ended."""
    assert ends_in(entry.content) == 1, "stored without its end"
    assert not has_failed(entry.content), "stored although it failed"
    for call in sources:
        assert call.body_bytes >= len(entry.content), "stored more than was sent"


def attempts_within_budget(heard: Iterable[Heard], calls: Iterable[Exchange]) -> None:
    """Point 10: nobody is asked more often than the budget allows."""
    asked = Counter(repr(one.asked) for one in heard)
    attempts = Counter(repr(call.body) for call in calls if call.operation in _CALLS)
    for question, count in attempts.items():
        if question in asked:
            assert count <= ATTEMPTS_MAX * asked[question], f"{count} attempts at {question}"


_CALLS = ("chat", "completions", "responses", "embeddings", "messages", "count_tokens")


def nothing_was_logged(records: Iterable[logging.LogRecord]) -> None:
    """Point 5: no exception that nobody awaited, no trace, no line at all above a warning."""
    loud = [record for record in records if record.exc_info or record.levelno > logging.WARNING]
    assert not loud, [record.getMessage() for record in loud]
    never = [record for record in records if "never retrieved" in record.getMessage()]
    assert not never


def no_credential(texts: Iterable[str], credentials: Iterable[str]) -> None:
    """Point 7."""
    secrets = [credential for credential in credentials if credential]
    for text in texts:
        assert not [secret for secret in secrets if secret in text]


def answered_upstream(server: FaultServer) -> None:
    """Point 5, upstream: nothing is left running there."""
    until(lambda: all(call.ended for call in server.calls), f"under way: {server.calls}")


def open_files() -> Counter[str]:
    """What the file descriptors of this process lead to, sockets and pipes by their kind."""
    found: Counter[str] = Counter()
    for number in os.listdir(_PROC / "fd"):
        # The listing's own is closed by now.
        with suppress(FileNotFoundError):
            found[os.readlink(_PROC / "fd" / number).partition(":")[0]] += 1
    return found


def files_are_closed(before: Counter[str]) -> None:
    """Point 5, the process: nothing is open that was not before."""
    deadline_s = time.monotonic() + SETTLE_S
    while more := open_files() - before:
        assert time.monotonic() < deadline_s, f"left open: {dict(more)}"
        gc.collect()


@contextmanager
def bounded_memory(growth_max_bytes: Callable[[], int]) -> Iterator[None]:
    """Point 6: the most this process needs at any moment within is at most so much more than it
    needs now. The limit is asked for at the end."""
    # Sets the peak back to what is used now (proc(5), clear_refs).
    (_PROC / "clear_refs").write_text("5")
    before = _peak_bytes()
    yield
    growth = _peak_bytes() - before
    assert growth <= growth_max_bytes(), f"memory grew by {growth / 1e6:.0f} MB"


def _peak_bytes() -> int:
    lines = (_PROC / "status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024
