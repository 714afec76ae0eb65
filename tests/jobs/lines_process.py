"""Reads a file of 200 MB with 50 000 lines, which it makes. Not a test: tests/jobs/test_lines.py
starts it. Prints how much memory that took as JSON.

    lines_process.py PATH
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from headgate.jobs.lines import check
from headgate.types import USUAL_POLICY

LINES = 50_000


def main(path: str) -> None:
    with open(path, "wb") as file:
        for number in range(LINES):
            said = [{"role": "user", "content": f"{number} {'word ' * 763}"}]
            body = {"model": "gpt-4o", "messages": said, "max_tokens": 100}
            line = {"custom_id": f"request-{number}", "method": "POST",
                    "url": "/v1/chat/completions", "body": body}  # fmt: skip
            file.write(json.dumps(line).encode() + b"\n")
    with open(path, "rb") as file:
        found = check(file, lambda model, endpoint: USUAL_POLICY)
    # Not getrusage: it remembers how large the process was that started this one.
    status = Path("/proc/self/status").read_text("ascii")
    rss_mb = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    told = {
        "size_mb": os.path.getsize(path) / 1e6,
        "lines": len(found.lines),
        "problems": found.problem_count,
        "rss_mb": rss_mb,
    }
    os.unlink(path)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
