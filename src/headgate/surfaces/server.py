"""Runs the gateway under uvicorn: one process, or several that share a disk tier.

This file owns the process: sockets, signals, workers. It decides nothing about calls.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from headgate.config import Config, ServerConfig
from headgate.errors import ConfigError, Problem
from headgate.runtime import Runtime
from headgate.surfaces.gateway import Gateway
from headgate.surfaces.guard import is_loopback
from headgate.surfaces.paced import paced

CONFIG_VARIABLE = "HEADGATE_CONFIG"
HOST_VARIABLE = "HEADGATE_SERVER_HOST"
"""How a worker process learns the address its parent was told to listen on."""


def check_exposure(config: Config) -> None:
    """Raises ConfigError where the admin routes would be open to other machines."""
    if not is_loopback(config.server.host) and not config.server.admin_token:
        wanted = "set server.admin_token (for instance to ${HEADGATE_ADMIN_TOKEN}), or listen on "
        raise ConfigError([Problem("server.admin_token", f"{wanted}127.0.0.1")])


def serve(
    config: Config, *, config_file: Path | None, announce: Callable[[str], None] | None = None
) -> None:
    """Serves until SIGINT or SIGTERM, then drains running calls: returns, or exits with status 0.

    `announce` is called once with the URL when connections are accepted (they are answered a moment
    later). Call it from the main thread, which signals go to. With more than one worker each
    process loads `config_file` (or the environment) by itself. Raises ConfigError, and OSError
    where the address cannot be listened on.
    """
    check_exposure(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    workers = config.server.workers
    if workers > 1:
        _tell_workers(config, config_file)
    with listen(config.server.host, config.server.port) as listener:
        settings = uvicorn_settings(
            _FACTORY if workers > 1 else Gateway(Runtime(config)), config.server
        )
        # What is loaded now stays: the collector need not walk through it again for ever.
        gc.collect()
        gc.freeze()
        if announce is not None:
            announce(url_of(listener))
        if workers > 1:
            Multiprocess(settings, sockets=[listener]).run()
        else:
            uvicorn.Server(settings).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except UnicodeError:  # Python's answer to a name such as "a..b".
        raise OSError(errno.EINVAL, "not a host name") from None
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL under which a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def uvicorn_settings(app: Gateway | str, server: ServerConfig) -> uvicorn.Config:
    """What uvicorn is told; a string is the name of a factory of the application."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=server.workers,
        loop="uvloop",
        http=paced(server.write_timeout),  # type: ignore[arg-type]
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


def _tell_workers(config: Config, config_file: Path | None) -> None:
    """Worker processes are started afresh: they learn by the environment what to load."""
    if config_file is not None:
        os.environ[CONFIG_VARIABLE] = str(config_file)
    os.environ[HOST_VARIABLE] = config.server.host


def _stop(number: int, frame: FrameType | None) -> None:
    """Ends with status 0. uvicorn raises the signal once more when it has drained, and the default
    action would report a clean end as a death by signal. Also before it has begun to serve."""
    raise SystemExit(0)


_FACTORY = "headgate.surfaces.server:worker_app"


def worker_app() -> Gateway:
    """The application of one of several worker processes."""
    files = importlib.import_module("headgate.config_file")
    loaded = files.load_or_default(None, os.environ)
    return Gateway(Runtime(loaded.config))
