"""`headgate stats`: the numbers of a running gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gates import Gate
from ports import refusing_port
from programs import Told, run

from headgate.config import Config, ProviderConfig

CHAT = "/v1/chat/completions"
Captured = pytest.CaptureFixture[str]


def ask(gate: Gate, model: str, times: int) -> None:
    for _ in range(times):
        gate.post(CHAT, {"model": model, "messages": [{"role": "user", "content": "q"}]})


def cells(text: str, first: str) -> list[str]:
    """The cells of the row that begins with `first`."""
    return next(line.split() for line in text.splitlines() if line.startswith(f"{first} "))


def test_calls_hits_tokens_and_latencies_are_told(gate: Gate, capsys: Captured) -> None:
    ask(gate, "gpt-a", 4)
    ask(gate, "gpt-b", 1)
    told = Told(capsys, "stats", "--url", gate.url)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("5 calls, 0 errors; hit rate 60.0% (3 hits, 2 misses)\ncache\n")
    metrics = gate.stats()["metrics"]["by_model"]
    header = "model calls hits tokens p50 ms p95 ms p99 ms errors"
    assert header in " ".join(told.out.split())
    for model, calls, hits in (("gpt-a", "4", "3"), ("gpt-b", "1", "0")):
        row = cells(told.out, model)
        assert row[:4] == [model, calls, hits, str(metrics[model]["tokens"])]
        assert row[7] == "0"
        assert float(row[4]) <= float(row[5]) <= float(row[6])
    assert cells(told.out, "memory")[:2] == ["memory", "2"]


def test_a_gateway_that_nobody_asked_has_numbers_too(gate: Gate, capsys: Captured) -> None:
    told = Told(capsys, "stats", "--url", gate.url)
    assert told.code == 0
    assert told.out.startswith("0 calls, 0 errors; hit rate 0.0% (0 hits, 0 misses)\n")
    assert "models" not in told.out


def test_answers_not_stored_are_counted_by_reason(gate: Gate, capsys: Captured) -> None:
    gate.post(CHAT, {"model": "m", "messages": []})
    told = Told(capsys, "stats", "--url", gate.url)
    ((reason, count),) = gate.stats()["cache"]["not_stored"].items()
    assert "\nnot stored\n" in told.out
    assert cells(told.out, reason) == [reason, str(count)] == [reason, "1"]


def test_errors_are_counted_by_model_and_kind(gate: Gate, capsys: Captured) -> None:
    with refusing_port() as port:
        nowhere = f"http://127.0.0.1:{port}/v1"
        failing = Gate(Config(providers={"openai": ProviderConfig(base_url=nowhere)}))
        try:
            ask(failing, "m", 2)
            told = Told(capsys, "stats", "--url", failing.url)
            ((kind, count),) = failing.stats()["metrics"]["errors"].items()
        finally:
            failing.close()
    assert told.out.startswith("2 calls, 2 errors; ")
    assert cells(told.out, kind) == [kind, str(count)] == [kind, "2"]
    assert kind.startswith("other:"), "a model that has never answered may be a misspelt one"


def test_as_json_it_is_the_document_of_the_gateway_and_nothing_else(
    gate: Gate, tmp_path: Path
) -> None:
    ask(gate, "m", 2)
    done = run("stats", "--json", cwd=tmp_path, HEADGATE_URL=gate.url)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["metrics"] == gate.stats()["metrics"]
    assert set(told) >= {"cache", "metrics"}


@pytest.mark.parametrize("words", [("stats",), ("stats", "--json"), ("cache", "ls")])
def test_without_a_gateway_it_fails_with_one_line_that_names_the_command(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}"
        done = run(*words, "--url", url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"headgate: no gateway answers at {url} (")
    assert "`headgate serve`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_url_fails_with_one_line(capsys: Captured) -> None:
    told = Told(capsys, "stats", "--url", "localhost:4000")
    assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)
    assert "--url must be like" in told.err


def test_names_from_outside_cannot_steer_the_terminal(gate: Gate, capsys: Captured) -> None:
    ask(gate, "evil\x1b[31m\nmodel", 1)
    told = Told(capsys, "stats", "--url", gate.url)
    assert "\x1b" not in told.out
    assert "evil\\x1b[31m\\nmodel" in told.out


def test_targets_that_are_left_alone_are_told_with_when_they_are_asked_again(
    gate: Gate, capsys: Captured
) -> None:
    gate.post(CHAT, {"model": "m", "messages": []})
    told = Told(capsys, "stats", "--url", gate.url)
    provider = next(iter(gate.runtime.config.providers))
    assert "left alone" not in told.out
    assert cells(told.out, provider)[:1] == [provider]
    forced = {"gate": "endpoint", "name": provider, "state": "forced_open"}
    assert gate.post("/api/admin/breakers", forced).status == 200
    told = Told(capsys, "stats", "--url", gate.url)
    assert cells(told.out, "endpoints")[:3] == ["endpoints", provider, "forced_open"]
    assert "by hand" in told.out
