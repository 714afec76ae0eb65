"""`headgate ledger`: the rows of the ledger's file, for whoever wants to add them up elsewhere."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate.config import Config
from headgate.core.money import dollars
from headgate.errors import ConfigError, Problem
from headgate.stores.base import Booked
from headgate.stores.ledger import read_rows
from headgate.surfaces import terminal

COLUMNS = (
    "time", "call", "kind", "model", "target", "tenant", "key", "calls", "tokens_input",
    "tokens_cache_read", "tokens_cache_write", "tokens_cache_write_1h", "tokens_output",
    "cost_nanos", "cost_usd", "price_version", "tier", "estimated",
)  # fmt: skip
_FOR_EVER_S = 1e12
# A cell that begins like this is a formula to a spreadsheet; names come from clients.
_FORMULA = re.compile(r"[=+\-@\t\r]")


class Format(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    """Adds the group of commands to `app`."""
    group = typer.Typer(help="What calls cost and saved, row by row.", callback=_group)
    group.command()(export)
    app.add_typer(group, name="ledger")


def _group() -> None:
    """With a callback typer keeps the command's name also where there is only one."""


def export(
    written: Annotated[Format, typer.Option("--format", help="csv or jsonl.")] = Format.CSV,
    since: Annotated[str, typer.Option(help="First day or moment (UTC, ISO 8601).")] = "",
    until: Annotated[str, typer.Option(help="Day or moment before which to end.")] = "",
    path: Annotated[Path, typer.Option(help="The file: ledger.path of the configuration.")] = Path(
        Config().ledger.path
    ),
) -> None:
    """Rows in the order in which they were written; the gateway may be running."""
    rows = read_rows(path, _moment_s(since, -_FOR_EVER_S), _moment_s(until, _FOR_EVER_S))
    for line in _csv(rows) if written is Format.CSV else _jsonl(rows):
        terminal.say(line)


def _csv(rows: Iterator[Booked]) -> Iterator[str]:
    yield ",".join(COLUMNS)
    for booked in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(map(_cell, fields_of(booked).values()))
        yield line.getvalue()


def _jsonl(rows: Iterator[Booked]) -> Iterator[str]:
    return (json.dumps(fields_of(booked)) for booked in rows)


def fields_of(booked: Booked) -> dict[str, Any]:
    """The columns of one row; None where nobody knows the price."""
    row = booked.row
    tokens, nanos = row.tokens, row.cost_nanos
    at = datetime.fromtimestamp(booked.at_s, UTC).isoformat(timespec="milliseconds")
    tenant, _, key = booked.tenant.partition("/")
    values = (
        at, booked.call, row.kind, booked.model, row.target, tenant, key, row.calls,
        tokens.input, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h, tokens.output,
        nanos, None if nanos is None else dollars(nanos), row.price_version, row.tier,
        row.is_estimated,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def moment(at_s: float) -> str:
    """Seconds since 1970 as people read them, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _moment_s(text: str, absent_s: float) -> float:
    if not text:
        return absent_s
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text[:80]!r} is no moment such as 2026-11-27 or 2026-11-27T12:00:00+00:00"
        raise ConfigError([Problem("", message)]) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
