"""headgate: one engine between a program and the language models it calls.

Importing this loads the standard library only and opens nothing: each name below is resolved when
it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate import errors
    from headgate.circuitbreaker import CircuitBreaker, circuit
    from headgate.config import Config
    from headgate.runtime import Runtime

    __version__: str

__all__ = ["CircuitBreaker", "Config", "Runtime", "__version__", "circuit", "errors"]


def __getattr__(name: str) -> Any:
    """The public names, from the modules that define them."""
    if name == "Runtime":
        return importlib.import_module("headgate.runtime").Runtime
    if name == "Config":
        return importlib.import_module("headgate.config").Config
    if name in ("CircuitBreaker", "circuit"):
        return getattr(importlib.import_module("headgate.circuitbreaker"), name)
    if name == "errors":
        return importlib.import_module("headgate.errors")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("headgate")
    raise AttributeError(f"module 'headgate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
