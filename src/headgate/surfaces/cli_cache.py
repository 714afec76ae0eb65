"""`headgate cache`: what a running gateway keeps; look at it, clear it."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from headgate.core.units import format_duration, parse_duration
from headgate.surfaces import terminal
from headgate.surfaces.admin_client import AdminClient
from headgate.surfaces.cli_stats import JsonOption, UrlOption, show_cache

ModelOption = Annotated[str | None, typer.Option(help="Only answers of this model.")]
NamespaceOption = Annotated[str | None, typer.Option(help="Only answers of this namespace.")]
TagOption = Annotated[str | None, typer.Option(help="Only answers with this tag (headgate-tags).")]
_HASH_CHARS = 64
_KEY = re.compile("[0-9a-f]{1,64}")
_LISTED_MAX = 1000
"""As many as one request can list."""


def register(app: typer.Typer) -> None:
    """Adds the group of commands to `app`."""
    group = typer.Typer(help="Look at and clear the stored answers of a running gateway.")
    for command in (stats, ls, show, clear):
        group.command()(command)
    app.add_typer(group, name="cache")


def stats(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """The hit rate; entries, bytes and evictions of each tier; what was not stored."""
    cache = AdminClient(url).stats()["cache"]
    if as_json:
        terminal.emit_json(cache)
        return
    terminal.say(f"hit rate {cache['hit_rate']:.1%}, {cache['size']:,} entries in memory")
    show_cache(cache)


def ls(
    model: ModelOption = None,
    namespace: NamespaceOption = None,
    tag: TagOption = None,
    limit: Annotated[int, typer.Option(min=1, max=_LISTED_MAX, help="Lines at most.")] = 100,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stored answers, most recently used first."""
    selected = _given(model=model, namespace=namespace, tag=tag, limit=str(limit))
    found = AdminClient(url).entries(**selected)
    if as_json:
        terminal.emit_json({"entries": found})
        return
    columns = ("key", "model", "operation", "namespace", "age", "ttl", "bytes", "tokens")
    rows = [
        (e["key"][:16], e["model"], e["operation"], e["namespace"], _whole_seconds(e["age_s"]),
         _whole_seconds(e["ttl_s"]), e["size_bytes"], e["tokens_in"] + e["tokens_out"])
        for e in found
    ]  # fmt: skip
    terminal.table("", columns, rows)


def show(
    key: Annotated[str, typer.Argument(help="As in `cache ls`, or the `headgate-key` header.")],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """One stored answer; the beginning of its key is enough if it is the only one."""
    client = AdminClient(url)
    found = client.entries(key=_full_key(client, key.lower()))
    if not found:
        terminal.fail(f"no stored answer has the key {key}")
    if as_json:
        terminal.emit_json(found[0])
        return
    for name, value in found[0].items():
        if name != "content":
            terminal.say(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    terminal.say()
    terminal.say(found[0]["content"])


def clear(
    model: ModelOption = None,
    namespace: NamespaceOption = None,
    tag: TagOption = None,
    key: Annotated[
        str | None, typer.Option(help="Only the answer of this key, as in `cache ls`.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Only answers older than this: 90s, 5m, 2h, 7d.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, remove nothing.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove stored answers: all of them, or those selected."""
    try:
        parse_duration("0s" if older_than is None else older_than)
    except ValueError as error:
        terminal.fail(f"--older-than: {error}", 2)
    client = AdminClient(url)
    selected = _given(model=model, namespace=namespace, tag=tag, older_than=older_than)
    if key is not None:
        selected["key"] = _full_key(client, key.lower())
    count = client.clear(**selected, dry_run=dry_run)
    if as_json:
        terminal.emit_json({"entries_removed": count, "dry_run": dry_run})
    else:
        terminal.say(f"{count:,} {'would be removed' if dry_run else 'removed'}")


def _full_key(client: AdminClient, key: str) -> str:
    """The key that begins with `key`, looked for among the answers that `ls` can list."""
    if not _KEY.fullmatch(key):
        terminal.fail(f"KEY is up to {_HASH_CHARS} hexadecimal digits, got {key!r}", 2)
    if len(key) == _HASH_CHARS:
        return key
    found = client.entries(limit=str(_LISTED_MAX))
    matching = [e["key"] for e in found if e["key"].startswith(key)]
    if len(matching) > 1:
        terminal.fail(f"{len(matching)} stored answers have keys that begin with {key}", 2)
    if not matching:
        where = "stored answers" if len(found) < _LISTED_MAX else f"{_LISTED_MAX} latest answers"
        terminal.fail(f"none of the {where} has a key that begins with {key}")
    return str(matching[0])


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _whole_seconds(seconds: float) -> str:
    return format_duration(max(0, round(seconds)))
