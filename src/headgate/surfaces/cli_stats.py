"""`headgate stats`: the numbers of a running gateway, once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headgate.surfaces import terminal
from headgate.surfaces.admin_client import AdminClient

UrlOption = Annotated[
    str | None, typer.Option("--url", help="The gateway; default $HEADGATE_URL, else port 4000.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document and nothing else.")]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(stats)


def stats(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Calls, hit rate, tokens, latencies and errors of a running gateway."""
    numbers = AdminClient(url).stats()
    if as_json:
        terminal.emit_json(numbers)
        return
    cache, metrics = numbers["cache"], numbers["metrics"]
    terminal.say(
        f"{metrics['total_calls']:,} calls, {metrics['total_errors']:,} errors; hit rate "
        f"{cache['hit_rate']:.1%} ({cache['hits']:,} hits, {cache['misses']:,} misses)"
    )
    if numbers.get("workers"):
        terminal.say(f"calls and money of {numbers['workers']} workers; the rest is one worker's")
    show_cache(cache)
    if metrics["by_model"]:
        columns = ("model", "calls", "hits", "tokens", "p50 ms", "p95 ms", "p99 ms", "errors")
        rows = [_row(model, row) for model, row in sorted(metrics["by_model"].items())]
        terminal.table("models", columns, rows)
    if metrics["errors"]:
        terminal.table("errors", ("model:kind", "count"), sorted(metrics["errors"].items()))
    show_cost(numbers.get("cost", {}))
    show_targets(numbers.get("breakers", {}))


def show_cost(cost: dict[str, Any]) -> None:
    """Dollars and tokens by reason; nothing where nothing was booked."""
    if not cost.get("by_reason"):
        return
    terminal.say(
        f"${cost['billed_usd']:,.6f} billed, ${cost['saved_usd']:,.6f} saved, "
        f"${cost['at_risk_usd']:,.6f} at risk; {cost['unpriced_calls']:,} without a price"
    )
    rows = [(kind, one["calls"], one["tokens"], f"{one['usd']:.6f}")
            for kind, one in cost["by_reason"].items()]  # fmt: skip
    terminal.table("cost", ("reason", "calls", "tokens", "usd"), rows)


def show_targets(breakers: dict[str, Any]) -> None:
    """How attempts ended at each provider, and which targets are left alone at the moment."""
    attempts = [
        (provider, outcome, count)
        for provider, outcomes in sorted(breakers.get("attempts", {}).items())
        for outcome, count in sorted(outcomes.items())
    ]
    if attempts:
        terminal.table("attempts", ("provider", "outcome", "count"), attempts)
    left_alone = [
        (gate, name, row["state"], _wait(row["retry_after_s"]))
        for gate in ("endpoints", "deployments")
        for name, row in breakers.get(gate, {}).items()
        if row["state"] != "closed"
    ]
    left_alone += [
        (row["credential"], row["target"], row["closed_by"], _wait(row["retry_after_s"]))
        for row in breakers.get("credentials", [])
        if row["retry_after_s"]
    ]
    if left_alone:
        terminal.table("left alone", ("what", "target", "state", "asked again in s"), left_alone)


def _wait(seconds: float | None) -> str:
    return "by hand" if seconds is None else f"{seconds:.1f}"


def show_cache(cache: dict[str, Any]) -> None:
    """What is kept, tier by tier, and what was not stored. Hits are those of the cache as a whole:
    memory answers without counting (`FastStore.peek`)."""
    columns = ("tier", "entries", "bytes", "evicted", "expired", "errors")
    rows = [
        (name, tier["entries"], tier["size_bytes"], tier["evictions"], tier["expirations"],
         tier["errors"] + tier["integrity_failures"])
        for name, tier in cache["tiers"].items()
    ]  # fmt: skip
    terminal.table("cache" if cache["enabled"] else "cache (off)", columns, rows)
    if cache["not_stored"]:
        terminal.table("not stored", ("reason", "answers"), sorted(cache["not_stored"].items()))


def _row(model: str, row: dict[str, Any]) -> tuple[Any, ...]:
    latencies = (round(row[f"latency_{name}"], 1) for name in ("p50", "p95", "p99"))
    return (model, row["calls"], row["cache_hits"], row["tokens"], *latencies, row["errors"])
