"""The result file of a job: whole, or not there. It is written beside its place and moved there in
one step, and never over something else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

from headgate.clock import secret_bytes
from headgate.errors import ConfigError, HeadgateError, Problem
from headgate.jobs.base import JobStore
from headgate.jobs.model import Job
from headgate.surfaces.result_lines import openai_line


def check(out: Path) -> Path:
    """The absolute path, where a file can be made. Raises ConfigError."""
    place = Path(os.path.abspath(out))
    if os.path.lexists(place):
        raise _refused(f"{out} is there already: name a new file, or move that one away")
    if not place.parent.is_dir():
        raise _refused(f"there is no folder {place.parent}")
    part = _beside(place)
    try:
        # The name itself may be one that the folder does not take.
        with suppress(FileNotFoundError):
            os.lstat(place)
        part.open("xb").close()
        part.unlink()
    except OSError as error:
        raise _refused(f"{out} cannot be made in {place.parent}: {error.strerror}") from None
    return place


def write(store: JobStore, job: Job, out: Path) -> None:
    """Writes the results of a job that has ended, in the order of its lines; nothing, where exactly
    these stand there already. Raises HeadgateError where something else does, and where it cannot
    be written."""
    if os.path.lexists(out):
        if _holds(out, (openai_line(job.id, row) for row in store.results(job.id))):
            return
        raise HeadgateError(f"{out} is there already and is not the output of {job.id}")
    try:
        _write(store, job, out)
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror}; its rows are kept: put that right"
        raise HeadgateError(f"{message}, then: headgate batch resume {job.id}") from error


def _write(store: JobStore, job: Job, out: Path) -> None:
    part = _beside(out)
    try:
        with part.open("xb") as opened:
            for row in store.results(job.id):
                opened.write(openai_line(job.id, row))
            opened.flush()
            os.fsync(opened.fileno())
        _move(part, out)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _beside(out: Path) -> Path:
    return out.with_name(f".headgate-{secret_bytes(8).hex()}.part")


def _move(part: Path, out: Path) -> None:
    """Unlike a renaming, a link never replaces what somebody has put there meanwhile."""
    try:
        os.link(part, out)
    except FileExistsError:
        raise HeadgateError(f"{out} was made by somebody else meanwhile") from None
    except OSError:
        # A file system without links.
        os.rename(part, out)


def _holds(out: Path, lines: Iterable[bytes]) -> bool:
    if not out.is_file():
        return False
    with out.open("rb") as opened:
        return all(found == line for found, line in zip_longest(opened, lines))


def _refused(message: str) -> ConfigError:
    return ConfigError([Problem("--out", message)])
