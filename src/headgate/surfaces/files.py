"""`/v1/files`: input files of batches, and the two files that a batch that has ended is read from.

Those two are not on the disk a second time: their lines are made from its results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from headgate.core.multipart import Form, boundary_of
from headgate.errors import BadRequest
from headgate.jobs.base import InUse, JobStore
from headgate.jobs.model import Job, StoredFile
from headgate.jobs.settings import JobsConfig
from headgate.jobs.states import JOB_ENDS
from headgate.surfaces.batch_asked import JSON_LINES, Asked, Streamed, page, unknown
from headgate.surfaces.job_desk import Desk
from headgate.surfaces.operations import Answer
from headgate.surfaces.result_lines import GOOD, openai_line
from headgate.surfaces.uploads import FORM_MAX_BYTES, FileInForm, Pieces, room_for

PURPOSE = "batch"
LIST_MAX = 10_000
PIECE_BYTES = 65_536
SIZES_MAX = 1_000
OUTPUT, ERRORS = "file_out_", "file_err_"
"""What the ids of these two begin with; the rest is that of their job's."""
_JOB = "job_"


class Files:
    """Files of one tenant at a time."""

    def __init__(self, desk: Desk, settings: JobsConfig) -> None:
        self._desk = desk
        self._settings = settings
        self._sizes: dict[str, int] = {}

    async def create(self, asked: Asked) -> Answer:
        """Takes a file to the disk as it comes."""
        file_max_bytes = self._settings.file_max_bytes
        form = Form(boundary_of(asked.content_type), file_max_bytes)
        most_bytes = file_max_bytes + FORM_MAX_BYTES
        pieces = Pieces(asked.receive, asked.head.announced_bytes, most_bytes)

        def keep(store: JobStore) -> StoredFile:
            room_for(store, self._settings)
            sent = FileInForm(form, pieces, PURPOSE)
            name = sent.begin()
            return store.add_file(asked.tenant, PURPOSE, name, sent.content())

        return _said(shown(await self._desk.upload(asked.tenant, keep)))

    async def list(self, asked: Asked) -> Answer:
        """Uploaded files, newest first unless `order=asc`."""
        limit = asked.limit(LIST_MAX, LIST_MAX)
        after, order = asked.query.get("after", ""), asked.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise BadRequest('"order" must be asc or desc')
        if asked.query.get("purpose", PURPOSE) != PURPOSE:
            return _said(page([], has_more=False))

        def find(store: JobStore) -> list[StoredFile]:
            if after and store.file(after, asked.tenant) is None:
                raise unknown("file", after)
            if order == "desc":
                return store.files(asked.tenant, after, limit + 1)
            oldest = store.files(asked.tenant, "", LIST_MAX)[::-1]
            places = [place for place, file in enumerate(oldest) if file.id == after]
            return oldest[places[0] + 1 if places else 0 :][: limit + 1]

        found = await self._desk.look(find)
        if found is None:
            if after:
                raise unknown("file", after)
            found = []
        return _said(page([shown(file) for file in found[:limit]], has_more=len(found) > limit))

    async def show(self, asked: Asked) -> Answer:
        """What is known of one file."""
        job = await self._job(asked)
        if job is not None:
            size_bytes = await self._desk.study(lambda store: self._size(store, job, asked.id))
            return _said(result_file(job, asked.id, size_bytes))
        return _said(shown(await self._stored(asked)))

    async def content(self, asked: Asked) -> Streamed:
        """What is in one file."""
        job = await self._job(asked)
        if job is not None:
            lines = await self._desk.make(lambda store: result_lines(store, job, asked.id))
            return Streamed(lines, JSON_LINES)
        file = await self._stored(asked)
        opened = await self._desk.make(lambda store: store.open_file(file))
        headers = ((b"content-type", b"application/octet-stream"),)
        return Streamed(_Pieces(opened), headers, file.size_bytes)

    async def remove(self, asked: Asked) -> Answer:
        """Forgets an uploaded file, unless an unfinished job reads it."""
        job = await self._job(asked)
        if job is not None:
            raise BadRequest(
                f"this file is what batch {job.id} came to, and goes with it: DELETE "
                f"/v1/batches/{job.id}",
                status=409,
                code="file_in_use",
            )
        try:
            is_gone = await self._desk.look(lambda store: store.remove_file(asked.id, asked.tenant))
        except InUse:
            raise BadRequest(
                "a batch that has not ended reads this file: cancel the batch, or wait for it",
                status=409,
                code="file_in_use",
            ) from None
        if not is_gone:
            raise unknown("file", asked.id)
        return _said({"id": asked.id, "object": "file", "deleted": True})

    async def _stored(self, asked: Asked) -> StoredFile:
        file = await self._desk.look(lambda store: store.file(asked.id, asked.tenant))
        if file is None:
            raise unknown("file", asked.id)
        return file

    async def _job(self, asked: Asked) -> Job | None:
        """The job whose result the id names; None for that of an uploaded file."""
        if not asked.id.startswith((OUTPUT, ERRORS)):
            return None
        job_id = _JOB + asked.id[len(OUTPUT) :]
        job = await self._desk.look(lambda store: store.job(job_id, asked.tenant))
        if job is None or job.options.dialect != "openai" or asked.id not in result_ids(job):
            raise unknown("file", asked.id)
        return job

    def _size(self, store: JobStore, job: Job, file_id: str) -> int:
        """Of a result file, which never changes: looked through once."""
        if file_id not in self._sizes:
            if len(self._sizes) >= SIZES_MAX:
                self._sizes.clear()
            self._sizes[file_id] = sum(map(len, result_lines(store, job, file_id)))
        return self._sizes[file_id]


def result_ids(job: Job) -> tuple[str | None, str | None]:
    """Ids of the output and of the error file; None for one that would be empty, and before the
    end."""
    if job.state not in JOB_ENDS:
        return None, None
    good = sum(job.counts.get(state, 0) for state in GOOD)
    name = job.id[len(_JOB) :]
    return (OUTPUT + name if good else None), (ERRORS + name if job.total > good else None)


def result_lines(store: JobStore, job: Job, file_id: str) -> Iterator[bytes]:
    """The lines of a result file, in the order of the input."""
    wants_good = file_id.startswith(OUTPUT)
    for row in store.results(job.id):
        if (row.settled.state in GOOD) == wants_good:
            yield openai_line(job.id, row)


def shown(file: StoredFile) -> dict[str, Any]:
    """An uploaded file, as the SDK reads it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_s),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def result_file(job: Job, file_id: str, size_bytes: int) -> dict[str, Any]:
    """An output or error file, as the SDK reads it."""
    kind = "output" if file_id.startswith(OUTPUT) else "error"
    return {
        "id": file_id,
        "object": "file",
        "bytes": size_bytes,
        "created_at": int(job.ended_s or job.created_s),
        "filename": f"{job.id}_{kind}.jsonl",
        "purpose": "batch_output",
        "status": "processed",
    }


class _Pieces:
    """A file, piece by piece. No generator: one that was never begun would not close it."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._opened.read(PIECE_BYTES)
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        self._opened.close()


def _said(value: Any) -> Answer:
    return Answer(200, msgspec.json.encode(value))
