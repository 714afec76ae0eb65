"""`headgate monitor`: windows of a running gateway, until Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import threading
from pathlib import Path

import pytest
from gates import Gate
from oracle import until
from ports import refusing_port
from programs import Told, running


def ask(gate: Gate, *paths: str) -> None:
    for number, path in enumerate(paths):
        gate.post(path, {"model": f"m{number}", "messages": [{"role": "user", "content": "q"}]})


def test_it_sums_up_each_window_and_ends_after_so_many(
    gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told(capsys, "monitor", "--every", "10ms", "--times", "2", "--url", gate.url)
    lines = told.out.splitlines()
    assert (told.code, len(lines)) == (0, 2)
    summed = r"\d+ s: 0 calls, errors -, hit rate -, 0 tokens, \$0\.0000 billed"
    assert re.match(summed, lines[0])


def test_an_alert_is_told_beside_the_answer(gate: Gate, tmp_path: Path) -> None:
    words = ("monitor", "--every", "300ms", "--calls-min", "1", "--url", gate.url)
    with running(*words, cwd=tmp_path) as watching:
        until(lambda: "0 calls" in watching.output, "the first window")
        ask(gate, "/v1/chat/completions")
        until(lambda: "ALERT" in watching.output, "an alert")
        assert "ALERT hit rate 0.0% is below 30% (0 of 1 lookups)" in watching.output
        assert watching.end(signal.SIGINT) == 0
        assert "Traceback" not in watching.output


def test_json_is_one_object_on_a_line(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()
    asking = threading.Thread(target=lambda: (ask(gate, "/v1/chat/completions"), stop.set()))
    asking.start()
    words = ("monitor", "--every", "20ms", "--times", "3", "--json", "--url", gate.url)
    told = Told(capsys, *words)
    asking.join()
    windows = [json.loads(line) for line in told.out.splitlines()]
    assert len(windows) == 3
    assert {"calls", "error_rate", "hit_rate", "alerts", "restarted", "text"} <= set(windows[0])


@pytest.mark.parametrize(
    "words", [("--every", "soon"), ("--every", "0s"), ("--webhook", "ftp://x"), ("--hit-rate", "2")]
)
def test_a_wrong_option_is_usage(
    gate: Gate, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert Told(capsys, "monitor", *words, "--url", gate.url).code == 2


def test_a_gateway_that_is_not_there_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with refusing_port() as port:
        told = Told(capsys, "monitor", "--url", f"http://127.0.0.1:{port}")
    assert told.code == 1
    assert "no gateway answers" in told.err
