"""`headgate demo`: what the gateway does for a help desk's questions, in under a minute."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from headgate.errors import HeadgateError
from headgate.surfaces import terminal
from headgate.surfaces.admin_client import AdminClient

CALLS = 1200
CALLS_PAID = 200
"""With a real key fewer questions are asked: each new one costs money."""
_TITLE = "headgate demo: a bank's help desk, through the official OpenAI SDK and a gateway"
_GO_ON = """
Go on with your own program:
  {program} serve
  and base_url=http://127.0.0.1:4000/v1 in its OpenAI client"""


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(demo)


def demo(
    calls: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="How many questions are asked.")
    ] = None,
) -> None:
    """Replay a bundled stream of questions through a gateway, and show what the cache saved."""
    play, report, workload = _demo_modules()
    api_key = os.environ.get("OPENAI_API_KEY", "")
    texts = workload.stream(workload.questions(), calls or (CALLS_PAID if api_key else CALLS))
    different = len(set(texts))
    terminal.say(_TITLE)
    terminal.say(f"  questions  {len(texts):,} asked, {different} different, {workload.SOURCE};")
    terminal.say("             how often each is asked is drawn by Zipf's law, not measured")
    for line in _provider(play, different, paid=bool(api_key)):
        terminal.say(line)
    toml = play.configuration(api_key)
    with _ended_by_sigterm(), play.Clients(api_key) as clients, play.gateway(toml) as url:
        with terminal.progress(len(texts), "asking") as bar:
            played = clients.ask_all(url, texts, bar.advance)
        metrics = AdminClient(url, token="").stats()["metrics"]
    _tell(report, played.calls, metrics)
    terminal.say(f"time       {played.elapsed_s:.1f} s for all, {play.CLIENTS} clients at a time")
    terminal.say(_GO_ON.format(program=_program()))


def _program() -> str:
    """How this program is called: `make demo` installs it where a shell does not look."""
    called, usual = sys.argv[0], "headgate"
    found = shutil.which(usual)
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(called)
    return called if os.path.basename(called) == usual and not is_found else usual


def _provider(play: Any, different: int, *, paid: bool) -> list[str]:
    """Who answers, and what that costs. Of a base URL only the host: it may hold a password."""
    if not paid:
        return [
            f"  provider   built in, offline: invented answers after {play.FAKE_LATENCY}",
            "             (set OPENAI_API_KEY to ask OpenAI)",
        ]
    host = urlsplit(os.environ.get("OPENAI_BASE_URL", "")).netloc.rpartition("@")[2]
    return [
        f"  provider   {host or 'OpenAI'}, for real, with the key in OPENAI_API_KEY:",
        f"             {different} answers of at most {play.TOKENS_MAX} tokens are paid for",
    ]


def _tell(report: Any, calls: list[Any], metrics: dict[str, Any]) -> None:
    """The table, the lines below it, and whether the gateway's own books agree."""
    terminal.say()
    terminal.table("", report.COLUMNS, report.rows(calls))
    terminal.say()
    for line in report.conclusion(calls):
        terminal.say(line)
    if wrong := report.disagreements(calls, metrics):
        terminal.fail("the gateway counted otherwise: " + "; ".join(wrong))
    terminal.say("books      the gateway's own count of calls, hits and billed tokens agrees")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM is taken like Ctrl-C: without this the demo would die and leave its gateway."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _demo_modules() -> tuple[Any, Any, Any]:
    """The modules play, report and workload; the first needs the OpenAI SDK."""
    try:
        play = importlib.import_module("headgate.demo.play")
    except ImportError as error:
        raise HeadgateError(
            f"the demo needs the OpenAI SDK ({error}): pip install openai"
        ) from None
    report = importlib.import_module("headgate.demo.report")
    return play, report, importlib.import_module("headgate.demo.workload")
