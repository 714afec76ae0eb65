"""Draws examples/support-desk/numbers.svg: `python benchmarks/desk_picture.py OUT`.

The backend of examples/support-desk as `headgate generate` makes it, customers for a minute and a
half, a provider that fails for a while; then panels of the shipped dashboard.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from dashboard_picture import LASTS_S, SCRAPE_MS, charts, free_port, process
from measure import ROOT
from plots import Chart, document

from headgate.testing import Answer, FaultServer

OUTAGE_S = (25.0, 37.0)
CUSTOMERS = 12
MESSAGES = 2500
SHOWN = (
    "Cache hit rate", "P95 latency by model", "Error rate", "Token usage (per second)",
    "Calls by how they ended", "Billed, dollars an hour", "Avoided, dollars an hour",
    "Refusals by reason",
)  # fmt: skip
ROUTES = {"/api/chains/answer": 5, "/api/prompts/sort": 4, "/api/llm/careful": 2}
"""What customers' messages are sent to, and how often."""


class Customers:
    """They write the same things, popular ones more often."""

    def __init__(self, port: int, provider: FaultServer) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._provider = provider
        self._started_s = time.monotonic()

    def run(self) -> None:
        """For as long as it lasts."""
        threads = [threading.Thread(target=self._write_on, args=(at,)) for at in range(CUSTOMERS)]
        threads.append(threading.Thread(target=self._play))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _write_on(self, seed: int) -> None:
        dice = random.Random(seed)
        while self._elapsed_s() < LASTS_S:
            route = dice.choices([*ROUTES], [*ROUTES.values()])[0]
            message = f"Message {int(MESSAGES ** dice.random())} of a customer"
            name = "prompt" if route.startswith("/api/llm") else "message"
            headers = {"content-type": "application/json"}
            if name == "prompt":
                headers["accept"] = "text/event-stream"
            body = json.dumps({name: message}).encode()
            request = urllib.request.Request(self._url + route, body, headers)
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request, timeout=30).read()
            time.sleep(dice.uniform(0.1, 0.6))

    def _play(self) -> None:
        """Keeps the provider's script a few steps ahead of what it is asked."""
        written, dice, was_out = 0, random.Random(7), False
        while self._elapsed_s() < LASTS_S:
            is_out = OUTAGE_S[0] < self._elapsed_s() < OUTAGE_S[1]
            if was_out and not is_out:
                # Nobody asks it by now: what it would have said is not said.
                self._provider.clear()
                written = len(self._provider.calls)
            was_out = is_out
            while written - len(self._provider.calls) < 3:
                fails = dice.random() < (0.7 if is_out else 0.01)
                delay_s = 0.3 * math.exp(dice.gauss(0, 0.5))
                self._provider.script(Answer(delay_s=delay_s, status=500 if fails else 200))
                written += 1
            time.sleep(0.02)


def chosen(url: str, start_s: float, end_s: float) -> list[Chart]:
    """Those panels that are shown, in their order."""
    drawn = {chart.title: chart for chart in charts(url, start_s, end_s)}
    return [drawn[title] for title in SHOWN]


def picture(folder: Path) -> str:
    """The SVG of one run."""
    port, watching = free_port(), free_port()
    desk = ROOT / "examples" / "support-desk" / "desk.ai"
    generate = [sys.executable, "-m", "headgate", "generate", str(desk), "--out", "app"]
    subprocess.run(generate, cwd=folder, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {SCRAPE_MS}ms}}\nscrape_configs:\n  - {{job_name: headgate, "
        f"static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    )
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(FaultServer())
        os.environ |= {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "sk-any"}
        stack.enter_context(contextlib.chdir(folder / "app"))
        serve = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port)]
        ready = f"http://127.0.0.1:{port}/readyz"
        stack.enter_context(process(serve, folder / "app.log", ready))
        url = f"http://127.0.0.1:{watching}"
        watch = ["prometheus", f"--config.file={folder / 'prometheus.yml'}",
                 f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{watching}"]  # fmt: skip
        stack.enter_context(process(watch, folder / "prometheus.log", f"{url}/-/ready"))
        start_s = time.time()
        Customers(port, provider).run()
        title = "The support desk: 90 s of invented customers, the provider fails from 25 s to 37 s"
        return document(title, chosen(url, start_s, time.time()))


def main(out: str) -> None:
    target = Path(out).resolve()
    with tempfile.TemporaryDirectory() as folder:
        target.write_text(picture(Path(folder)), encoding="utf-8")
    print(f"{target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
