"""CPU time of the gateway for one request at 32 connections, hit and miss, against bare uvicorn.

Limit of a hit: an application that reads the body and answers the same bytes. Limit of a miss: one
that forwards with the same upstream client. The request is 400 B, the answer 1 KB; upstream, load
and gateway are processes of their own.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from load import cpu_us_per_request, request, server
from measure import compare, report, rounds

ROUNDS = 9
REQUESTS = 3000
CHAT = "/v1/chat/completions"
TARGETS = {"hit": 1.6, "miss": 1.5}


def body(number: int) -> bytes:
    """A chat request of 400 bytes, another one for each number."""
    text = f"Question {number:012d}: how do I get my money back? " + "Please be brief. " * 15
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": "gpt-4o", "messages": messages, "temperature": 0.7}).encode()


def repeated() -> list[bytes]:
    return [request(CHAT, body(0))] * REQUESTS


def fresh(numbers: Iterator[int]) -> list[bytes]:
    return [request(CHAT, body(number)) for number in itertools.islice(numbers, REQUESTS)]


def settings(folder: str, upstream_port: int) -> str:
    file = Path(folder) / "headgate.toml"
    # On a busy machine it would turn the load away.
    text = '[limits]\nloop_lag_max = "60s"\n[providers.openai]\n'
    file.write_text(f'{text}base_url = "http://127.0.0.1:{upstream_port}/v1"\n')
    return str(file)


def measured() -> Iterator[tuple[str, dict[str, float]]]:
    with tempfile.TemporaryDirectory() as folder, server(["bare.py", "answer"]) as (upstream, _):
        config = settings(folder, upstream)
        environment = {"UPSTREAM": f"http://127.0.0.1:{upstream}"}
        with (
            server(["bare.py", "answer"]) as answering,
            server(["bare.py", "forward"], environment) as forwarding,
            server(["-m", "headgate", "serve", "--config", config]) as gateway,
        ):
            numbers = itertools.count(1)
            candidates = {
                "headgate hit": lambda: cpu_us_per_request(*gateway, repeated()),
                "bare answer": lambda: cpu_us_per_request(*answering, repeated()),
                "headgate miss": lambda: cpu_us_per_request(*gateway, fresh(numbers)),
                "bare forward": lambda: cpu_us_per_request(*forwarding, fresh(numbers)),
            }
            rounds(candidates, 1)
            figures = rounds(candidates, ROUNDS)
    yield "hit", compare(figures, "headgate hit", "bare answer")
    yield "miss", compare(figures, "headgate miss", "bare forward")


def main() -> None:
    results = {
        name: {"unit": "CPU us per request", "target_ratio": TARGETS[name], **figures}
        for name, figures in measured()
    }
    report("gateway", results)


if __name__ == "__main__":
    main()
