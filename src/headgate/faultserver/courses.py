"""How batches go: what a test may decide about one, and what then comes of each of its items. Pure;
time is counted in looks, so that no test waits.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Literal

from msgspec import Struct

from headgate.core.verdict import usage_in
from headgate.providers.fake import fake_reply

Items = tuple[int, ...] | Literal["all"]
"""Places in the input, from 0."""
DONE, FAILED, EXPIRED, STOPPED = "done", "failed", "expired", "stopped"
"""What can have become of an item: answered and charged; refused; not begun in time; not begun
because the batch was cancelled."""
Line = dict[str, Any]
_OK = 200


class BatchCourse(Struct, frozen=True, kw_only=True):
    """How one batch goes. The default: it is under way at the first look and has ended well at the
    second, its results in the order of the input. A look is one retrieval of the batch, or of a
    page that it stands on."""

    looks: int | None = 1
    """How many looks find it under way; None: all, until it is cancelled."""
    invalid: str = ""
    """OpenAI: the code with which its validation fails, such as `token_limit_exceeded`."""
    expired_from: float | None = None
    """Share of the items after which its time was over."""
    vanishes_after: int | None = None
    """So many looks find it, later ones nothing (404). It is charged all the same."""
    has_counts: bool = True
    """OpenAI: whether counts are told before the end; Anthropic's never are."""
    has_files: bool = True
    """False: it ends with neither an output file nor an error file."""
    cancel_looks: int = 1
    """How many looks find it still cancelling."""
    done_at_cancel: float = 0.0
    """Share of the items that are done by the time it is cancelled; 1: it finishes them anyway."""
    failed: Items = ()
    """Items that are refused (400)."""
    missing: Items = ()
    """Items that are done and charged, and have no line in any file."""
    status_0: Items = ()
    """OpenAI: items that are charged, and whose line says `status_code` 0 and nothing else."""
    duplicated: Items = ()
    """Items whose line comes twice."""
    contradicted: Items = ()
    """Items with a second line that says something else, behind the first."""
    strangers: int = 0
    """Lines with ids that nobody asked for."""
    is_permuted: bool = False
    """Result lines in another order."""


class Asked(Struct, frozen=True):
    """One item as it was asked."""

    custom_id: str
    operation: str
    body: bytes
    """JSON."""
    model: str


class Result(Struct, frozen=True):
    """What came of one item. `status` and `body` are those of a live answer; 0 without one."""

    asked: Asked
    end: str
    status: int = 0
    body: bytes = b""
    tokens_in: int = 0
    tokens_out: int = 0


class BatchCharge(Struct, frozen=True):
    """What a provider charges for one item of one batch."""

    batch_id: str
    custom_id: str
    tenant: str
    model: str
    tokens_in: int
    tokens_out: int


def has(items: Items, place: int) -> bool:
    """Whether an item is meant."""
    return items == "all" or place in items


def results_of(
    items: list[Asked], course: BatchCourse, mark: str, *, is_cancelled: bool
) -> list[Result]:
    """What comes of each item, in the order of the input. Answers are those of the live endpoints,
    with the mark of the request that made the batch."""
    done = len(items)
    rest = STOPPED if is_cancelled else EXPIRED
    if is_cancelled:
        done = round(course.done_at_cancel * len(items))
    elif course.expired_from is not None:
        done = round(course.expired_from * len(items))
    return [
        _answered(asked, mark, is_refused=has(course.failed, place))
        if place < done
        else Result(asked, rest)
        for place, asked in enumerate(items)
    ]


def _answered(asked: Asked, mark: str, *, is_refused: bool) -> Result:
    # What the live endpoint refuses is refused here; `failed` items are asked as nonsense.
    answer = fake_reply(asked.operation, b"{}" if is_refused else asked.body, mark=mark)
    if answer.status != _OK:
        return Result(asked, FAILED, answer.status, answer.content)
    usage = usage_in(answer.content)
    return Result(asked, DONE, _OK, answer.content, usage.tokens_in, usage.tokens_out)


def laid_out(
    lines: list[tuple[int, Line]], course: BatchCourse, seed: int, failing: Callable[[str], Line]
) -> list[Line]:
    """Result lines with their places, as the course lays them out in a file. `failing` makes the
    line of an item without an answer."""
    written: list[Line] = []
    for place, line in lines:
        if has(course.missing, place):
            continue
        written += [line] * (2 if has(course.duplicated, place) else 1)
        if has(course.contradicted, place):
            written.append(failing(line["custom_id"]))
    written += [failing(f"stranger-{number}") for number in range(course.strangers)]
    if course.is_permuted:
        # Two lines of one item keep their order: which came first is what counts.
        written.sort(key=lambda line: sha256(f"{seed}:{line['custom_id']}".encode()).digest())
    return written
