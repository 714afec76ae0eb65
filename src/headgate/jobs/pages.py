"""The queued lines of a job, page by page. Each page is noted as sent before any of it is.

Such a page is a shard of provider `live`: after a crash it is known which lines may have been
asked, and paid for. A page that nobody works on any more is closed, and what is open in it queued.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, BinaryIO

from headgate.errors import StoreError
from headgate.jobs.asking import Asker, Question
from headgate.jobs.base import JobStore
from headgate.jobs.disk import Disk
from headgate.jobs.failpoints import reach
from headgate.jobs.ids import shard_id, submit_token
from headgate.jobs.model import LIVE, Intent, Item, Job, Learned, Lease, Settled, Shard
from headgate.jobs.settling import Settling, close_shard
from headgate.jobs.states import (
    ABANDONED,
    CREATED,
    INTENT,
    QUEUED,
    SHARD_ENDS,
    SHARDED,
    SUBMITTED,
)

PAGE = 100
PAGE_BYTES_MAX = 4_000_000
_UNANSWERED = "unanswered"
"""In the detail of a shard: lines that were perhaps asked, and nobody knows how they ended."""


class Pages:
    """The lines of one job. `file` is its input, `settling` where lines go that have ended before
    anybody was asked."""

    def __init__(
        self, disk: Disk, lease: Lease, file: BinaryIO, asker: Asker, settling: Settling
    ) -> None:
        self._disk, self._lease, self._file = disk, lease, file
        self._asker, self._settling = asker, settling
        self._after_line = 0
        self.is_read = False
        """There are no more."""

    async def more(self) -> list[Question]:
        """The next lines that are to be asked; none at the end."""
        while not self.is_read:
            page = await self._disk.do(self._read)
            self.is_read = not page
            questions = []
            for item, line in page:
                found = self._asker.look(item, line)
                if isinstance(found, Settled):
                    await self._settling.give(found)
                else:
                    questions.append(found)
            if questions:
                await self._note(questions)
                return questions
        return []

    def _read(self, store: JobStore) -> list[tuple[Item, bytes]]:
        """So many lines that they are not too large together, but one at least."""
        page: list[tuple[Item, bytes]] = []
        size_bytes = 0
        for item in store.items(self._lease.job_id, QUEUED, self._after_line, PAGE):
            if page and size_bytes + item.length > PAGE_BYTES_MAX:
                break
            size_bytes += item.length
            self._file.seek(item.offset)
            page.append((item, self._file.read(item.length)))
            self._after_line = item.line_no
        return page

    async def _note(self, questions: Sequence[Question]) -> None:
        custom_ids = [question.item.custom_id for question in questions]
        model = questions[0].item.model
        noted = Intent(shard_id(), self._lease.job_id, LIVE, submit_token(), model)
        await self._disk.do(lambda store: _note(store, self._lease, noted, custom_ids))
        self._settling.expect(noted.id, custom_ids)


def opened(store: JobStore, job: Job) -> BinaryIO:
    """The input of a job. Raises StoreError where it is gone."""
    file = store.file(job.input_file_id, None)
    if file is None:
        raise StoreError(f"{job.id}: its input {job.input_file_id} is gone")
    return store.open_file(file)


def close_pages(store: JobStore, lease: Lease, sent: Collection[str] | None = None) -> Counter[str]:
    """Closes every page of the ordinary path that is open, and queues what is open in it. `sent`
    are the lines that were under way; None: nobody knows, so all may have been.

    Returns how often each line may have been asked before without an answer from then; nothing for
    those that certainly were not.
    """
    unanswered: Counter[str] = Counter()
    for shard in store.shards(lease.job_id):
        if shard.provider == LIVE:
            unanswered.update(_close(store, lease, shard, sent))
        else:
            # A batch that did not bring them may have been billed for them.
            unanswered.update(shard.detail.get(_UNANSWERED, ()))
    return unanswered


def _close(store: JobStore, lease: Lease, shard: Shard, sent: Collection[str] | None) -> set[str]:
    known: list[str] = shard.detail.get(_UNANSWERED, [])
    if shard.state in SHARD_ENDS:
        return set(known)
    left = [one for one in store.shard_items(shard.id) if one.state in (SHARDED, SUBMITTED)]
    # What is only `sharded` was not sent: that is noted for the whole page before its first line.
    begun = (one.custom_id for one in left if one.state == SUBMITTED)
    unanswered = {*known, *(name for name in begun if sent is None or name in sent)}
    if unanswered:
        detail: dict[str, Any] = {**shard.detail, _UNANSWERED: sorted(unanswered)}
        store.advance(lease, shard.id, shard.state, Learned(detail=detail))
    store.requeue(lease, [one.custom_id for one in left])
    if shard.state == INTENT:
        store.advance(lease, shard.id, ABANDONED)
    else:
        close_shard(store, lease, shard.id)
    return unanswered


def _note(store: JobStore, lease: Lease, noted: Intent, custom_ids: Sequence[str]) -> None:
    store.intend(lease, noted, custom_ids)
    reach("intent")
    store.advance(lease, noted.id, CREATED)
    reach("batch_stored")
