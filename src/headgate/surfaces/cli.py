"""The command line: one table of commands, each loaded when it is called.

Exit status: 0 done, 1 failed, 2 wrong usage or configuration. What is expected to fail ends with a
line on stderr, never with a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.main import get_command

from headgate.errors import ConfigError, HeadgateError
from headgate.surfaces import terminal

# The first word of a command: its module, which has `register(app)`. In the order of the help.
COMMANDS: dict[str, Callable[[], Any]] = {
    "serve": lambda: importlib.import_module("headgate.surfaces.cli_serve"),
    "demo": lambda: importlib.import_module("headgate.surfaces.cli_demo"),
    "init": lambda: importlib.import_module("headgate.surfaces.cli_config"),
    "check": lambda: importlib.import_module("headgate.surfaces.cli_config"),
    "config": lambda: importlib.import_module("headgate.surfaces.cli_config"),
    "stats": lambda: importlib.import_module("headgate.surfaces.cli_stats"),
    "calls": lambda: importlib.import_module("headgate.surfaces.cli_calls"),
    "monitor": lambda: importlib.import_module("headgate.surfaces.cli_monitor"),
    "cache": lambda: importlib.import_module("headgate.surfaces.cli_cache"),
    "ledger": lambda: importlib.import_module("headgate.surfaces.cli_ledger"),
    "batch": lambda: importlib.import_module("headgate.surfaces.cli_batch"),
    "keys": lambda: importlib.import_module("headgate.surfaces.cli_keys"),
    "generate": lambda: importlib.import_module("headgate.surfaces.cli_generate"),
    "version": lambda: importlib.import_module("headgate.surfaces.cli_version"),
}
_FAILED = 1
_WRONG_USAGE = 2


def application(words: Sequence[str] = ()) -> typer.Typer:
    """The program with the command that `words` begin with, or with all of them (help, typos)."""
    app = typer.Typer(
        # With a callback typer keeps the command's name also where there is only one.
        callback=_root,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    wanted = [words[0]] if words and words[0] in COMMANDS else list(COMMANDS)
    # Several commands share a module, which is registered once; a dict keeps the order.
    for module in dict.fromkeys(COMMANDS[name]() for name in wanted):
        module.register(app)
    return app


def _root() -> None:
    """One engine between your programs and the language models they call."""


def main(words: Sequence[str] | None = None) -> None:
    """Runs one command line (default: the process's own) and ends with its exit status."""
    given = list(sys.argv[1:] if words is None else words)
    # Started with its streams closed (`>&-`) a program has none: Python's name for that is None.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - open as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        get_command(application(given))(args=given, prog_name="headgate")
    except ConfigError as error:
        terminal.fail(str(error), _WRONG_USAGE)
    except HeadgateError as error:
        terminal.fail(f"headgate: {error.message}", _FAILED)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        terminal.fail(f"headgate: {named}{error.strerror or error}", _FAILED)
