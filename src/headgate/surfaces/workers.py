"""Several processes behind one port: starts them, starts again what dies, hands signals on.

A worker is a process started afresh (`spawn`): threads and event loops do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from headgate.errors import ConfigError
from headgate.surfaces import terminal
from headgate.surfaces.life import begin, hold_signals, release_signals, settle
from headgate.surfaces.logs import logged
from headgate.surfaces.numbers import Numbers
from headgate.surfaces.reload import Source

RESTART_PAUSE_S = 0.2
"""Before a worker that died is replaced, so that one that cannot live does not keep a core busy."""
_ENDS = (signal.SIGTERM, signal.SIGINT)
_HURRY = signal.SIGQUIT
"""Tells a worker to end at once. Not a second SIGTERM: a service's whole group of processes may be
sent the first one too."""


class Workers:
    """`count` processes that serve `listener` with what `source` has read; `say` takes lines for
    people."""

    def __init__(
        self, source: Source, listener: socket.socket, count: int, say: Callable[[str], None]
    ) -> None:
        self._say = say
        self._source = source
        self._listener = listener
        self._context = multiprocessing.get_context("spawn")
        self._count = count
        self._workers: dict[int, SpawnProcess] = {}
        self._is_ending = False
        self._numbers: Path | None = None

    def run(self) -> None:
        """Until a signal has ended all of them; in the main thread."""
        with _signals() as arrived, _numbers_file() as self._numbers:
            resource_tracker.ensure_running()
            self._start_missing()
            while self._workers:
                wait([arrived, *(worker.sentinel for worker in self._workers.values())])
                for number in _read(arrived):
                    self._heed(number)
                if self._forget_dead() and not self._is_ending:
                    self._pause(arrived)
                self._start_missing()

    def _start_missing(self) -> None:
        # Between fork and exec a signal would be taken for one of ours and be lost, and before a
        # worker has its handlers SIGHUP would end it: they wait until it unblocks them itself.
        hold_signals()
        for number in range(0 if self._is_ending else self._count):
            if number not in self._workers:
                # One that takes the place of another goes on under its number.
                told = (self._source, self._listener, self._numbers, str(number))
                worker = self._context.Process(target=run_worker, args=told)
                worker.start()
                self._workers[number] = worker
        release_signals()

    def _pause(self, arrived: socket.socket) -> None:
        wait([arrived], RESTART_PAUSE_S)
        for number in _read(arrived):
            self._heed(number)

    def _forget_dead(self) -> bool:
        """Whether any has ended."""
        dead = [number for number, worker in self._workers.items() if not worker.is_alive()]
        for number in dead:
            worker = self._workers.pop(number)
            if not self._is_ending:
                self._say(f"worker {worker.pid} ended ({worker.exitcode}); starting another")
        return bool(dead)

    def _heed(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reread()
            self._tell(signal.SIGHUP)
        elif number in _ENDS:
            self._tell(_HURRY if self._is_ending else signal.SIGTERM)
            self._is_ending = True
            # Else connections would be accepted for workers that do not take them any more.
            self._listener.close()

    def _reread(self) -> None:
        """What a worker that is started later gets: a bad file never reaches it."""
        try:
            source = self._source.read()
            source.config()
        except ConfigError:
            return  # Each worker says so.
        self._source = source

    def _tell(self, number: int) -> None:
        for worker in self._workers.values():
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, number)


def run_worker(
    source: Source, listener: socket.socket, numbers_file: Path | None, name: str
) -> None:
    """The life of one worker process, which is started with its signals held."""
    config = source.config()
    with logged(config) as lines:
        life = begin(config, source, _HURRY, lines, Numbers(numbers_file, name))
        life.watch_signals()
        settle()
        release_signals()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        life.run(sockets=[listener])


def _end_with_parent() -> None:
    """A worker without a parent would hold the port, and nobody would tell it to end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _numbers_file() -> Iterator[Path | None]:
    """A file for the numbers of all workers, which begin at 0; None where there is no room."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="headgate-", ignore_cleanup_errors=True)
    except OSError as problem:
        terminal.warn(f"each worker shows its own numbers only: {problem}")
        yield None
        return
    with folder:
        yield Path(folder.name, "numbers.db")


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket from which the numbers of arriving signals are read, one byte each."""
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno())
        for number in (*_ENDS, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(before)


def _read(arrived: socket.socket) -> bytes:
    try:
        return arrived.recv(100)
    except BlockingIOError:
        return b""
