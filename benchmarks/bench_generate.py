"""`headgate generate` for an app of 200 prompts, and what a cached prompt route of a generated
backend costs beside the same FastAPI route that returns a constant.

Targets: at most 1 s for the whole command, and 1.5 times the CPU of the constant, both under
uvicorn in a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from load import cpu_us_per_request, request, server
from measure import compare, report, rounds

TARGETS = {"generate_s": 1.0, "route_ratio": 1.5}
PROMPTS = 200
ROUNDS = 9
REQUESTS = 2000
RUNS = 7
LLM = 'llm "fast" { provider: "fake" model: "m" temperature: 0.2 max_tokens: 64 }\n'
PROMPT = """prompt "p%d" {
  model: "fast"
  args: { text: "string", points: "int = 3" }
  template: \"\"\"
  Summarise {{text}} in {{points}} points.
  \"\"\"
}
"""
BODY = json.dumps({"text": "How do I get my money back? " * 8, "points": 4}).encode()
ROUTES = {
    "cached route": "/api/prompts/p0",
    "constant object": "/object",
    "constant bytes": "/bytes",
}


def generate_s(program: Path) -> tuple[float, float]:
    """Elapsed and CPU seconds of the command in a process of its own."""
    out = program.with_name(f"out{time.monotonic_ns()}")
    command = [sys.executable, "-m", "headgate", "generate", str(program), "--out", str(out)]
    started_s, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu_s = after.children_user + after.children_system
    cpu_s -= before.children_user + before.children_system
    return time.perf_counter() - started_s, cpu_s


def routes(folder: Path) -> dict[str, Any]:
    """The routes in turns."""
    uvicorn = ["-m", "uvicorn", "--app-dir", str(folder), "constant_route:app"]
    with server([*uvicorn, "--no-access-log"]) as (port, pid):
        candidates = {
            name: partial(cpu_us_per_request, port, pid, [request(path, BODY)] * REQUESTS)
            for name, path in ROUTES.items()
        }
        rounds(candidates, 1)
        figures = rounds(candidates, ROUNDS)
    constants = [name for name in ROUTES if name.startswith("constant")]
    return {name: compare(figures, "cached route", name) for name in constants}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / "app.ai"
        program.write_text(LLM + "".join(PROMPT % number for number in range(PROMPTS)))
        timed = [generate_s(program) for _ in range(RUNS)]
        results = {
            "generate": {
                "unit": "s for 200 prompts, the whole process",
                "target": TARGETS["generate_s"],
                "elapsed": round(statistics.median(one[0] for one in timed), 3),
                "cpu": round(statistics.median(one[1] for one in timed), 3),
            },
            "route": {
                "unit": "CPU us per request",
                "target_ratio": TARGETS["route_ratio"],
                **routes(next(Path(name).glob("out*"))),
            },
        }
    report("generated backends", results)


if __name__ == "__main__":
    main()
