"""What every benchmark shares: interleaved rounds, medians, ratios, one JSON document.

Elapsed time on a shared machine is mostly the neighbours', so figures are CPU time. Compared things
take turns within one run, and the ratio is the median of the rounds' own ratios.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def cpu_us(work: Callable[[], None], count: int) -> float:
    """CPU microseconds of this thread for one of the `count` repetitions that `work` makes."""
    started_ns = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - started_ns) / 1000 / count


def rounds(candidates: Mapping[str, Callable[[], float]], number: int) -> dict[str, list[float]]:
    """`number` rounds in which each candidate is measured once, in turns; the figures by name."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(number):
        for name, measure in candidates.items():
            figures[name].append(measure())
    return figures


def compare(figures: Mapping[str, list[float]], subject: str, limit: str) -> dict[str, float]:
    """Medians of two candidates and the median of the rounds' ratios."""
    ratios = [a / b for a, b in zip(figures[subject], figures[limit], strict=True)]
    return {
        subject: round(statistics.median(figures[subject]), 3),
        limit: round(statistics.median(figures[limit]), 3),
        "ratio": round(statistics.median(ratios), 2),
    }


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "src"], capture_output=True, text=True
    )
    return {
        "commit": commit.stdout.strip() + ("+changes" if changed.stdout.strip() else ""),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def report(name: str, results: Any) -> None:
    """Prints the run's JSON document."""
    json.dump({"benchmark": name, "machine": machine(), "results": results}, sys.stdout, indent=2)
    print()
