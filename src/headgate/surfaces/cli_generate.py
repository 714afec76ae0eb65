"""`headgate generate`: a FastAPI backend from an app definition."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from headgate.generate import output
from headgate.generate.model import Faulty
from headgate.surfaces import terminal

_FAULTY = 2


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(generate)


def generate(
    app: Annotated[Path, typer.Argument(help="A .ai program, or the same as .py or .toml.")],
    out: Annotated[Path, typer.Option(help="Folder of the backend; made if it is not there.")],
    force: Annotated[bool, typer.Option(help="Overwrite files that were changed, too.")] = False,
    diff: Annotated[bool, typer.Option(help="Show what would change and write nothing.")] = False,
) -> None:
    """Write a FastAPI backend in which every call goes through headgate."""
    try:
        found, skipped = importlib.import_module("headgate.generate.reading").read_app(app)
    except Faulty as error:
        terminal.fail(error.message, _FAULTY)
    files = importlib.import_module("headgate.generate.project").project(found)
    changes = output.changes(out, files)
    for kind, name, at in skipped:
        terminal.warn(f"{app}:{at.line}: {kind} {name!r} is not generated")
    if diff:
        for line in output.diff(changes):
            terminal.say(line.removesuffix("\n"))
        return
    output.write(out, changes, force=force)
    kept = [] if force else [change.path for change in changes if change.state == "kept"]
    for path in kept:
        terminal.warn(
            f"kept {out / path}: it was changed; --diff shows the new one, --force takes it"
        )
    written = len(changes) - len(kept) - sum(change.state == "same" for change in changes)
    parts = f"{len(found.llms)} llms, {len(found.prompts)} prompts, {len(found.chains)} chains"
    more = f"; {len(skipped)} declarations of other kinds not generated" if skipped else ""
    terminal.say(f"{out}: {parts}{more}")
    terminal.say(f"{written} files written, {len(changes) - written - len(kept)} as they were")
    terminal.say(f"go on with: cd {out} && pip install -r requirements.txt && python -m pytest")
