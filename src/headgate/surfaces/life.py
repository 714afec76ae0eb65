"""A server's life under uvicorn: SIGTERM drains, a second one hurries, SIGHUP reloads.

uvicorn stops a server by cancelling its tasks, which cuts streams in the middle without a word.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from headgate import telemetry
from headgate.config import Config
from headgate.runtime import Runtime
from headgate.surfaces import terminal
from headgate.surfaces.connection import Connection, Connections, limits_of
from headgate.surfaces.gateway import Gateway
from headgate.surfaces.logs import LogLines
from headgate.surfaces.numbers import Numbers
from headgate.surfaces.reload import Reload, Source

ENDING_S = 5.0
"""How long an answer that was ended may take to reach a client that reads slowly."""
COLLECT_EVERY = 10_000
"""Objects more than there were, after which Python looks for cycles. After 700, its default, it
takes a quarter of the time of a miss, and finds nothing: what a call leaves behind has none."""
_LOOK_S = 0.05
_HELD = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT})


def begin(
    config: Config,
    source: Source,
    hurry_signal: int | None = None,
    lines: LogLines | None = None,
    numbers: Numbers | None = None,
) -> Life:
    """The server of one process; `source` is what a reload reads, `lines` where it is written down
    what happens (without: stderr), `numbers` those that it shares with other processes."""
    if config.metrics.otel:
        telemetry.exporters().set_up()
    runtime = Runtime(config)
    if lines is not None:
        lines.follow(runtime.calls)
    gateway = Gateway(runtime, numbers)
    connections = Connections(limits_of(config.server))
    reload = Reload(gateway, source, terminal.warn if lines is None else lines.say)
    return Life(uvicorn_settings(gateway, connections), gateway, connections, reload, hurry_signal)


def settle() -> None:
    """What is loaded now stays: the collector need not walk through it again for ever, and comes
    less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])


def hold_signals() -> None:
    """Lets signals wait, in this thread and whatever it starts, until somebody can heed them. An
    exception raised by a signal would be lost where Python happens to run a weak reference's
    callback just then, and default actions would report a clean end as a death by signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release_signals() -> None:
    """Those that wait arrive now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def uvicorn_settings(gateway: Gateway, connections: Connections) -> uvicorn.Config:
    """What uvicorn is told."""
    return uvicorn.Config(
        gateway,
        loop="uvloop",
        http=connections,  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )


class Life(uvicorn.Server):
    """Serves `gateway` until a signal ends it. With `hurry_signal` only that one hurries: whoever
    stops a group of processes may send each of them the first signal twice."""

    def __init__(
        self,
        settings: uvicorn.Config,
        gateway: Gateway,
        connections: Connections,
        reload: Reload,
        hurry_signal: int | None = None,
    ) -> None:
        super().__init__(settings)
        self._gateway = gateway
        self._made = connections
        self._reload = reload
        self._hurry_signal = hurry_signal
        self._is_reload_asked = False
        self._is_hurried = False

    # Signals: each is only noted, and seen by the loop a moment later.

    def watch_signals(self) -> None:
        """In the main thread, before `run`; one that arrives before it ends it when it begins."""
        signal.signal(signal.SIGHUP, self._ask_reload)
        for number in (signal.SIGTERM, signal.SIGINT, self._hurry_signal):
            if number is not None:
                signal.signal(number, self.handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM, SIGINT, and the signal that hurries."""
        self._captured_signals.append(sig)
        hurries = self.should_exit if self._hurry_signal is None else sig == self._hurry_signal
        self._is_hurried = self._is_hurried or hurries
        self.should_exit = True

    def _ask_reload(self, sig: int, frame: FrameType | None) -> None:
        self._is_reload_asked = True

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second, and a reload that was asked for."""
        if self._is_reload_asked and not self.should_exit:
            self._is_reload_asked = False
            await self._reload.perform()
            self._made.limits = limits_of(self._gateway.runtime.config.server)
        return await super().on_tick(counter)

    # The end.

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more, waits for what runs, then ends what is left, each in its dialect."""
        self._gateway.drain()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in self._connections():
            connection.shutdown()
        drain_s = self._gateway.runtime.config.server.drain_timeout
        if not await self._ends_within(drain_s, lambda: self._is_hurried):
            self._gateway.end_calls()
            for connection in self._connections():
                connection.hurry()
            await self._ends_within(ENDING_S, lambda: False)
            await self._cut()
        await self.lifespan.shutdown()

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

    async def _ends_within(self, most_s: float, is_over: Callable[[], bool]) -> bool:
        """Whether nothing is left to wait for."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + most_s
        state, jobs = self.server_state, self._gateway.jobs
        while state.connections or state.tasks or not jobs.is_idle:
            if loop.time() >= until_s or is_over():
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def _cut(self) -> None:
        """Closes what is still open; what runs behind it sees its client leave."""
        for connection in self._connections():
            connection.end()
        await self._ends_within(_LOOK_S * 4, lambda: False)
