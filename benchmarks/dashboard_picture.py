"""Draws docs/dashboard.svg: `python benchmarks/dashboard_picture.py OUT`.

A gateway of two workers, invented traffic for a minute and a half with an outage in its middle, a
real Prometheus; then every panel of the shipped dashboard, as Grafana would ask for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import ROOT
from plots import Chart, Line, document

from headgate.testing import Answer, FakeProvider

LASTS_S, OUTAGE_S = 90.0, (35.0, 55.0)
SCRAPE_MS = 500
STEP_S = 1.0
CLIENTS = 14
QUESTIONS = 400
MODELS = {"gpt-4o": 0.25, "claude-sonnet": 0.35, "gpt-4o-mini": 0.1}
"""Median seconds of an answer, by model."""
NAMES = {"gpt-4o": "openai", "claude-sonnet": "anthropic", "gpt-4o-mini": "azure"}
"""Whose models they are."""
UNITS = {"percentunit": "", "ms": "ms", "s": "s", "reqps": "/s", "currencyUSD": "$/h",
         "bytes": "B", "short": ""}  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def is_there(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def process(command: list[str], log: Path, ready_url: str) -> Iterator[None]:
    """A command that goes on until the end of the block, begun when it answers."""
    with log.open("wb") as output:
        started = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        until_s = time.monotonic() + 60
        while not is_there(ready_url):
            if time.monotonic() > until_s or started.poll() is not None:
                raise RuntimeError(log.read_text("utf-8", "replace"))
            time.sleep(0.1)
        yield
    finally:
        started.terminate()
        started.wait()


def settings(providers: dict[str, FakeProvider]) -> str:
    blocks = [
        "[server]\nworkers = 2\n[cache]\npersist = true\npersist_path = 'cache.db'\n"
        "[breaker]\nrecovery_timeout = 3\n"
        "[limits]\nloop_lag_max = 60\n"
    ]
    for model, provider in providers.items():
        name = NAMES[model]
        others = '["gpt-4o"]' if model == "claude-sonnet" else "[]"
        blocks.append(
            f'[providers."{name}"]\nbase_url = "{provider.base_url}"\napi_key = "x"\n'
            f'[models."{model}"]\ntargets = ["{name}/{model}"]\nfallbacks = {others}\n'
            f'[prices."{model}"]\ninput = {3 + len(model)}\noutput = {10 + 2 * len(model)}\n'
        )
    return "".join(blocks)


class Traffic:
    """Clients that ask one question after the other, popular ones more often."""

    def __init__(self, port: int, providers: dict[str, FakeProvider]) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self._providers = providers
        self._started_s = time.monotonic()
        self._dice = random.Random(7)

    def run(self) -> None:
        """For as long as it lasts."""
        clients = [threading.Thread(target=self._ask_on, args=(at,)) for at in range(CLIENTS)]
        clients.append(threading.Thread(target=self._play))
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _ask_on(self, seed: int) -> None:
        dice = random.Random(seed)
        while self.elapsed_s < LASTS_S:
            model = dice.choices(list(MODELS), (5, 3, 4))[0]
            rank = int(QUESTIONS ** dice.random())
            asked = {
                "model": model,
                "stream": dice.random() < 0.4,
                "messages": [{"role": "user", "content": f"Question {rank} on {model}"}],
            }
            headers = {"content-type": "application/json"}
            if dice.random() < 0.03:
                headers["cache-control"] = dice.choice(["no-store", "only-if-cached"])
            request = urllib.request.Request(self._url, json.dumps(asked).encode(), headers)
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request, timeout=30).read()
            time.sleep(dice.uniform(0, 0.12))

    def _play(self) -> None:
        """Keeps the providers' scripts a few steps ahead of what they are asked."""
        written = dict.fromkeys(MODELS, 0)
        while self.elapsed_s < LASTS_S:
            is_out = OUTAGE_S[0] < self.elapsed_s < OUTAGE_S[1]
            for model, median_s in MODELS.items():
                provider = self._providers[model]
                while written[model] - len(provider.calls) < 3:
                    delay_s = median_s * math.exp(self._dice.gauss(0, 0.5))
                    fails = model == "claude-sonnet" and is_out and self._dice.random() < 0.8
                    fails = fails or self._dice.random() < 0.02
                    provider.script(Answer(delay_s=delay_s, status=500 if fails else 200))
                    written[model] += 1
            time.sleep(0.02)


def asked(url: str, expression: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
    """What Grafana's panels ask for."""
    filled = expression.replace("$__rate_interval", "10s")
    for menu in ("$model", "$instance"):
        filled = filled.replace(menu, ".*")
    fields = {"query": filled, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}",
              "step": str(STEP_S)}  # fmt: skip
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(fields)}") as it:
        found: list[dict[str, Any]] = json.load(it)["data"]["result"]
    return found


def charts(url: str, start_s: float, end_s: float) -> Iterator[Chart]:
    """Every panel of the shipped dashboard."""
    shown = json.loads((ROOT / "deploy" / "grafana" / "headgate.json").read_text("utf-8"))
    for panel in shown["panels"]:
        if panel["type"] == "row":
            continue
        lines = [
            Line(_legend(target["legendFormat"], found["metric"]), _points(found["values"]))
            for target in panel["targets"]
            for found in asked(url, target["expr"], start_s, end_s)
        ]
        unit = UNITS[panel["fieldConfig"]["defaults"]["unit"]]
        yield Chart(panel["title"], unit, [line for line in lines if line.points])


def _legend(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace(f"{{{{{name}}}}}", value)
    return template.split("{{")[0].strip() or "value"


def _points(values: list[list[Any]]) -> list[tuple[float, float]]:
    return [(float(at_s), float(value)) for at_s, value in values if value != "NaN"]


def picture(folder: Path) -> str:
    """The SVG of one run."""
    port, watching = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        providers = {model: stack.enter_context(FakeProvider()) for model in MODELS}
        (folder / "gate.toml").write_text(settings(providers))
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {SCRAPE_MS}ms}}\nscrape_configs:\n  - {{job_name: "
            f"headgate, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
        )
        serve = [sys.executable, "-m", "headgate", "serve", "--port", str(port), "--config"]
        config = folder / "gate.toml"
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(process([*serve, str(config)], folder / "gate.log",
                                    f"http://127.0.0.1:{port}/readyz"))  # fmt: skip
        url = f"http://127.0.0.1:{watching}"
        watch = ["prometheus", f"--config.file={folder / 'prometheus.yml'}",
                 f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{watching}"]  # fmt: skip
        stack.enter_context(process(watch, folder / "prometheus.log", f"{url}/-/ready"))
        start_s = time.time()
        Traffic(port, providers).run()
        title = "headgate: every panel of deploy/grafana/headgate.json, 90 s of invented traffic"
        return document(title, list(charts(url, start_s, time.time())))


def main(out: str) -> None:
    target = Path(out).resolve()
    with tempfile.TemporaryDirectory() as folder:
        target.write_text(picture(Path(folder)), encoding="utf-8")
    print(f"{target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
