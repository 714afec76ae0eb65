"""A real Prometheus that watches a real gateway of two workers, and a load whose every answer is
written down, so that what is seen can be compared with what was done.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from gates import PATIENT, Address
from programs import running, until

from headgate.testing import Answer, FakeProvider

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "headgate.json"
HIT_RATE = (
    "rate(llm_cache_hits[5m]) / (rate(llm_cache_hits[5m]) + rate(llm_cache_misses[5m]))"
)  # fmt: skip
LATENCY = "histogram_quantile(0.95, rate(llm_latency_ms[5m]))"
ERROR_RATE = "rate(llm_errors[5m]) / rate(llm_calls[5m])"
TOKENS = "sum(rate(llm_tokens[1h])) by (model)"
CHAT = "/v1/chat/completions"
SCRAPE_S = 0.5
CLIENTS = 16
MISSES = {"alpha": 100, "beta": 150}
"""Questions asked for the first time, by model; those of alpha are asked twice more."""
MEDIAN_S = {"alpha": 0.15, "beta": 0.06}
_SPREAD = 0.7
_LISTENS = re.compile(r'msg="Listening on" address=127\.0\.0\.1:(\d+)\s')
REFUSALS = 15
FAILURES = 4
WARM_UP = ("alpha", "beta", "gamma")


def panels() -> list[dict[str, Any]]:
    """Those of the shipped dashboard, without its headings."""
    shown = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [panel for panel in shown if panel["type"] != "row"]


def expressions() -> list[str]:
    """Every one that they ask."""
    return [line["expr"] for panel in panels() for line in panel["targets"]]


def filled(expression: str) -> str:
    """As Grafana would send it, for every model and instance."""
    expression = expression.replace("$__rate_interval", "5m")
    for menu in ("$model", "$instance"):
        expression = expression.replace(menu, ".*")
    assert "$" not in expression
    return expression


class Point(NamedTuple):
    """A sample: when, in seconds since 1970, and what."""

    at_s: float
    value: float


class Prometheus:
    """The process, with its files in `folder`, scraping one address."""

    def __init__(self, folder: Path, target: str) -> None:
        config = folder / "prometheus.yml"
        config.write_text(
            f"global: {{scrape_interval: {SCRAPE_S * 1000:.0f}ms, evaluation_interval: 1s}}\n"
            f"rule_files: [{RULES}]\n"
            "scrape_configs:\n"
            f"  - {{job_name: headgate, static_configs: [{{targets: ['{target}']}}]}}\n"
        )
        self.log = folder / "log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                 "--web.listen-address=127.0.0.1:0"],
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        until(lambda: _LISTENS.search(self.log.read_text()) or self._process.poll() is not None)
        found = _LISTENS.search(self.log.read_text())
        assert found, self.log.read_text()
        self._url = f"http://127.0.0.1:{found[1]}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, path: str, **fields: str) -> Any:
        """The `data` of an answer of its API."""
        query = urllib.parse.urlencode(fields)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=60) as reply:
            return json.load(reply)["data"]

    def query(self, expression: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """The elements of a vector; none while it does not answer yet."""
        moment = {} if at_s is None else {"time": f"{at_s:.3f}"}
        with suppress(OSError):
            found: list[dict[str, Any]] = self.ask("query", query=expression, **moment)["result"]
            return found
        return []

    def by_model(self, expression: str, at_s: float | None = None) -> dict[str, float]:
        """The value for each model; fails where a model has several."""
        found = self.query(expression, at_s)
        values = {one["metric"]["model"]: float(one["value"][1]) for one in found}
        assert len(values) == len(found), "one value for each model"
        return values

    def points(self, selector: str, at_s: float, range_s: int) -> dict[str, list[Point]]:
        """Every sample in a range, by the labels but for those of the scrape."""
        found = self.query(f"{selector}[{range_s}s]", at_s)
        return {
            one["metric"]["model"]: [Point(float(at), float(value)) for at, value in one["values"]]
            for one in found
        }


class Load:
    """Asks a gateway, and keeps count of what it was told, by model."""

    def __init__(self, address: Address, providers: dict[str, FakeProvider]) -> None:
        self.calls: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self._address = address
        self._providers = providers
        self._lock = threading.Lock()

    def misses(self, model: str) -> int:
        return self.calls[model] - self.hits[model]

    def ask(self, model: str, text: str, *, stream: bool = False, **headers: str) -> int:
        """One call; its status."""
        question: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
        if stream:
            question |= {"stream": True, "stream_options": {"include_usage": True}}
        got = self._address.post(CHAT, question, headers)
        is_hit = "; hit" in got.headers.get("cache-status", "")
        with self._lock:
            self.calls[model] += 1
            self.hits[model] += is_hit
            self.errors[model] += got.status >= 500
            if got.status == 200 and not is_hit:
                self.tokens[model] += _tokens(got.body)
        return got.status

    def warm_up(self) -> None:
        """One call of each model, so that what comes is an increase and not a beginning; a stream
        of the model that will have some."""
        for model in WARM_UP:
            assert self.ask(model, "warm-up", stream=model == "gamma") == 200

    def run(self) -> None:
        """All of it, in a few seconds."""
        for model, count in MISSES.items():
            delays_s = delays_of(model, count)
            self._providers[model].script(*(Answer(delay_s=delay_s) for delay_s in delays_s))
        with ThreadPoolExecutor(CLIENTS) as clients:
            first = [clients.submit(self.ask, model, f"q{at}")
                     for at in range(max(MISSES.values()))
                     for model, count in MISSES.items() if at < count]  # fmt: skip
            assert {one.result() for one in first} == {200}
            again = [clients.submit(self.ask, "alpha", f"q{at}")
                     for _ in range(2) for at in range(MISSES["alpha"])]  # fmt: skip
            assert {one.result() for one in again} == {200}
        only = {"cache-control": "only-if-cached"}
        assert {self.ask("beta", f"new{at}", **only) for at in range(REFUSALS)} == {504}
        for at in range(FAILURES):
            self._providers["gamma"].script(Answer(status=500), Answer(status=500))
            assert self.ask("gamma", f"q{at}") == 500
            # The first deployment fails, the second one answers.
            self._providers["gamma"].script(Answer(status=500))
            assert self.ask("gamma", f"else{at}") == 200
            assert self.ask("gamma", f"stream{at}", stream=True) == 200


def delays_of(model: str, count: int) -> list[float]:
    """How long the provider takes: lognormal, as answers of models are, in rising order."""
    dice = statistics.NormalDist()
    places = [dice.inv_cdf((at + 0.5) / count) for at in range(count)]
    return [MEDIAN_S[model] * math.exp(_SPREAD * place) for place in places]


def _tokens(body: bytes) -> int:
    """What an answer, or the stream's event with its usage, says it has cost."""
    for line in reversed(body.decode().splitlines()):
        content = line.removeprefix("data: ")
        if '"usage"' in content and content.startswith("{"):
            usage = json.loads(content).get("usage")
            if usage:
                return int(usage["prompt_tokens"] + usage["completion_tokens"])
    raise AssertionError(f"no usage in {body[-200:]!r}")


class Observed(NamedTuple):
    """A load that is over, and whom to ask about it."""

    prometheus: Prometheus
    load: Load
    gateway: Address
    at_s: float
    """When everything had been scraped."""


@contextmanager
def observed(folder: Path) -> Iterator[Observed]:
    """Runs the whole thing: providers, two workers, Prometheus, load."""
    with FakeProvider() as alpha, FakeProvider() as beta, FakeProvider() as gamma:
        providers = {"alpha": alpha, "beta": beta, "gamma": gamma}
        (folder / "gate.toml").write_text(_config(providers))
        with running("serve", "--config", "gate.toml", cwd=folder) as started:
            address = started.served()
            prometheus = Prometheus(folder, f"127.0.0.1:{address.port}")
            try:
                load = Load(address, providers)
                load.warm_up()
                expected = dict.fromkeys(WARM_UP, 1.0)
                until(lambda: prometheus.by_model("llm_calls") == expected)
                load.run()
                calls = {model: float(count) for model, count in load.calls.items()}
                until(lambda: prometheus.by_model("llm_calls") == calls)
                # Everything that was counted elsewhere, too: a few pages later.
                at_s = time.time()
                until(lambda: last_s(prometheus) > at_s + 3 * SCRAPE_S)
                yield Observed(prometheus, load, address, last_s(prometheus))
            finally:
                prometheus.close()


def last_s(prometheus: Prometheus) -> float:
    """When the last page was read."""
    found = prometheus.query("max(timestamp(llm_calls))")
    return float(found[0]["value"][1]) if found else 0.0


def _config(providers: dict[str, FakeProvider]) -> str:
    blocks = [
        PATIENT,
        '[server]\nworkers = 2\nport = 0\n[cache]\npersist = true\npersist_path = "cache.db"\n'
        "[retry]\nattempts = 2\nbackoff = 0.01\nbudget = 1.0\n"
        "[prices.alpha]\ninput = 100\noutput = 200\n",
    ]
    for model, provider in providers.items():
        blocks.append(f'[providers.{model}]\nbase_url = "{provider.base_url}"\n')
        blocks.append(f'[models.{model}]\ntargets = ["{model}/{model}"]\n')
    return "".join(blocks).replace('["gamma/gamma"]', '["gamma/gamma", "gamma/gamma-2"]')


def increase(points: list[Point]) -> float:
    """How much a counter has risen from its first sample to its last."""
    return points[-1].value - points[0].value


def extrapolated(points: list[Point], at_s: float, range_s: int) -> float:
    """What `rate` makes of samples that do not fill its range, as its documentation has it: to both
    ends by half a distance between samples at most, and to the beginning not below 0."""
    first, last = points[0], points[-1]
    sampled_s, rise = last.at_s - first.at_s, increase(points)
    distance_s = sampled_s / (len(points) - 1)
    to_start_s, to_end_s = first.at_s - (at_s - range_s), at_s - last.at_s
    if rise > 0:
        to_start_s = min(to_start_s, sampled_s * first.value / rise)
    covered_s = sampled_s
    for gap_s in (to_start_s, to_end_s):
        covered_s += gap_s if gap_s < distance_s * 1.1 else distance_s / 2
    return rise * covered_s / sampled_s / range_s if rise else 0.0


def near(found: float, wanted: float, share: float) -> bool:
    """Whether they differ by at most this share."""
    return math.isclose(found, wanted, rel_tol=share, abs_tol=1e-9)
