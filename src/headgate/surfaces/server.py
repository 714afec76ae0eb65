"""Opens the port and serves: one process, or several that share a disk tier.

This file owns the process. It decides nothing about calls.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from headgate import telemetry
from headgate.config import Config
from headgate.surfaces.exposure import check_exposure
from headgate.surfaces.life import begin, hold_signals, release_signals, settle
from headgate.surfaces.logs import logged
from headgate.surfaces.reload import Source
from headgate.surfaces.workers import Workers


def serve(config: Config, source: Source, announce: Callable[[str], str] | None = None) -> None:
    """Serves until SIGINT or SIGTERM, then drains running calls and returns.

    `announce` is asked once, with the URL, what to say when connections are accepted (they are
    answered a moment later). Call it from the main thread, which signals go to. With more than one
    worker each process reads `source`, and so does SIGHUP. Raises ConfigError, and OSError where
    the address cannot be listened on.
    """
    check_exposure(config)
    notes = telemetry.exporters().check(os.environ) if config.metrics.otel else []
    hold_signals()
    server = config.server
    with listen(server.host, server.port) as listener, logged(config) as lines:
        life = begin(config, source, lines=lines) if server.workers == 1 else None
        settle()
        if announce is not None:
            lines.say(announce(url_of(listener)))
        for note in notes:
            lines.say(f"  note: {note}")
        if life is None:
            Workers(source.read(), listener, server.workers, lines.say).run()
        else:
            life.watch_signals()
            release_signals()
            life.run(sockets=[listener])


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
