"""`headgate calls`: a table, one call in full, or JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gates import Gate
from programs import Told

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "canary-text"}]}


@pytest.fixture
def asked(gate: Gate) -> Gate:
    for more in ({"temperature": 0}, {"temperature": 0}, {"temperature": 0.7}):
        assert gate.post("/v1/chat/completions", {**BODY, **more}).status == 200
    return gate


def test_the_table_says_why_each_call_was_a_miss(
    asked: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told(capsys, "calls", "--url", asked.url)
    lines = told.out.splitlines()
    assert (told.code, lines[0]) == (0, "calls")
    assert lines[1].split()[:5] == ["at", "call", "model", "cache", "why"]
    assert "miss   temperature 0 -> 0.7" in lines[2]
    assert "hit" in lines[3]
    assert "miss   first" in lines[4]
    assert "canary" not in told.out


def test_one_call_is_shown_in_full(asked: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    first, _, last = reversed(asked.get("/api/calls").json["calls"])
    told = Told(capsys, "calls", last["call"], "--url", asked.url)
    assert told.code == 0
    assert f"why          differs from call {first['call']}, 0 s earlier, in: " in told.out
    assert "temperature (0 -> 0.7)" in told.out
    assert "fake/m" in told.out
    assert "attempts" in told.out


def test_json_is_one_document(asked: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(Told(capsys, "calls", "--json", "--limit", "2", "--url", asked.url).out)
    assert [call["cache"] for call in document["calls"]] == ["miss", "hit"]
    one = document["calls"][0]
    told = Told(capsys, "calls", one["call"], "--json", "--url", asked.url)
    assert json.loads(told.out) == one


def test_models_and_slow_calls_are_chosen(asked: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--model", "other"), ("--slow",)):
        told = Told(capsys, "calls", *words, "--json", "--url", asked.url)
        assert json.loads(told.out)["calls"] == []


def test_an_unknown_call_fails_with_what_is_wrong(
    gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told(capsys, "calls", "x-1", "--url", gate.url)
    assert told.code == 1
    assert "no call 'x-1' is among the last ones" in told.err
