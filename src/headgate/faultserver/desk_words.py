"""What the dialects of the desk have in common: what is asked, what is kept, what is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from headgate.faultserver.batches import Batch
from headgate.faultserver.courses import BatchCourse
from headgate.faultserver.marks import Mark
from headgate.testing_server import Recorded

Kept = TypeVar("Kept")
_PAGE = 20
_PAGE_MAX = 1000


class Ask(Struct, frozen=True):
    """One request to the desk."""

    request: Recorded
    mark: Mark
    subject: str
    """The id in its path, "" where there is none."""
    query: Mapping[str, str]
    origin: str
    """Scheme and host, as its client sees them."""
    now_s: int

    @property
    def fields(self) -> Mapping[str, Any]:
        """Of its JSON body; none where it has none."""
        body = self.request.body
        return body if isinstance(body, dict) else {}


class Answered(Struct, frozen=True):
    """What is said to it."""

    status: int
    content: bytes
    content_type: str = "application/json"


class KeptFile(Struct):
    """A file that was handed in, or made here."""

    id: str
    tenant: str
    purpose: str
    name: str
    content: bytes
    created_s: int


class Drawers:
    """Where everything lies. `course_of` tells how the next batch with a model goes."""

    def __init__(self, seed: int, course_of: Callable[[str], BatchCourse]) -> None:
        self.seed = seed
        self.course_of = course_of
        self.files: dict[str, KeptFile] = {}
        self.batches: dict[str, Batch] = {}
        self._count = 0

    def name(self, prefix: str) -> str:
        """An id for one more thing."""
        self._count += 1
        return f"{prefix}{self._count:08d}"

    def batch(self, ask: Ask, prefix: str) -> Batch | None:
        """The asker's own batch of this dialect, unless it has vanished."""
        batch = self.batches.get(ask.subject)
        is_there = batch is not None and batch.id.startswith(prefix) and not batch.is_vanished
        return batch if is_there and batch is not None and batch.tenant == ask.mark.tenant else None

    def own_batches(self, ask: Ask, prefix: str) -> list[Batch]:
        """The asker's batches of this dialect, the newest first."""
        own = [batch for batch in self.batches.values() if batch.tenant == ask.mark.tenant]
        return [b for b in reversed(own) if b.id.startswith(prefix) and not b.is_vanished]

    def file(self, ask: Ask) -> KeptFile | None:
        """The asker's own file."""
        file = self.files.get(ask.subject)
        return file if file is not None and file.tenant == ask.mark.tenant else None


def json_answer(value: Any, status: int = 200) -> Answered:
    """JSON."""
    return Answered(status, msgspec.json.encode(value))


def paged(
    rows: list[Kept], query: Mapping[str, str], after: str, name_of: Callable[[Kept], str]
) -> tuple[list[Kept], bool]:
    """The rows of one page, those behind the id in the parameter `after`, and whether there are
    more."""
    names = [name_of(row) for row in rows]
    first = names.index(query[after]) + 1 if query.get(after) in names else 0
    limit = query.get("limit", "")
    size = min(int(limit), _PAGE_MAX) if limit.isdigit() and int(limit) else _PAGE
    return rows[first : first + size], len(rows) > first + size
