"""CPU time of `headgate batch run` for one line of a job of 10,000 against an upstream that answers
at once: validation, copy, stack, connection, store and output file; without the start of the
process, which a job of one line tells.

The lines are 400 B, the answers 1 KB; the upstream is a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_gateway import CHAT, body
from load import server
from measure import report

ROUNDS = 3
LINES = 10_000
TARGET_US = 1000


def line(number: int) -> bytes:
    """A line of a job, with another question for each number."""
    asked = {"custom_id": f"r{number}", "method": "POST", "url": CHAT}
    return json.dumps({**asked, "body": json.loads(body(number))}).encode() + b"\n"


def cpu_us(folder: Path, lines: int, name: str) -> float:
    """CPU microseconds of the whole process, children included, that works off so many lines."""
    file, out = folder / f"{name}.jsonl", folder / f"{name}.out"
    file.write_bytes(b"".join(map(line, range(lines))))
    words = ["batch", "run", str(file), "--out", str(out), "--lane", "live", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate", *words, "--config", "headgate.toml"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    told = b"" if process.stderr is None else process.stderr.read()
    if status or out.read_bytes().count(b"\n") != lines:
        raise SystemExit(told.decode())
    return (used.ru_utime + used.ru_stime) * 1e6


def measured() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name, server(["bare.py", "answer"]) as (upstream, _):
        folder = Path(name)
        text = f'[providers.local]\nbase_url = "http://127.0.0.1:{upstream}/v1"\n'
        (folder / "headgate.toml").write_text(text)
        figures = []
        for number in range(ROUNDS):
            (folder / "headgate-jobs.db").unlink(missing_ok=True)
            start_us = cpu_us(folder, 1, f"one{number}")
            figures.append((cpu_us(folder, LINES, f"many{number}") - start_us) / (LINES - 1))
    return {"a line": round(statistics.median(figures), 1), "best": round(min(figures), 1)}


def main() -> None:
    results = {"unit": "CPU us per line", "target": TARGET_US, "lines": LINES, **measured()}
    report("jobs", {"live": results})


if __name__ == "__main__":
    main()
