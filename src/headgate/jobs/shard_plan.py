"""Which queued items of a job go together into one batch at a provider, and which do not go there.

Reads the input page by page; holds of an item what the store says of it, never its body.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, BinaryIO, NamedTuple

import msgspec

from headgate.jobs.asking import Asker, Question
from headgate.jobs.base import JobStore
from headgate.jobs.disk import Disk
from headgate.jobs.limits import BatchLimits
from headgate.jobs.model import Item, Job, Settled
from headgate.jobs.states import QUEUED
from headgate.types import Target

PAGE = 500
PAGE_BYTES_MAX = 8_000_000
WRAPPING_BYTES = 200
"""What a provider's format adds to a body."""


class Draft(NamedTuple):
    """Items for one batch."""

    target: Target
    items: list[Item]


class _Group:
    """The draft that is being filled for one target."""

    def __init__(self, target: Target, limits: BatchLimits) -> None:
        self.target, self._limits = target, limits
        self.items: list[Item] = []
        self._bytes = self._tokens = self._inputs = 0

    def has_room(self, item: Item, inputs: int) -> bool:
        """Whether one more goes in; into an empty one each that `fits`."""
        limits = self._limits
        tokens_max, inputs_max = limits.enqueued_tokens_max, limits.embedding_inputs_max
        return not self.items or (
            len(self.items) < limits.shard_items
            and self._bytes + _bytes_of(item) <= limits.shard_bytes
            and (tokens_max is None or self._tokens + item.tokens_estimated <= tokens_max)
            and (inputs_max is None or self._inputs + inputs <= inputs_max)
        )

    def put(self, item: Item, inputs: int) -> None:
        self.items.append(item)
        self._bytes += _bytes_of(item)
        self._tokens += item.tokens_estimated
        self._inputs += inputs


class Drafting:
    """Makes drafts of what is queued in one job. `limits` are those of the providers that take its
    endpoint; `settle` ends items that need nobody to be asked."""

    def __init__(
        self, disk: Disk, job: Job, file: BinaryIO, asker: Asker,
        limits: Mapping[str, BatchLimits], attempts_max: int,
    ) -> None:  # fmt: skip
        self._disk, self._job, self._file = disk, job, file
        self._asker, self._limits, self._attempts_max = asker, limits, attempts_max
        self.settled: list[Settled] = []
        """Items that have ended without anybody being asked: whoever makes drafts writes them."""

    async def drafts(self, shut: Collection[str]) -> AsyncIterator[Draft]:
        """One after the other, each as soon as it is full. Providers that are `shut` get none, by
        the time that it is made."""
        groups: dict[tuple[str, str], _Group] = {}
        after_line = 0
        while page := await self._disk.do(lambda store: self._read(store, after_line)):  # noqa: B023
            after_line = page[-1][0].line_no
            for item, line in page:
                for draft in await self._placed(groups, item, line, shut):
                    yield draft
        for group in groups.values():
            if group.items:
                yield Draft(group.target, group.items)

    async def _placed(
        self, groups: dict[tuple[str, str], _Group], item: Item, line: bytes, shut: Collection[str]
    ) -> list[Draft]:
        """Puts an item where it belongs; the draft that is full with that."""
        if item.attempt >= self._attempts_max:
            return []
        found = await self._asker.find(item, line)
        if isinstance(found, Settled):
            self.settled.append(found)
            return []
        target = self._target(found, item, shut)
        if target is None:
            return []
        return _filled(groups, target, self._limits[target.provider], found)

    def _target(self, question: Question, item: Item, shut: Collection[str]) -> Target | None:
        """Where it would go on the ordinary path, too; None where that one takes no batches of
        it."""
        target = question.plan.target
        limits = self._limits.get(target.provider)
        if limits is None or target.provider in shut or _bytes_of(item) > limits.shard_bytes:
            return None
        return target

    def _read(self, store: JobStore, after_line: int) -> list[tuple[Item, bytes]]:
        items = store.items(self._job.id, QUEUED, after_line, PAGE)
        return read_lines(self._file, items, PAGE_BYTES_MAX)


def read_lines(
    file: BinaryIO, items: Collection[Item], bytes_max: int | None = None
) -> list[tuple[Item, bytes]]:
    """The lines of these items; only so many of the first as are not too large together, but one
    at least. Waits for the disk."""
    lines: list[tuple[Item, bytes]] = []
    size_bytes = 0
    for item in items:
        size_bytes += item.length
        if lines and bytes_max is not None and size_bytes > bytes_max:
            break
        file.seek(item.offset)
        lines.append((item, file.read(item.length)))
    return lines


def _filled(
    groups: dict[tuple[str, str], _Group], target: Target, limits: BatchLimits, question: Question
) -> list[Draft]:
    """Puts one more item into the draft for its target; the full one before, if it was."""
    key, item = (target.provider, target.model), question.item
    inputs = _inputs_of(question) if limits.embedding_inputs_max is not None else 0
    group = groups.setdefault(key, _Group(target, limits))
    full = []
    if not group.has_room(item, inputs):
        full.append(Draft(group.target, group.items))
        group = groups[key] = _Group(target, limits)
    group.put(item, inputs)
    return full


def _inputs_of(question: Question) -> int:
    """How many texts are to be embedded."""
    if question.plan.operation != "embeddings":
        return 0
    asked: Any = msgspec.json.decode(question.body)
    inputs = asked.get("input") if isinstance(asked, dict) else None
    is_several = isinstance(inputs, list) and bool(inputs) and not isinstance(inputs[0], int)
    return len(inputs) if is_several and isinstance(inputs, list) else 1


def _bytes_of(item: Item) -> int:
    return item.length + WRAPPING_BYTES
