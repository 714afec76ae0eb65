"""Which script a request or a connection gets. No time, no I/O."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Generic, TypeVar, get_args

from msgspec import Struct

from headgate.faultserver.steps import FaultStep
from headgate.faultserver.toxics import (
    Bandwidth,
    CutAt,
    HalfOpen,
    Latency,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

T = TypeVar("T")
_ON_CONNECT = (Latency, Bandwidth, Slicer, SlowClose, Timeout, ResetPeer, HalfOpen)


class Script(Struct, Generic[T]):
    """Steps, for whom, and for how many more (None: for ever)."""

    steps: tuple[T, ...]
    model: str
    header: tuple[str, str] | None
    left: int | None
    operation: str = ""

    def fits(self, model: str, headers: Mapping[str, str], operation: str) -> bool:
        """Whether it is written for such a request."""
        if self.operation not in ("", operation):
            return False
        if self.header is not None and headers.get(self.header[0].lower()) != self.header[1]:
            return False
        return self.left != 0 and self.model in ("", model)


class Playbook(Generic[T]):
    """Scripts in the order they were written. One for a counted number of requests goes before one
    that stands for ever. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripts: list[Script[T]] = []

    def add(self, script: Script[T]) -> None:
        """Writes one more at the end."""
        with self._lock:
            self._scripts.append(script)

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._scripts.clear()

    def take(
        self, model: str = "", headers: Mapping[str, str] | None = None, operation: str = ""
    ) -> tuple[T, ...]:
        """The steps for one request with this model, these headers (lower-case names) and this
        operation; empty where no script fits."""
        with self._lock:
            scripts = self._scripts
            fitting = [one for one in scripts if one.fits(model, headers or {}, operation)]
            fitting.sort(key=lambda script: script.left is None)
            if not fitting:
                return ()
            chosen = fitting[0]
            if chosen.left is not None:
                chosen.left -= 1
            return chosen.steps


def checked_steps(steps: tuple[FaultStep, ...]) -> tuple[FaultStep, ...]:
    """The steps of a script for requests. Raises TypeError for what is none, and for a toxic that
    would have to act before its request is known."""
    for step in steps:
        if not isinstance(step, get_args(FaultStep)):
            raise TypeError(f"no step of a script: {step!r}")
        if getattr(step, "direction", "down") == "up":
            raise TypeError(f"{step!r} acts before its request is known: use on_connect")
    return steps


def checked_toxics(toxics: tuple[Toxic, ...]) -> tuple[Toxic, ...]:
    """The toxics of a connection. Raises TypeError for one that needs an answer to act in."""
    for toxic in toxics:
        is_cut = isinstance(toxic, CutAt) and toxic.direction == "up"
        if not is_cut and not isinstance(toxic, _ON_CONNECT):
            raise TypeError(f"{toxic!r} acts within an answer: use script")
    return toxics
