"""Streams: the CPU of a replay, what the gateway adds to the first byte, and the memory of 10 000
callers of one stream.

Limit of a replay: an application that writes the same 200 events. Limit of the first byte: what an
application adds that forwards with the same upstream client; both over asking upstream directly.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from bench_gateway import CHAT, body, settings
from load import cpu_us_per_request, first_byte_us, peak_bytes, request, server
from measure import compare, report, rounds

ROUNDS = 9
REQUESTS = 1000
ASKED_IN_A_ROUND = 100
CALLERS = 10_000


def stream_body(number: int) -> bytes:
    """A streamed chat request of 400 bytes, another one for each number."""
    return json.dumps({**json.loads(body(number)), "stream": True}).encode()


def added(
    direct: Callable[[], float], through: dict[str, Callable[[], float]]
) -> dict[str, list[float]]:
    """Microseconds that each way adds to the first byte: one figure a round, of medians."""
    figures: dict[str, list[float]] = {name: [] for name in through}
    for _ in range(ROUNDS):
        asked: dict[str, list[float]] = {name: [] for name in ("direct", *through)}
        for _ in range(ASKED_IN_A_ROUND):
            asked["direct"].append(direct())
            for name, ask in through.items():
                asked[name].append(ask())
        base = statistics.median(asked["direct"])
        for name in through:
            figures[name].append(statistics.median(asked[name]) - base)
    return figures


async def _one(port: int, content: bytes, go: asyncio.Event) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await go.wait()
    writer.write(content)
    ended = False
    tail = b""
    while not ended and (piece := await reader.read(65_536)):
        tail = (tail + piece)[-40:]
        ended = tail.endswith(b"\r\n0\r\n\r\n")
    writer.close()
    return ended


async def _crowd(port: int, content: bytes, count: int) -> int:
    go = asyncio.Event()
    asking = [asyncio.ensure_future(_one(port, content, go)) for _ in range(count)]
    await asyncio.sleep(2)
    go.set()
    return sum(await asyncio.gather(*asking))


def crowd(port: int, pid: int, number: int) -> dict[str, Any]:
    """`CALLERS` identical streamed calls at once, on a connection each."""
    answered = asyncio.run(_crowd(port, request(CHAT, stream_body(number)), CALLERS))
    return {"callers": CALLERS, "answered": answered,
            "peak_mb": round(peak_bytes(pid) / 1e6, 1), "target_mb": 600}  # fmt: skip


def measured(*, with_crowd: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder, server(["bare.py", "stream"]) as (upstream, _):
        environment = {"UPSTREAM": f"http://127.0.0.1:{upstream}"}
        serve = ["-m", "headgate", "serve", "--config", settings(folder, upstream)]
        with (
            server(["bare.py", "stream"]) as writing,
            server(["bare.py", "forward"], environment) as forwarding,
            server(serve) as gateway,
        ):
            numbers = itertools.count(1)
            same = [request(CHAT, stream_body(0))] * REQUESTS
            candidates = {
                "headgate replay": lambda: cpu_us_per_request(*gateway, same),
                "bare writer": lambda: cpu_us_per_request(*writing, same),
            }
            rounds(candidates, 1)
            figures = rounds(candidates, ROUNDS)
            yield "replay of 200 events", compare(figures, "headgate replay", "bare writer")

            def fresh() -> bytes:
                return request(CHAT, stream_body(next(numbers)))

            figures = added(
                lambda: first_byte_us(upstream, fresh()),
                {
                    "headgate": lambda: first_byte_us(gateway[0], fresh()),
                    "bare forward": lambda: first_byte_us(forwarding[0], fresh()),
                },
            )
            yield "first byte added", compare(figures, "headgate", "bare forward")
            if with_crowd:
                yield "crowd", crowd(*gateway, next(numbers))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--no-crowd", action="store_true", help="leave out the 10 000 callers")
    chosen = arguments.parse_args()
    targets = {"replay of 200 events": 3.0, "first byte added": 1.5}
    units = {"replay of 200 events": "CPU us per request", "first byte added": "elapsed us"}
    results = {
        name: {"unit": units[name], "target_ratio": targets[name], **figures}
        if name in targets
        else figures
        for name, figures in measured(with_crowd=not chosen.no_crowd)
    }
    report("streams", results)


if __name__ == "__main__":
    main()
