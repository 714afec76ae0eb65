"""The numbers that a server shows: its own over all configurations, or those of all its workers.

Workers add to one file what they have counted, every second and at their end, and whoever is asked
adds its own before it reads the sums: so the next one asked never knows less (a decrease would be
taken for a restart). Without the file each one shows its own.
"""

from __future__ import annotations

import threading
from pathlib import Path

from headgate.core.tally import Growth
from headgate.errors import StoreError
from headgate.runtime import Runtime
from headgate.stores.numbers import SharedNumbers, Told
from headgate.surfaces.counting import Labels, levels, reading

FLUSH_S = 1.0
"""How long what a worker has counted may wait: a kill costs no more than that."""
_PATIENCE_S = 10.0


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
        self._runtime: Runtime | None = None
        self._labels: Labels | None = None
        self._since_s = 0.0
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
        labels = Labels(runtime.config, runtime.metrics)
        with self._lock:
            self._runtime, self._labels = runtime, labels
            self._since_s = runtime.clock.epoch()
            self._flushed_s = self._flushed_s or runtime.clock.monotonic()

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
        runtime, labels = self._runtime, self._labels
        if runtime is None or labels is None:
            return None
        # Before the reading, which may take its time: all that was counted until now is in it.
        now_s = runtime.clock.monotonic()
        self._growth.take(reading(runtime, labels), labels.shown)
        if self._shared is None:
            return None
        just_now = levels(runtime, labels, self._since_s)
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

    def _own(self) -> Told:
        runtime, labels = self._runtime, self._labels
        if runtime is None or labels is None:
            return Told({}, [], {})
        age_s = max(0.0, runtime.clock.monotonic() - self._flushed_s)
        ages_s = {self.worker: age_s} if self._shared is not None else {}
        totals = {name: list(counts) for name, counts in self._growth.totals.items()}
        return Told(totals, [levels(runtime, labels, self._since_s)], ages_s)
