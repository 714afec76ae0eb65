"""`headgate calls`: the last calls of a running gateway, and why each was a hit or a miss."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from headgate.surfaces import terminal
from headgate.surfaces.admin_client import AdminClient
from headgate.surfaces.cli_stats import JsonOption, UrlOption

_COLUMNS = ("at", "call", "model", "cache", "why", "tries", "first ms", "ms", "tokens", "usd",
            "error")  # fmt: skip


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(calls)


def calls(
    call: Annotated[
        str, typer.Argument(help="One call, by its id: everything about it, and why.")
    ] = "",
    model: Annotated[str, typer.Option(help="Only calls of this model.")] = "",
    slow: Annotated[
        bool, typer.Option("--slow", help="Only calls of a second or more, the slowest first.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """The last calls of a running gateway, latest first; no text of prompts or answers."""
    given = {"call": call, "model": model, "slow": "1s" if slow else "", "limit": str(limit)}
    found = AdminClient(url).calls(**{name: value for name, value in given.items() if value})
    if as_json:
        terminal.emit_json(found["calls"][0] if call else found)
    elif call:
        _show_one(found["calls"][0])
    else:
        terminal.table("calls", _COLUMNS, map(_row, found["calls"]))


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    at = datetime.fromisoformat(one["at"]).astimezone().strftime("%H:%M:%S")
    why = one["why"]["reason"]
    if why == "differs":
        why = ", ".join(_field(change) for change in one["why"]["differs"][:3])
    return (
        at, one["call"], one["model"], one["cache"], "" if why == one["cache"] else why,
        len(one["attempts"]), _figure(one["first_ms"]), _figure(one["total_ms"]),
        sum(one["tokens"].values()), one["cost_usd"] or "-", one["error"],
    )  # fmt: skip


def _show_one(one: dict[str, Any]) -> None:
    tokens = ", ".join(f"{count} {name}" for name, count in one["tokens"].items() if count)
    reason = f" ({one['cache_reason']})" if one["cache_reason"] else ""
    stored = "stored" if one["stored"] else one["not_stored"] and f"not stored: {one['not_stored']}"
    lines = (
        ("call", f"{one['call']}  {one['at']}"),
        ("asked", f"{one['operation']} {one['model']}{', streamed' if one['stream'] else ''}"),
        ("answered by", one["target"]),
        ("status", one["error"] or one["status"]),
        ("cache", f"{one['cache']}{reason}{'; ' if stored else ''}{stored}"),
        ("why", one["why"]["text"]),
        ("key, tenant", f"{one['key']}, {one['tenant']}"),
        ("client", one["client"]),
        ("namespace", one["namespace"]),
        ("time", f"{_figure(one['queue_ms'])} ms until the first attempt, "
         f"{_figure(one['first_ms'])} ms to the first content, {_figure(one['total_ms'])} ms"),
        ("tokens", tokens),
        ("dollars", f"{_dollars(one['cost_usd'])} billed, {_dollars(one['saved_usd'])} saved"),
    )  # fmt: skip
    for name, text in lines:
        if text:
            terminal.say(f"{name:<12} {text}")
    if one["attempts"]:
        columns = ("target", "outcome", "status", "began ms", "first ms", "ms")
        terminal.table("attempts", columns, map(_attempt, one["attempts"]))
    if one["why"]["differs"]:
        rows = [(change["field"], change["kind"], change.get("was", ""), change.get("now", ""))
                for change in one["why"]["differs"]]  # fmt: skip
        terminal.table("differs in", ("field", "", "was", "now"), rows)


def _attempt(attempt: dict[str, Any]) -> tuple[Any, ...]:
    times = (_figure(attempt[name]) for name in ("began_ms", "first_ms", "total_ms"))
    return attempt["target"], attempt["outcome"], attempt["status"] or "-", *times


def _field(change: dict[str, Any]) -> str:
    if "now" in change:
        return f"{change['field']} {change['was']} -> {change['now']}"
    return str(change["field"])


def _figure(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f}"


def _dollars(text: str | None) -> str:
    return "unknown" if text is None else f"${text}"
