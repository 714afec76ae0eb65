"""What a gateway writes down while it runs: a line for each event, and for each call if wanted.

Lines wait in a bounded queue that one thread writes to stderr: a pipe that nobody reads, or a slow
disk, costs lines, which are counted, and never a call. Every line is ASCII, one line, and without
the secrets of the configuration.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from headgate.calllog import CallLog, CallRecord, Hit
from headgate.calllog_shown import described
from headgate.clock import Clock, SystemClock
from headgate.config import Config
from headgate.core.redaction import Redactor, one_line
from headgate.surfaces.secrets import secrets_of

LINES_MAX = 10_000
"""Lines that may wait to be written; further ones are dropped and counted."""
CLOSE_S = 2.0
"""How long the end waits for what is not written yet."""
CONTENT_BYTES = 2_000
"""Of each request and answer, where `server.log_content` is on."""
_BATCH = 500
_STDERR = 2
_SIGNALS = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT})
_LEFT_OUT = frozenset({"attempts", "namespace"})
_DROPPED = "lines were dropped: whoever reads this log is too slow"
Line = Callable[[], str]


class LogLines:
    """The lines of one process. Safe from any thread; never waits until `close`."""

    def __init__(self, config: Config, fd: int = _STDERR, clock: Clock | None = None) -> None:
        server = config.server
        self.is_json = server.log_format == "json"
        self.shows_calls = self.is_json if server.log_calls == "auto" else server.log_calls == "on"
        self.shows_content = server.log_content
        self.redactor = Redactor(secrets_of(config))
        self.dropped = 0
        """Lines that there was no room for, or that could not be written."""
        self._told = 0
        self._clock = clock or SystemClock()
        # Not through sys.stderr: a thread that waits in there would block the end of the process.
        self._fd = fd
        self._waiting: deque[Line] = deque()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._is_closing = False

    def say(self, text: str) -> None:
        """Something for people: as it is in text, an event in JSON."""
        if self.is_json:
            self.event(self._clock.epoch(), "INFO", "headgate", text)
        else:
            lines = [one_line(line) for line in self.redactor.redacted(text).split("\n")]
            self._put(lambda: "\n".join(lines))

    def event(self, at_s: float, level: str, source: str, text: str, trace: str = "") -> None:
        """Something that happened, at seconds since 1970."""
        self._put(lambda: self._event_line(at_s, level, source, text, trace))

    def follow(self, calls: CallLog) -> None:
        """From now on a line for each call of this log, where calls are wanted."""
        if self.shows_calls:
            calls.content_bytes = CONTENT_BYTES if self.shows_content else 0
            calls.tell = lambda told: self._put(lambda: self._call_line(calls, told))

    def close(self) -> None:
        """Writes what waits, if that takes no longer than `CLOSE_S`."""
        self._is_closing = True
        self._wake.set()
        writer = self._writer
        if writer is not None:
            writer.join(CLOSE_S)

    # One line of each kind.

    def _event_line(self, at_s: float, level: str, source: str, text: str, trace: str) -> str:
        at, text = _moment(at_s), self.redactor.redacted(text)
        trace = self.redactor.redacted(trace) if trace else ""
        if not self.is_json:
            traced = "".join(f"\n  | {one_line(line)}" for line in trace.splitlines())
            return f"{at} {level} {source}: {one_line(text)}{traced}"
        shown = {"event": "log", "at": at, "level": level, "logger": source, "message": text}
        return _json(shown | ({"trace": trace} if trace else {}))

    def _call_line(self, calls: CallLog, told: CallRecord | Hit) -> str:
        record = calls.record_of(told)
        shown = described(record, calls)
        content, record.content = record.content, None
        if self.is_json:
            kept = {name: value for name, value in shown.items() if name not in _LEFT_OUT}
            attempts = [f"{one['target']} {one['outcome']}" for one in shown["attempts"]]
            said = {name: self.redactor.redacted(text) for name, text in (content or {}).items()}
            return _json({"event": "call", **kept, "attempts": attempts, **said})
        status = shown["error"] or shown["status"]
        return one_line(
            f"{shown['at']} CALL {shown['call']} {shown['operation']} {shown['model']} "
            f"{shown['target'] or '-'} {shown['cache']} {status} {shown['total_ms']} ms "
            f"{sum(shown['tokens'].values())} tokens ${shown['cost_usd'] or '?'}"
        )

    # The queue.

    def _put(self, line: Line) -> None:
        if len(self._waiting) >= LINES_MAX:
            self.dropped += 1
            return
        self._waiting.append(line)
        if not self._wake.is_set():
            self._wake.set()
        if self._writer is None:
            self._start()

    def _start(self) -> None:
        """With the first line: whoever holds signals then has done so."""
        with self._lock:
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write_for_ever, name="headgate-log", daemon=True
                )
                self._writer.start()

    def _write_for_ever(self) -> None:
        # Signals are for the main thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while not (self._is_closing and not self._waiting):
                self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    self._write([self._waiting.popleft() for _ in range(self._batch())])
        finally:
            # Whatever ended it, the next line starts another.
            self._writer = None

    def _batch(self) -> int:
        return min(_BATCH, len(self._waiting))

    def _write(self, lines: list[Line]) -> None:
        if self.dropped > self._told:
            count, self._told = self.dropped - self._told, self.dropped
            at_s = self._clock.epoch()
            lines.append(
                lambda: self._event_line(at_s, "WARNING", "headgate.log", f"{count} {_DROPPED}", "")
            )
        rest = memoryview("".join(f"{line()}\n" for line in lines).encode("ascii", "replace"))
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            # Nobody is left to be told.
            self.dropped += len(lines)


class _Events(logging.Handler):
    """What is logged in this process, as lines."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        self._lines.event(record.created, record.levelname, record.name, text, trace)


@contextmanager
def logged(config: Config, fd: int = _STDERR) -> Iterator[LogLines]:
    """Writes down what this process logs, until the block ends."""
    lines = LogLines(config, fd)
    events, root, ours = _Events(lines), logging.getLogger(), logging.getLogger("headgate")
    level = ours.level
    root.addHandler(events)
    ours.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.removeHandler(events)
        ours.setLevel(level)
        lines.close()


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


def _json(document: Mapping[str, Any]) -> str:
    """ASCII: control characters, line breaks and whatever steers a terminal are escaped."""
    return json.dumps(document, default=str).replace("\x7f", "\\u007f")
