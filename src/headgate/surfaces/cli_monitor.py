"""`headgate monitor`: a line about each window of a running gateway, and alerts."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from headgate.clock import SystemClock
from headgate.core.units import parse_duration
from headgate.core.watch import Report, Thresholds, as_json, summary
from headgate.errors import ConfigError, Problem
from headgate.monitor import Monitor, Settings
from headgate.surfaces import terminal
from headgate.surfaces.admin_client import AdminClient
from headgate.surfaces.cli_stats import UrlOption

_USUAL = Thresholds()


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(monitor)


def monitor(
    every: Annotated[str, typer.Option(help="How long a window is, such as 90s or 5m.")] = "5m",
    webhook: Annotated[str, typer.Option(help="Address to POST windows with alerts to.")] = "",
    error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Alert above this share of errors.")
    ] = _USUAL.error_rate,
    hit_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Alert below this share of hits.")
    ] = _USUAL.hit_rate,
    calls_min: Annotated[
        int, typer.Option(min=1, help="Fewer calls in a window raise no alert.")
    ] = _USUAL.calls_min,
    times: Annotated[int, typer.Option(min=0, help="End after so many windows; 0: never.")] = 0,
    url: UrlOption = None,
    as_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object on a line for each window.")
    ] = False,
) -> None:
    """Sums up what a running gateway did in each window, and warns, until Ctrl-C."""
    thresholds = Thresholds(error_rate, hit_rate, calls_min)
    settings = Settings(_duration_s(every), thresholds, webhook)
    client = AdminClient(url)
    sink = _say_json if as_lines else _say
    watch = Monitor(client.stats, settings, sink=sink, clock=SystemClock())
    # A gateway that does not answer the first look is a mistake, later on it is news.
    client.stats()
    try:
        watch.run_here(times)
    except KeyboardInterrupt:
        return


def _duration_s(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigError([Problem("--every", str(error))]) from None
    if seconds <= 0:
        raise ConfigError([Problem("--every", "must be above 0")])
    return seconds


def _say(report: Report) -> None:
    terminal.say(summary(report))
    for alert in report.alerts:
        terminal.warn(f"ALERT {alert.text}")
    for name in report.resolved:
        terminal.say(f"resolved: {name.replace('_', ' ')}")


def _say_json(report: Report) -> None:
    terminal.say(json.dumps(as_json(report)))
