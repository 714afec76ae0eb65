"""The numbers that a server shows: its own over all configurations, or those of all its workers.

Workers add to one file what they have counted, every second and at their end, and whoever is asked
adds its own before it reads the sums: so the next one asked never knows less (a decrease would be
taken for a restart). Without the file each one shows its own.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import NamedTuple

from headgate.core.tally import Growth
from headgate.errors import StoreError
from headgate.runtime import Runtime
from headgate.stores.numbers import SharedNumbers, Told
from headgate.surfaces.counting import Labels, begun_anew, levels, reading, targets_of

FLUSH_S = 1.0
"""How long what a worker has counted may wait: a kill costs no more than that."""
_PATIENCE_S = 10.0


class _Followed(NamedTuple):
    """A runtime, which names are shown of it, and when it was configured (seconds since 1970)."""

    runtime: Runtime
    labels: Labels
    since_s: float


def numbers_of(runtime: Runtime) -> Numbers:
    """Those of one process with one configuration."""
    numbers = Numbers()
    numbers.follow(runtime)
    return numbers


class Numbers:
    """Those of one server; `follow` says what it reads. With `path` those of all workers that have
    the same, `worker` being the name of this one. Any thread may ask."""

    def __init__(self, path: Path | None = None, worker: str = "0") -> None:
        self.worker = worker
        self._shared = None if path is None else SharedNumbers(path)
        self._growth = Growth()
        self._lock = threading.Lock()
        self._followed: deque[_Followed] = deque()
        """What is read; those that have been replaced stand before it until they are read for the
        last time."""
        self._flushed_s = 0.0
        self._is_failing = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_shared(self) -> bool:
        """Whether they are those of several processes."""
        return self._shared is not None

    def follow(self, runtime: Runtime) -> None:
        """From now on the numbers of `runtime`, which has just been configured, are read, on top of
        what those before it have counted."""
        # No lock: it is held over a disk, and this is the event loop's thread.
        labels = Labels(runtime.config, runtime.metrics)
        self._flushed_s = self._flushed_s or runtime.clock.monotonic()
        if self._shared is not None:
            self._shared.listed = labels.listed
        self._followed.append(_Followed(runtime, labels, runtime.clock.epoch()))

    def start(self) -> None:
        """Adds to the shared numbers from now on; without shared ones does nothing."""
        if self._shared is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="headgate-numbers", daemon=True)
            self._thread.start()

    def told(self) -> Told:
        """What is to be shown just now. May wait for a disk."""
        with self._lock:
            told = self._exchanged(reads=True)
            return told or self._own()

    def problem(self) -> str:
        """What is wrong just now, for people; "" if nothing is."""
        return "the numbers of other workers are not shown: the file that they share fails" * (
            self._is_failing
        )

    def close(self) -> None:
        """Adds what has not been added yet; waits for a disk."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        with self._lock:
            self._exchanged(reads=False)
            if self._shared is not None:
                self._shared.close()

    def _run(self) -> None:
        while not self._ended.wait(FLUSH_S):
            with self._lock:
                self._exchanged(reads=False)

    # Under the lock, which is held over the disk: nobody waits for it who answers a call.

    def _exchanged(self, *, reads: bool) -> Told | None:
        """Counts, and adds it to the shared numbers; those where `reads` wants them. None where
        they cannot be had."""
        if not self._followed:
            return None
        # Before the reading, which may take its time: all that was counted until now is in it.
        now_s = self._followed[-1].runtime.clock.monotonic()
        runtime, labels, since_s = self._read(now_s)
        if self._shared is None:
            return None
        just_now = levels(runtime, labels, since_s)
        pending = self._growth.pending
        try:
            told = self._shared.exchange(pending, self.worker, just_now, now_s, reads=reads)
        except StoreError:
            self._is_failing = True
            return None
        self._is_failing = False
        self._flushed_s = now_s
        self._growth.settle()
        return told

    def _read(self, now_s: float) -> _Followed:
        """Takes in what was counted; what was replaced for the last time. Only some breakers begin
        anew with another configuration, the rest is handed on."""
        while len(self._followed) > 1:
            older = self._followed.popleft()
            guards, following = older.runtime.guards, self._followed[0].runtime.guards
            if guards is not following:
                last = dict(targets_of(guards, now_s, older.labels))
                self._growth.take(last, older.labels.shown)
                self._growth.forget(begun_anew(guards, following, older.labels))
        followed = self._followed[0]
        self._growth.take(reading(followed.runtime, followed.labels), followed.labels.shown)
        return followed

    def _own(self) -> Told:
        if not self._followed:
            return Told({}, [], {})
        runtime, labels, since_s = self._followed[-1]
        age_s = max(0.0, runtime.clock.monotonic() - self._flushed_s)
        ages_s = {self.worker: age_s} if self._shared is not None else {}
        totals = {name: list(counts) for name, counts in self._growth.totals.items()}
        return Told(totals, [levels(runtime, labels, since_s)], ages_s)
