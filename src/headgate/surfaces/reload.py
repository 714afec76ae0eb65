"""SIGHUP: the configuration anew, whole or not at all.

It is read and checked completely before anything changes. A bad one leaves everything as it is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgate.config import Config, KeysConfig, ServerConfig
from headgate.errors import HeadgateError, Problem
from headgate.surfaces.exposure import check_exposure
from headgate.surfaces.gateway import Gateway
from headgate.surfaces.readiness import Reloaded

_FIXED = ("host", "port", "workers", "log_format", "log_calls", "log_content")
"""Settings of [server] that a process keeps as it was started; so it does all of [keys], whether
there are spans, and where jobs are kept."""


@dataclass(frozen=True)
class Source:
    """Where a configuration comes from, as often as it is asked for: a file, else the environment;
    `given` are settings of [server] from the command line, which win."""

    file: Path | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    """What the file held when it was read; None: not read yet."""

    def read(self) -> Source:
        """This source with what the file holds now. Raises ConfigError."""
        if self.file is None:
            return self
        files = importlib.import_module("headgate.config_file")
        return dataclasses.replace(self, content=files.content_of(self.file))

    def config(self) -> Config:
        """The configuration in what was read. Raises ConfigError."""
        files = importlib.import_module("headgate.config_file")
        config: Config = files.load_or_default(self.file, os.environ, self.content).config
        config = dataclasses.replace(
            config, server=dataclasses.replace(config.server, **self.given)
        )
        check_exposure(config)
        return config


class Reload:
    """Gives a gateway another runtime when its source has changed; `say` takes lines for people."""

    def __init__(self, gateway: Gateway, source: Source, say: Callable[[str], None]) -> None:
        self._gateway = gateway
        self._source = source
        self._say = say

    async def perform(self) -> None:
        """On the event loop of the gateway, one at a time."""
        runtime = self._gateway.runtime
        at_s = runtime.clock.epoch()
        try:
            wanted = await asyncio.to_thread(lambda: self._source.read().config())
            config, needs_restart = kept(runtime.config, wanted)
            check_exposure(config)
            successor = await asyncio.to_thread(runtime.successor, config)
        except (HeadgateError, OSError) as error:
            places = tuple(map(_place, getattr(error, "problems", ()))) or (type(error).__name__,)
            self._gateway.readiness.note(Reloaded(at_s, places))
            self._say(f"not reloaded, the configuration before stays in use:\n{error}")
            return
        self._gateway.switch(successor)
        self._gateway.readiness.note(Reloaded(at_s, (), needs_restart))
        self._say("reloaded the configuration")
        for name in needs_restart:
            self._say(f"  note: {name} keeps its value until headgate is started anew")


def kept(now: Config, wanted: Config) -> tuple[Config, tuple[str, ...]]:
    """`wanted` with those settings of `now` that a running process cannot change, and the names of
    those that differ."""
    fixed = {name: getattr(now.server, name) for name in _FIXED}
    server: ServerConfig = dataclasses.replace(wanted.server, **fixed)
    differ = [f"server.{name}" for name in _FIXED if getattr(wanted.server, name) != fixed[name]]
    if _revealed(wanted.keys) != _revealed(now.keys):
        differ.append("keys")
    if wanted.metrics.otel != now.metrics.otel:
        differ.append("metrics.otel")
    if wanted.batch.jobs.path != now.batch.jobs.path:
        differ.append("batch.jobs.path")
    metrics = dataclasses.replace(wanted.metrics, otel=now.metrics.otel)
    jobs = dataclasses.replace(wanted.batch.jobs, path=now.batch.jobs.path)
    batch = dataclasses.replace(wanted.batch, jobs=jobs)
    stays = dataclasses.replace(wanted, server=server, keys=now.keys, metrics=metrics, batch=batch)
    return stays, tuple(differ)


def _revealed(keys: KeysConfig) -> tuple[str, str, str]:
    return keys.path, keys.pepper.reveal(), keys.unpriced


def _place(problem: Problem) -> str:
    """Where a problem is, without its message, which may quote the file."""
    line = "" if problem.line is None else f"line {problem.line}"
    return ": ".join(part for part in (line, problem.key) if part) or "the file cannot be read"
