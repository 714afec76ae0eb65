"""`headgate batch run --dry-run`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchruns import Bench, here, run
from jobbing import chat, line


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with here(tmp_path, monkeypatch) as bench:
        yield bench


# The plan.


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write(line(f"r{n}", chat(n % 5, max_tokens=100)) for n in range(10))
    before = sorted(os.listdir())
    told = run(capsys, "--dry-run")
    assert told.code == 0
    assert sorted(os.listdir()) == before
    assert bench.server.calls == []
    assert "10 lines of /v1/chat/completions, 5 different" in told.out
    assert "m: live: asked for" in told.out
    assert told.out.splitlines()[-1] == "nothing was sent, and nothing written"
    plan = json.loads(run(capsys, "--dry-run", "--json").out)
    (model,) = plan["models"]
    assert (plan["lines"], plan["different"], model["asked"], model["tokens_out"]) == (
        10, 5, 5, 500,
    )  # fmt: skip
    expected = (model["tokens_in"] * 1000 + 500 * 2000) / 1e9
    assert plan["cost_usd"] == model["cost_usd"] == pytest.approx(expected)
    with Path("headgate.toml").open("a") as file:
        file.write('[batch_api.openai]\napi = "openai"\n')
    batched = json.loads(run(capsys, "--dry-run", "--json", "--lane", "auto").out)
    (model,) = batched["models"]
    assert (model["lane"], model["batches"]) == ("batch", 1)
    assert batched["cost_usd"] == pytest.approx(expected / 2)
    soon = run(capsys, "--dry-run", "--lane", "auto", "--deadline", "10m")
    assert "m: live: 0.167 h are too short for a batch" in soon.out


def test_a_plan_for_a_model_without_a_price_says_so(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.write([line("a", {**chat(1), "model": "nobody-knows"}), line("b", chat(2))])
    told = run(capsys, "--dry-run")
    assert "nobody-knows: its price is not known" in told.out
    assert "2 different: at least $0.0" in told.out
    plan = json.loads(run(capsys, "--dry-run", "--json").out)
    unknown, known = plan["models"]
    assert (unknown["cost_usd"], plan["cost_usd"]) == (None, None)
    assert known["cost_usd"] > 0
