"""What commands print: the only file that writes to a terminal.

Answers go to stdout, everything about them (warnings, progress) to stderr, so that a pipe gets the
answer alone. A terminal gets tables and bars, anything else plain lines; `NO_COLOR` is obeyed. Text
from outside (stored answers, names) cannot steer the terminal: control characters are shown.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# C0, DEL and C1 without tab and line feed, and the marks that reorder text on a screen.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NUMBER = re.compile(r"[+-]?[0-9][0-9,]*(\.[0-9]+)?(e[+-]?[0-9]+)?%?")
_PLAIN_LINES = 10
"""Lines that a progress bar becomes where there is no terminal."""


def say(text: str = "") -> None:
    """One line (or several) of the answer, on stdout."""
    _write(sys.stdout, _shown(text) + "\n")


def warn(text: str) -> None:
    """One line (or several) beside the answer, on stderr."""
    _write(sys.stderr, _shown(text) + "\n")


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the program with `code`: 1 something failed, 2 usage or configuration."""
    warn(message)
    raise SystemExit(code)


def emit_json(document: Any) -> None:
    """The whole answer as one JSON document on stdout; what JSON does not know becomes a string."""
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    text = json.dumps(document, indent=2, ensure_ascii=ascii_only, default=str)
    _write(sys.stdout, text.replace("\x7f", "\\u007f") + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows of cells on stdout: drawn on a terminal, else columns two spaces apart.

    Each row has as many cells as there are columns. Columns of numbers stand on the right, also of
    numbers written out (`1,200`, `78.1%`), with `-` where there is none.
    """
    cells = [[_shown(str(cell)).replace("\n", "\\n") for cell in row] for row in rows]
    numeric = [_is_numeric([row[at] for row in cells]) for at in range(len(columns))]
    if sys.stdout.isatty():
        _draw(title, columns, cells, numeric)
    else:
        _write(sys.stdout, "".join(_aligned(title, [list(columns), *cells], numeric)))


class Progress:
    """How far some long work has come."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def advance(self, n: int = 1) -> None:
        """`n` more units are done."""
        self._advance(n)


@contextmanager
def progress(total: int, label: str) -> Iterator[Progress]:
    """A bar on stderr while the block runs, or at most ten plain lines: `label: 40/400`."""
    if not sys.stderr.isatty():
        yield Progress(_plain_progress(total, label))
        return
    bars = importlib.import_module("rich.progress")
    columns = [
        bars.TextColumn("{task.description}", markup=False), bars.BarColumn(),
        bars.MofNCompleteColumn(), bars.TimeRemainingColumn(),
    ]  # fmt: skip
    with bars.Progress(*columns, console=_console(sys.stderr)) as bar:
        task = bar.add_task(_shown(label), total=total)
        yield Progress(lambda n: bar.advance(task, n))


@contextmanager
def meter(total: int, label: str) -> Iterator[Callable[[int, str], None]]:
    """As `progress`, for work that says how far it is in all, and something about it: call it with
    both whenever that has changed."""
    if not sys.stderr.isatty():
        yield _plain_meter(total, label)
        return
    bars = importlib.import_module("rich.progress")
    columns = [
        bars.TextColumn("{task.description}", markup=False), bars.BarColumn(bar_width=12),
        bars.MofNCompleteColumn(), bars.TextColumn("{task.fields[told]}", markup=False),
        bars.TimeRemainingColumn(),
    ]  # fmt: skip
    with bars.Progress(*columns, console=_console(sys.stderr)) as bar:
        task = bar.add_task(_shown(label), total=total, told="")
        yield lambda done, told: bar.update(task, completed=done, told=_shown(told))


def _plain_meter(total: int, label: str) -> Callable[[int, str], None]:
    """A line at the first number, and whenever another tenth is done."""
    step, last = max(1, -(-total // _PLAIN_LINES)), -1

    def update(done: int, told: str) -> None:
        nonlocal last
        reached = total if done >= total else done // step
        if reached != last:
            last = reached
            warn(f"{label}: {done}/{total}, {told}")

    return update


def _plain_progress(total: int, label: str) -> Callable[[int], None]:
    step = max(1, -(-total // _PLAIN_LINES))
    done = 0
    lock = threading.Lock()

    def advance(n: int) -> None:
        nonlocal done
        with lock:  # the demo's clients advance from threads of their own
            before, done = done, done + n
            if done // step > before // step or before < total <= done:
                warn(f"{label}: {done}/{total}")

    return advance


def _draw(title: str, columns: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    tables = importlib.import_module("rich.table")
    texts = importlib.import_module("rich.text")
    drawn = tables.Table(title=texts.Text(title) if title else None, title_justify="left")
    for name, right in zip(columns, numeric, strict=True):
        drawn.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(texts.Text(cell) for cell in row))
    _console(sys.stdout).print(drawn)


def _aligned(title: str, lines: list[list[str]], numeric: list[bool]) -> Iterator[str]:
    if title:
        yield f"{_shown(title)}\n"
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    for line in lines:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        yield "  ".join(padded).rstrip() + "\n"


def _console(stream: TextIO) -> Console:
    console: Console = importlib.import_module("rich.console").Console(file=stream, highlight=False)
    return console


def _is_numeric(column: list[str]) -> bool:
    written = [cell for cell in column if cell != "-"]
    return bool(written) and all(_NUMBER.fullmatch(cell) for cell in written)


def _shown(text: str) -> str:
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def _write(stream: TextIO, text: str) -> None:
    """Characters the terminal has no code for are spelled out instead of raising."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
