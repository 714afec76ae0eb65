"""`headgate keys`: who may call the gateway, what they may ask for, and what it may cost.

Works on the file itself; every running gateway that uses it follows within a second.
"""

from __future__ import annotations

import importlib
import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate.clock import SystemClock
from headgate.config import KeysConfig
from headgate.core.budget import day_of, month_of
from headgate.core.client import NAME, PREFIX, KeyRecord, broken_patterns
from headgate.core.money import dollars, nanos_of
from headgate.core.units import parse_duration, parse_exact
from headgate.errors import ConfigError, Problem
from headgate.stores.keys import KeyStore, Made
from headgate.surfaces import terminal
from headgate.surfaces.cli_config import ConfigOption, JsonOption
from headgate.surfaces.cli_ledger import moment

_DOLLARS_MAX = 10**9
_KeyArgument = Annotated[
    str, typer.Argument(metavar="ID", help="As `headgate keys list` shows it.")
]
_LimitOption = Annotated[int | None, typer.Option(min=1, help="In all, for this key.")]
_BudgetOption = Annotated[str | None, typer.Option(help="Dollars, of days and months in UTC.")]


def register(app: typer.Typer) -> None:
    """Adds the group of commands to `app`."""
    group = typer.Typer(help="Keys that you give to the clients of your gateway.")
    group.command()(create)
    group.command(name="list")(listing)
    group.command()(revoke)
    group.command()(rotate)
    app.add_typer(group, name="keys")


def create(
    tenant: Annotated[str, typer.Option(help="Whose calls they are; tenants share nothing.")],
    model: Annotated[list[str], typer.Option(help="May be asked for; 'gpt-*', '*'. Repeatable.")],
    requests_per_minute: _LimitOption = None,
    tokens_per_minute: _LimitOption = None,
    budget_per_day: _BudgetOption = None,
    budget_per_month: _BudgetOption = None,
    expires_in: Annotated[str | None, typer.Option(help="For example 90d.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: it is not kept, and cannot be shown again."""
    now_s = SystemClock().epoch()
    wanted = KeyRecord(
        id="",
        family="",
        tenant=_tenant(tenant),
        mac=b"",
        models=_models(model),
        created_s=now_s,
        requests_per_min=requests_per_minute,
        tokens_per_min=tokens_per_minute,
        day_nanos=_nanos("--budget-per-day", budget_per_day),
        month_nanos=_nanos("--budget-per-month", budget_per_month),
        expires_s=None if expires_in is None else now_s + _seconds("--expires-in", expires_in),
    )
    settings = _settings(config)
    with _opened(settings, make=True) as store:
        is_first = not store.records()
        made = store.make(wanted)
    _tell(made, now_s, as_json=as_json)
    if is_first and not as_json:
        terminal.warn(f"the first key in {settings.path}: from now on every call needs one")


def listing(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every key there is, without its secret, and what it has spent."""
    now_s = SystemClock().epoch()
    settings = _settings(config)
    keys: list[dict[str, Any]] = []
    if Path(settings.path).exists():
        with _opened(settings) as store:
            spent = store.spent()
            records = store.records()
        keys = [_shown(record, spent.get(record.family, {}), now_s) for record in records]
    if as_json:
        terminal.emit_json({"keys": keys})
        return
    columns = ("id", "tenant", "state", "models", "a minute", "day", "month", "expires")
    terminal.table("", columns, [_row(key) for key in keys])


def revoke(key: _KeyArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End a key: running gateways refuse it within a second; streams under way go on."""
    name = _id(key)
    with _opened(_settings(config)) as store:
        is_ended = store.revoke(name, SystemClock().epoch())
    if not is_ended:
        terminal.fail(f"no key {name} that is not revoked; see headgate keys list")
    if as_json:
        terminal.emit_json({"id": name, "state": "revoked"})
    else:
        terminal.say(f"revoked {name}")


def rotate(
    key: _KeyArgument,
    overlap: Annotated[str, typer.Option(help="How long the old key works on.")] = "24h",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key in place of another: same tenant, models and limits, and one budget for both."""
    now_s = SystemClock().epoch()
    overlap_s = _seconds("--overlap", overlap)
    name = _id(key)
    with _opened(_settings(config)) as store:
        made = store.rotate(name, now_s=now_s, overlap_s=overlap_s)
    if made is None:
        terminal.fail(f"no active key {name}; see headgate keys list")
    _tell(made, now_s, as_json=as_json)
    if not as_json:
        terminal.warn(f"key {name} works until {moment(now_s + overlap_s)} at the latest")


def _tell(made: Made, now_s: float, *, as_json: bool) -> None:
    """The key alone on stdout, so that a program can take it from there."""
    if as_json:
        terminal.emit_json({"key": made.text, **_shown(made.record, {}, now_s)})
        return
    terminal.say(made.text)
    terminal.warn(
        f"key {made.record.id} of {made.record.tenant}: keep it now, it is not shown again"
    )


def _shown(record: KeyRecord, spent: Any, now_s: float) -> dict[str, Any]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "state": record.state(now_s),
        "models": list(record.models),
        "requests_per_minute": record.requests_per_min,
        "tokens_per_minute": record.tokens_per_min,
        "budget_per_day_usd": _usd(record.day_nanos),
        "budget_per_month_usd": _usd(record.month_nanos),
        "spent_today_usd": dollars(spent.get(day_of(now_s), 0)),
        "spent_this_month_usd": dollars(spent.get(month_of(now_s), 0)),
        "created": moment(record.created_s),
        "expires": None if record.expires_s is None else moment(record.expires_s),
        "revoked": None if record.revoked_s is None else moment(record.revoked_s),
    }


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    limits = (("requests_per_minute", "requests"), ("tokens_per_minute", "tokens"))
    minute = ", ".join(f"{key[name]:,} {what}" for name, what in limits if key[name])
    return (
        key["id"], key["tenant"], key["state"], " ".join(key["models"]), minute or "-",
        _of(key["spent_today_usd"], key["budget_per_day_usd"]),
        _of(key["spent_this_month_usd"], key["budget_per_month_usd"]), key["expires"] or "-",
    )  # fmt: skip


def _of(spent: str, limit: str | None) -> str:
    return "-" if limit is None else f"${spent} of ${limit}"


def _usd(nanos: int | None) -> str | None:
    return None if nanos is None else dollars(nanos)


def _settings(config: Path | None) -> KeysConfig:
    files = importlib.import_module("headgate.config_file")
    keys: KeysConfig = files.load_or_default(config, os.environ).config.keys
    return keys


def _opened(settings: KeysConfig, *, make: bool = False) -> KeyStore:
    path = Path(settings.path)
    if not make and not path.exists():
        raise ConfigError([Problem("keys.path", f"there are no keys at {path}")])
    return KeyStore(path, settings.pepper.reveal())


def _id(text: str) -> str:
    """An id, also out of `hg_ID_...`; what is behind it is not repeated."""
    return text.removeprefix(PREFIX).partition("_")[0][:40]


def _tenant(text: str) -> str:
    if not NAME.fullmatch(text):
        raise _wrong("--tenant", "a name of 1 to 64 letters, digits, dots, - and _ is wanted")
    return text


def _models(names: list[str]) -> tuple[str, ...]:
    problem = broken_patterns(names)
    if problem:
        raise _wrong("--model", problem)
    return tuple(dict.fromkeys(names))


def _nanos(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        amount = parse_exact(text.removeprefix("$"))
    except ValueError:
        raise _wrong(option, "dollars such as 5 or 0.25 are wanted") from None
    if not Decimal(0) <= amount <= _DOLLARS_MAX:
        raise _wrong(option, f"at least 0 and at most {_DOLLARS_MAX} dollars are possible")
    return nanos_of(amount)


def _seconds(option: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise _wrong(option, str(error)) from None


def _wrong(option: str, message: str) -> ConfigError:
    return ConfigError([Problem(option, message)])
