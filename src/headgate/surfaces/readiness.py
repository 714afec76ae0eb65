"""What /readyz says: whether calls are taken, and what is wrong although they are.

Anybody may ask it, so it names settings and never shows their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct


class Reloaded(Struct, frozen=True):
    """How the last reload went; `problems` is empty if it succeeded."""

    at_s: float
    """Seconds since 1970."""
    problems: tuple[str, ...] = ()
    """Where the configuration is wrong: keys, with their lines where they are known."""
    needs_restart: tuple[str, ...] = ()
    """Settings that have changed and keep their old value until the process is started anew."""


class Readiness:
    """One for each server, over all configurations that it has had."""

    def __init__(self) -> None:
        self.has_started = False
        self.is_draining = False
        self.reloads = 0
        self.reloads_failed = 0
        self.last_reload: Reloaded | None = None

    def note(self, reload: Reloaded) -> None:
        """Keeps and counts how a reload went."""
        self.last_reload = reload
        self.reloads += 1
        self.reloads_failed += bool(reload.problems)

    def report(self, checks: Iterable[Callable[[], str]]) -> tuple[int, dict[str, Any]]:
        """Status and body. A check that finds something is a warning: calls are answered, worse."""
        reasons = [] if self.has_started else ["starting"]
        if self.is_draining:
            reasons = ["draining"]
        warnings = [found for check in checks if (found := check())]
        if self.last_reload is not None and self.last_reload.problems:
            warnings.append("the last reload failed: the configuration before it is in use")
        body = {
            "status": "not_ready" if reasons else "ready",
            "reasons": reasons,
            "warnings": warnings,
            "reload": self.reload(),
        }
        return 503 if reasons else 200, body

    def reload(self) -> dict[str, Any] | None:
        """How the last reload went, for people; None where there was none."""
        last = self.last_reload
        if last is None:
            return None
        at = datetime.fromtimestamp(last.at_s, UTC).isoformat(timespec="seconds")
        return {
            "at": at.replace("+00:00", "Z"),
            "succeeded": not last.problems,
            "problems": last.problems,
            "needs_restart": last.needs_restart,
            "count": self.reloads,
            "failed": self.reloads_failed,
        }
