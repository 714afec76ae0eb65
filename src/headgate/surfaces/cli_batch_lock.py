"""One process of this machine works on a job of the command line at a time.

A lock of the operating system, as it ends with its process, however that ended: a job whose process
was killed is free at once. The lease in the store guards the writes besides.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HEX_DIGITS = 15
"""A place in the file for each job; a file has less than 2 ** 63 of them."""


@contextmanager
def held(jobs: Path, job_id: str) -> Iterator[bool]:
    """Whether this process has the job of the database `jobs` for the block; it does not wait."""
    descriptor = os.open(f"{jobs}-lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        place = int(job_id.removeprefix("job_")[:_HEX_DIGITS], 16)
        yield _taken(descriptor, place)
    finally:
        os.close(descriptor)


def is_free(jobs: Path, job_id: str) -> bool:
    """Whether no process has the job just now."""
    with held(jobs, job_id) as is_ours:
        return is_ours


def _taken(descriptor: int, place: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):  # POSIX lets a system choose between the two.
        return False
    return True
