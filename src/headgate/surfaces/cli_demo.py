"""`headgate demo`: what the gateway does for a help desk's questions, in under a minute."""

from __future__ import annotations

import importlib
import os
from typing import Annotated, Any

import typer

from headgate.errors import HeadgateError
from headgate.surfaces import terminal
from headgate.surfaces.admin_client import AdminClient

CALLS = 1200
CALLS_PAID = 200
"""With a real key fewer questions are asked: each new one costs money."""


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(demo)


def demo(
    calls: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="How many questions are asked.")
    ] = None,
) -> None:
    """Replay a bundled stream of questions through a gateway, and show what the cache saved."""
    play = _module("headgate.demo.play")
    workload = _module("headgate.demo.workload")
    api_key = os.environ.get("OPENAI_API_KEY", "")
    texts = workload.stream(workload.questions(), calls or (CALLS_PAID if api_key else CALLS))
    for line in _introduction(texts, api_key, workload.SOURCE, play.FAKE_LATENCY):
        terminal.say(line)
    with play.gateway(play.configuration(api_key)) as url:
        with terminal.progress(len(texts), "asking") as bar:
            played = play.play(url, api_key, texts, bar.advance)
        numbers = AdminClient(url, token="").stats()
    _tell(played.calls, played.elapsed_s, numbers["metrics"])
    terminal.say("\nGo on with your own program:\n  headgate serve")
    terminal.say("  and base_url=http://127.0.0.1:4000/v1 in its OpenAI client")


def _introduction(texts: list[str], api_key: str, source: str, latency: str) -> list[str]:
    new = len(set(texts))
    provider = (
        f"OpenAI, for real: OPENAI_API_KEY is set; {new} questions are paid for"
        if api_key
        else f"built in, offline: invented answers after {latency} (a real one with OPENAI_API_KEY)"
    )
    return [
        "headgate demo: a bank's help desk, through the official OpenAI SDK and a gateway",
        f"  questions  {len(texts):,} asked, {new} different, texts from {source};",
        "             how often each is asked is drawn by Zipf's law, not measured at a bank",
        f"  provider   {provider}",
        "",
    ]


def _tell(calls: list[Any], elapsed_s: float, metrics: dict[str, Any]) -> None:
    report = _module("headgate.demo.report")
    terminal.table("", report.COLUMNS, report.rows(calls))
    terminal.say()
    for line in report.conclusion(calls):
        terminal.say(line)
    terminal.say(f"time       {elapsed_s:.1f} s for all of them, eight clients at a time")
    if wrong := report.disagreements(calls, metrics):
        terminal.fail("the gateway counted otherwise: " + "; ".join(wrong))
    terminal.say("books      the gateway's own count of calls, hits and billed tokens agrees")


def _module(name: str) -> Any:
    """A module of the demo, which needs the OpenAI SDK."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise HeadgateError(
            f"the demo needs the OpenAI SDK ({error}): pip install openai"
        ) from None
