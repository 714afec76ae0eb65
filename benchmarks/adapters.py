"""The candidates for the upstream client by name, each a module with an `open_wire` of its own.

Imported one at a time, when asked for: only aiohttp is a dependency.
"""

from __future__ import annotations

import importlib
from types import ModuleType

CLIENTS = ("aiohttp", "pyreqwest", "httpx2")


def adapter(client: str) -> ModuleType:
    """The module of one of `CLIENTS`."""
    match client:
        case "aiohttp":
            return importlib.import_module("headgate.providers.wire_client")
        case "pyreqwest":
            return importlib.import_module("wire_pyreqwest")
        case "httpx2":
            return importlib.import_module("wire_httpx2")
    raise ValueError(f"{client} is none of {CLIENTS}")
