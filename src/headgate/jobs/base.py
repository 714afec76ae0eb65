"""What a store of jobs promises, in words that every store's contract tests repeat.

1. A write happens wholly or not at all, and is on the disk when the method returns.
2. Every write of a worker carries its lease. One with a fence older than the job's raises `Fenced`
   and changes nothing. The store's clock judges when a lease ends.
3. A terminal item never changes: the first result wins, later ones are not counted by `settle`.
4. One result row and one ledger row per (job, custom_id), written together.
5. Whoever names a tenant sees only what belongs to it; another tenant's id is an unknown id.
6. Every method may be called from any thread, and may wait for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol

from headgate.errors import StoreError
from headgate.jobs.model import (
    NOTHING_LEARNED,
    Intent,
    Item,
    Job,
    Learned,
    Lease,
    Line,
    ResultRow,
    Settled,
    Shard,
    StoredFile,
    Waiting,
)
from headgate.types import Usage


class Fenced(StoreError):
    """Another worker has taken the job over: this one must stop."""

    code = "fenced"


class InUse(StoreError):
    """Something that has not ended needs it."""

    code = "in_use"


class JobStore(Protocol):
    """See the promises at the top of this file. `tenant=None` means: of any tenant."""

    # Files.

    def add_file(
        self, tenant: str, purpose: str, name: str, content: Iterable[bytes]
    ) -> StoredFile:
        """Keeps `content`, piece by piece, never whole in memory."""
        ...

    def file(self, file_id: str, tenant: str | None) -> StoredFile | None: ...

    def files(self, tenant: str, after: str = "", limit: int = 20) -> list[StoredFile]:
        """Newest first, those after the id `after`."""
        ...

    def open_file(self, file: StoredFile) -> BinaryIO:
        """The content, to be closed by whoever opened it."""
        ...

    def remove_file(self, file_id: str, tenant: str) -> bool:
        """Whether there was such a file; one that an unfinished job reads stays, and raises
        InUse."""
        ...

    def stored_bytes(self) -> int:
        """What all files take together, each a page of the disk at least."""
        ...

    # Jobs.

    def create(self, job: Job, items: Iterable[Line]) -> None:
        """The job with all its items, in one transaction. Items whose digest stands earlier in the
        job become its followers (`leader`)."""
        ...

    def job(self, job_id: str, tenant: str | None) -> Job | None:
        """With counts and money as of now."""
        ...

    def jobs(
        self, tenant: str | None, after: str = "", limit: int = 20, dialect: str = ""
    ) -> list[Job]:
        """Newest first, those after the id `after`; of one dialect, where it is named."""
        ...

    def ask_cancel(self, job_id: str, tenant: str | None) -> Job | None:
        """Notes the wish (state `cancelling`); whoever holds the lease sees it with `renew` or
        `job`. None for an unknown id; an ended job stays what it is."""
        ...

    def set_state(self, lease: Lease, state: str) -> None: ...

    def usage(self, job_id: str) -> Usage:
        """Tokens of all its terminal items."""
        ...

    def remove(self, job_id: str, tenant: str) -> bool:
        """Forgets a job with its items, results and ledger; whether there was one. One that has not
        ended stays, and raises InUse. Its input file stays."""
        ...

    def forget_old(self, before_s: float, most: int = 500) -> int:
        """Removes jobs of clients that ended before `before_s` (wall clock), and files of theirs
        that are older and that no unfinished job reads; so many at most. How many that were."""
        ...

    # Leases.

    def claim(self, job_id: str, owner: str, lease_s: float) -> Lease | None:
        """The lease, with a higher fence than any before; None while somebody else's lives."""
        ...

    def renew(self, lease: Lease, lease_s: float) -> None:
        """Raises Fenced."""
        ...

    def release(self, lease: Lease) -> None:
        """Gives it up; nothing if it is lost already."""
        ...

    def claimable(self) -> list[str]:
        """Ids of the jobs that have not ended and that nobody works on, oldest first."""
        ...

    def waiting(self) -> list[Waiting]:
        """The same jobs, and as much of each as it takes to say whose turn it is."""
        ...

    # Items.

    def items(self, job_id: str, state: str, after_line: int = 0, limit: int = 1000) -> list[Item]:
        """Leaders in `state` in the order of their lines, those after line `after_line`."""
        ...

    def shard_items(self, shard_id: str) -> list[Item]: ...

    def settle(self, lease: Lease, settled: Sequence[Settled]) -> int:
        """Ends items, their followers with them (state `cache_hit`, cost 0), and says how many
        have changed."""
        ...

    def requeue(self, lease: Lease, custom_ids: Sequence[str]) -> int:
        """Back to `queued`, without a shard."""
        ...

    def results(self, job_id: str, after_line: int = 0) -> Iterator[ResultRow]:
        """Every terminal item, in the order of the lines; reads piece by piece."""
        ...

    # Shards.

    def intend(self, lease: Lease, shard: Intent, custom_ids: Sequence[str]) -> Shard:
        """The shard in state `intent`, and its items `sharded`, in one transaction."""
        ...

    def advance(
        self, lease: Lease, shard_id: str, state: str, learned: Learned = NOTHING_LEARNED
    ) -> Shard:
        """The next state, with what has become known. `created` makes its items `submitted`, with
        one attempt more."""
        ...

    def shards(self, job_id: str) -> list[Shard]:
        """In the order in which they were intended."""
        ...

    def close(self) -> None: ...
