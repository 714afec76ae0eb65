"""Import time, time from start to the first answer, and memory when idle, of fresh processes.

Each is the median of several processes; the import is measured inside the process, so that Python's
own start is not counted, the first answer from the outside, so that it is.
"""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import subprocess
import sys
import time

from load import HERE, resident_bytes, server
from measure import report

ROUNDS = 9
IMPORT = "import time; t = time.perf_counter(); import headgate; print(time.perf_counter() - t)"
RUNTIME = (
    "import time; t = time.perf_counter(); import headgate; headgate.Runtime(); "
    "print(time.perf_counter() - t)"
)
TARGETS = {"import_ms": 100, "first_answer_s": 0.7, "idle_mb": 60}
BODY = '{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'


def seconds_of(program: str) -> float:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return float(done.stdout)


def first_answer_s(settings: dict[str, str]) -> float:
    """From starting `headgate serve` to its first whole answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "headgate", "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=HERE, env=settings, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            time.sleep(0.002)
        return time.perf_counter() - started_s
    finally:
        process.terminate()
        process.wait(20)


def environment() -> dict[str, str]:
    """Without keys, so that the built-in provider answers."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    # As installed: compiled files are kept.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            "POST", "/v1/chat/completions", BODY, {"content-type": "application/json"}
        )
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def idle_mb(settings: dict[str, str]) -> float:
    """Resident memory after one answer."""
    with server(["-m", "headgate", "serve"], settings) as (port, pid):
        answers(port)
        time.sleep(0.5)
        return resident_bytes(pid) / 1e6


def main() -> None:
    with server(["bare.py", "answer"]) as (upstream, _):
        built_in = environment()
        over_http = built_in | {
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
        }
        measures = {
            "import_ms": lambda: seconds_of(IMPORT) * 1000,
            "import_and_runtime_ms": lambda: seconds_of(RUNTIME) * 1000,
            "first_answer_s": lambda: first_answer_s(over_http),
            "first_answer_s, built-in provider": lambda: first_answer_s(built_in),
            "idle_mb": lambda: idle_mb(over_http),
            "idle_mb, built-in provider": lambda: idle_mb(built_in),
        }
        results = {
            name: round(statistics.median([measure() for _ in range(ROUNDS + 1)][1:]), 3)
            for name, measure in measures.items()
        }
    report("start", {"targets": TARGETS, **results})


if __name__ == "__main__":
    main()
