"""Embeddings through the gateway with micro-batching on and off, in turns.

256 callers with one input each, again and again, in front of a provider that takes 20 ms for a
request and 1 ms for each input, one request at once, eight, or as many as come: requests that reach
it, and answers in a second. Then what a lone call takes more, and what a list of 1 000 new inputs
costs; in front of a provider that answers at once.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from load import _ask_all, cpu_ns, cpu_us_per_request, request, server
from measure import report

CALLERS = 256
ROUNDS = 3
LONE_ROUNDS = 15
LONE_CALLS = 60
LIST = 1_000
EMBEDDINGS = "/v1/embeddings"


def body(inputs: int = 1) -> bytes:
    """A request with inputs that nobody has asked for before."""
    asked = time.perf_counter_ns()
    texts = [f"question {asked} {number}: where is my parcel?" for number in range(inputs)]
    given: Any = texts if inputs > 1 else texts[0]
    return json.dumps({"model": "text-embedding-3-small", "input": given}).encode()


def fresh(count: int) -> list[bytes]:
    return [request(EMBEDDINGS, body()) for _ in range(count)]


def settings(folder: str, upstream: int, *, on: bool) -> str:
    file = Path(folder) / f"{upstream}-{on}.toml"
    file.write_text(
        '[limits]\nloop_lag_max = "60s"\nqueue_wait = "600s"\n'
        f"[batch]\nenabled = {str(on).lower()}\n"
        f'[providers.openai]\nbase_url = "http://127.0.0.1:{upstream}/v1"\n'
    )
    return str(file)


def counted(upstream: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{upstream}/") as answer:
        return int(json.load(answer)["requests"])


def crowd(upstream: int, gateway: tuple[int, int], calls: int) -> dict[str, float]:
    """So many calls of 256 callers: answers in a second, requests upstream, the gateway's CPU."""
    port, pid = gateway
    before, contents, before_ns = counted(upstream), fresh(calls), cpu_ns(pid)
    started_s = time.perf_counter()
    uvloop.run(_ask_all(port, iter(contents), CALLERS))
    took_s = time.perf_counter() - started_s
    cpu_ms = (cpu_ns(pid) - before_ns) / 1e6 / calls
    return {"per_s": calls / took_s, "requests": counted(upstream) - before, "cpu_ms": cpu_ms}


def crowds(at_once: int, calls: dict[bool, int]) -> dict[str, Any]:
    figures: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        upstream, _ = stack.enter_context(server(["embedder.py", "--at-once", str(at_once)]))
        gateways = {
            on: stack.enter_context(
                server(["-m", "headgate", "serve", "--config", settings(folder, upstream, on=on)])
            )
            for on in (True, False)
        }
        for _ in range(ROUNDS):
            for on, gateway in gateways.items():
                figures[on].append(crowd(upstream, gateway, calls[on]))
    on, off = (
        {
            name: statistics.median(one[name] for one in figures[is_on])
            for name in ("per_s", "requests", "cpu_ms")
        }
        for is_on in (True, False)
    )
    return {
        "answers per s": {"on": round(on["per_s"]), "off": round(off["per_s"])},
        "CPU ms per call": {"on": round(on["cpu_ms"], 2), "off": round(off["cpu_ms"], 2)},
        "throughput ratio": round(on["per_s"] / off["per_s"], 1),
        "calls per request": round(calls[True] / on["requests"], 1),
        "target_throughput_ratio": 3,
        "target_calls_per_request": 10,
    }


def instant() -> dict[str, Any]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        upstream, _ = stack.enter_context(server(["embedder.py", "--instant"]))
        gateways = {
            on: stack.enter_context(
                server(["-m", "headgate", "serve", "--config", settings(folder, upstream, on=on)])
            )
            for on in (True, False)
        }
        lone: dict[bool, list[float]] = {True: [], False: []}
        lists: dict[bool, list[float]] = {True: [], False: []}
        cpu: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(LONE_ROUNDS):
            for on, (port, pid) in gateways.items():
                contents = fresh(LONE_CALLS)
                started_s, before_ns = time.perf_counter(), cpu_ns(pid)
                uvloop.run(_ask_all(port, iter(contents), 1))
                lone[on].append((time.perf_counter() - started_s) * 1000 / LONE_CALLS)
                cpu[on].append((cpu_ns(pid) - before_ns) / 1e6 / LONE_CALLS)
                content = [request(EMBEDDINGS, body(LIST))]
                lists[on].append(cpu_us_per_request(port, pid, content, 1) / 1000)
    return {
        "lone call, ms": _both(lone) | {"target_added_ms": 1},
        "lone call, CPU ms": _both(cpu),
        f"list of {LIST} new inputs, CPU ms": _both(lists),
    }


def _both(figures: dict[bool, list[float]]) -> dict[str, float]:
    added = [on - off for on, off in zip(figures[True], figures[False], strict=True)]
    return {
        "on": round(statistics.median(figures[True]), 3),
        "off": round(statistics.median(figures[False]), 3),
        "added": round(statistics.median(added), 3),
    }


def measured() -> Iterator[tuple[str, Any]]:
    yield "one request at once", crowds(1, {True: 2560, False: 256})
    yield "eight requests at once", crowds(8, {True: 5120, False: 1024})
    yield "as many as come", crowds(0, {True: 5120, False: 5120})
    yield "a provider that answers at once", instant()


def main() -> None:
    report("batching", dict(measured()))


if __name__ == "__main__":
    main()
