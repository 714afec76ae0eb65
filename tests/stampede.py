"""A process of its own, with breakers of its own, at the moment when their open time is over: says
`ready`, waits for a line, and then asks so many times at once. What came of it goes out as JSON.

    python stampede.py BASE_URL CALLERS
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from limiting import a_call
from msgspec.structs import replace

from headgate.clock import SystemClock
from headgate.config import Config, ProviderConfig
from headgate.errors import BreakerOpen
from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.pipeline import by_target, limiting, limits, per_target, providers, resilience, stack
from headgate.providers.wire_client import open_wire
from headgate.types import Call, Reply, Secret, WireRequest

OPEN_S = 0.05
BODY = {"model": "m", "messages": [{"role": "user", "content": "Capital of France?"}]}


def a_question() -> Call:
    return replace(
        a_call(), request=WireRequest("/chat/completions", json.dumps(BODY).encode(), ())
    )


async def rush(base_url: str, callers: int, ready: Callable[[], None]) -> dict[str, Any]:
    """A breaker that has been open until now, and `callers` that ask as soon as `ready` returns:
    how many were answered with which status, and what the others were told."""
    provider = ProviderConfig(base_url=base_url, api_key=Secret("sk-stampede"))
    breaker = BreakerConfig(recovery_timeout=OPEN_S)
    config = Config(providers={"p": provider}, breaker=breaker, retry=RetryConfig(attempts=1))
    clock, wire = SystemClock(), open_wire(provider)
    parts = resilience(config, clock)
    layers = per_target(config, parts, clock, limits(limiting(config, clock), clock).limit)
    ask = stack(layers, by_target(providers(config, {"p": wire}, clock)))
    try:
        now_s = clock.monotonic()
        parts.guards.deployments.get(("p", "m"), now_s).force("open", now_s)
        await asyncio.sleep(2 * OPEN_S)
        await asyncio.to_thread(ready)
        ends = await asyncio.gather(
            *(ask(a_question()) for _ in range(callers)), return_exceptions=True
        )
    finally:
        await wire.aclose()
    return {
        "statuses": [end.status for end in ends if isinstance(end, Reply)],
        "waits_s": [end.retry_after_s for end in ends if isinstance(end, BreakerOpen)],
        "state": parts.guards.deployments.get(("p", "m"), clock.monotonic()).state,
    }


def _by_line() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(rush(sys.argv[1], int(sys.argv[2]), _by_line))))
