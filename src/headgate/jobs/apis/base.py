"""What a batch API can do for us, in no provider's words, and how it can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import BinaryIO, Protocol

from msgspec import Struct

from headgate.errors import HeadgateError
from headgate.providers.wire import Upload

RUNNING, ENDED, INVALID = "running", "ended", "invalid"
"""A batch at its provider: under way; over, in whatever way; refused as a whole."""
GOOD, BAD, AGAIN = "good", "bad", "again"
"""An item: answered; refused for good; neither, so that it may be asked again."""
TOO_MANY_TOKENS = "token_limit_exceeded"
"""Code of a refusal that will pass: too much waits there already."""


class Refused(HeadgateError):
    """The provider wants none of it; nothing was done."""

    code = "batch_refused"


class Uncertain(HeadgateError):
    """It may have been done, and nobody has said so."""

    code = "batch_uncertain"
    sent = True


class Vanished(HeadgateError):
    """The provider does not know this batch (any more)."""

    code = "batch_vanished"
    sent = True


class Asked(Struct, frozen=True):
    """One item of a batch as it is sent."""

    name: str
    """Ours, for the provider: at most 64 of A-Z, a-z, 0-9, `_` and `-`."""
    body: bytes


class Handed(Struct, frozen=True):
    """A batch that is to be made."""

    token: str
    """What it is found by when its id is lost."""
    endpoint: str
    window_s: float
    file_id: str = ""
    """Of the file that was uploaded, where there is one."""


class Remote(Struct, frozen=True):
    """A batch as its provider sees it."""

    id: str
    state: str
    """RUNNING, ENDED or INVALID."""
    created_s: float
    count: int = 0
    """Items in it; 0: not told."""
    token: str = ""
    """Where it tells it."""
    files: tuple[str, ...] = ()
    """Where its results are; none: there are no results."""
    is_complete: bool = True
    """Of one that has ended: everything in it was worked off, so an item without a line may have
    been billed. False: it expired, or was cancelled."""
    problems: tuple[tuple[str, str], ...] = ()
    """(code, message) of a refusal."""


class Answer(Struct, frozen=True):
    """One line of results."""

    name: str
    """As in `Asked`."""
    kind: str
    """GOOD, BAD or AGAIN."""
    status: int = 0
    body: bytes = b""
    code: str = ""
    message: str = ""
    may_be_billed: bool = False
    """Of one that is to be asked again."""


class BatchApi(Protocol):
    """One provider. Every method but `pack` may raise Refused, Uncertain (only where something may
    have been done) and UpstreamFailed (after several tries)."""

    takes_files: bool
    """Whether the items are uploaded first, and the batch is made of the file."""

    def pack(self, file: BinaryIO, handed: Handed, items: Iterable[Asked]) -> None:
        """Writes what is to be sent; may wait for the disk."""
        ...

    async def upload(self, handed: Handed, content: Upload) -> str:
        """The id of the file. Only where it takes files."""
        ...

    async def create(self, handed: Handed, content: Upload) -> Remote:
        """Raises Uncertain where a batch may have been made whose id nobody knows."""
        ...

    async def retrieve(self, batch_id: str) -> Remote:
        """Raises Vanished."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Asks for it; whether it was in time, `retrieve` tells. Raises Vanished."""
        ...

    def results(self, remote: Remote) -> AsyncIterator[Answer]:
        """Every line of every result file, as they come; what is no such line is left out. Close
        it. Raises UpstreamFailed, and Vanished where the results are gone."""
        ...

    def recent(self, since_s: float) -> AsyncIterator[Remote]:
        """Batches made since then (wall clock), the newest first. Close it."""
        ...

    async def aclose(self) -> None: ...
