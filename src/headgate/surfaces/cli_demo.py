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
    play, workload, report = _demo_modules()
    api_key = os.environ.get("OPENAI_API_KEY", "")
    texts = workload.stream(workload.questions(), calls or (CALLS_PAID if api_key else CALLS))
    new = len(set(texts))
    terminal.say(
        f"{_TITLE}\n  questions  {len(texts):,} asked, {new} different, {workload.SOURCE};"
    )
    terminal.say(_DRAWN)
    for line in _provider(bool(api_key), new, play.FAKE_LATENCY):
        terminal.say(line)
    terminal.say()
    with _ended_by_sigterm(), play.gateway(play.configuration(api_key)) as url:
        with terminal.progress(len(texts), "asking") as bar:
            played = play.play(url, api_key, texts, bar.advance)
        numbers = AdminClient(url, token="").stats()
    terminal.table("", report.COLUMNS, report.rows(played.calls))
    terminal.say()
    for line in report.conclusion(played.calls):
        terminal.say(line)
    terminal.say(f"time       {played.elapsed_s:.1f} s for all, {play.CLIENTS} clients at a time")
    if wrong := report.disagreements(played.calls, numbers["metrics"]):
        terminal.fail("the gateway counted otherwise: " + "; ".join(wrong))
    terminal.say("books      the gateway's own count of calls, hits and billed tokens agrees")
    terminal.say(_GO_ON)


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
