"""Runs the gateway under uvicorn: one process, or several that share a disk tier.

This file owns the process: sockets, signals, workers. It decides nothing about calls.
"""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path
from types import FrameType

import uvicorn

from headgate.config import Config
from headgate.errors import ConfigError, Problem
from headgate.runtime import Runtime
from headgate.surfaces.gateway import Gateway
from headgate.surfaces.guard import is_loopback

CONFIG_VARIABLE = "HEADGATE_CONFIG"
HOST_VARIABLE = "HEADGATE_SERVER_HOST"
"""How a worker process learns the address its parent was told to listen on."""


def check_exposure(config: Config) -> None:
    """Raises ConfigError where the admin routes would be open to other machines."""
    if not is_loopback(config.server.host) and not config.server.admin_token:
        wanted = "set server.admin_token (for instance to ${HEADGATE_ADMIN_TOKEN}), or listen on "
        raise ConfigError([Problem("server.admin_token", f"{wanted}127.0.0.1")])


def serve(config: Config, *, config_file: Path | None) -> None:
    """Serves until SIGINT or SIGTERM, then drains running calls: returns, or exits with status 0.

    Call it from the main thread, which signals go to. With more than one worker each process loads
    `config_file` (or the environment) by itself.
    """
    check_exposure(config)
    signal.signal(signal.SIGTERM, _stop)
    server = config.server
    app: Gateway | str = Gateway(Runtime(config)) if server.workers == 1 else _FACTORY
    if server.workers > 1:
        if config_file is not None:
            os.environ[CONFIG_VARIABLE] = str(config_file)
        os.environ[HOST_VARIABLE] = server.host
    uvicorn.run(
        app,
        factory=isinstance(app, str),
        host=server.host,
        port=server.port,
        workers=server.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(server.drain_timeout),
        h11_max_incomplete_event_size=32_768,
    )


def _stop(number: int, frame: FrameType | None) -> None:
    """Ends with status 0. uvicorn raises SIGTERM once more when it has drained, and the default
    action would report a clean end as a death by signal."""
    raise SystemExit(0)


_FACTORY = "headgate.surfaces.server:worker_app"


def worker_app() -> Gateway:
    """The application of one of several worker processes."""
    files = importlib.import_module("headgate.config_file")
    loaded = files.load_or_default(None, os.environ)
    return Gateway(Runtime(loaded.config))
