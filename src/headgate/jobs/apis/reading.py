"""How batch APIs are read, whoever's they are: replies of a known shape, result files line by line,
lists page by page.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from headgate.errors import UpstreamGarbled
from headgate.jobs.apis.asking import Asking
from headgate.jobs.apis.base import Answer, Remote
from headgate.jobs.apis.lines import lines_in

PAGE = 100
_PAGES_MAX = 1000


class Listed(NamedTuple):
    """A list of batches: where it is, what the last id of a page is named in the next request, the
    shape of a page (`data`, `has_more`), and what a batch of it is to us."""

    path: str
    cursor: str
    page: type[Any]
    remote_of: Callable[[Any], Remote]


def shaped(reply: Any, kind: type[Any]) -> Any:
    """`reply` as a `kind`. Raises UpstreamGarbled."""
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as problem:
        raise UpstreamGarbled(f"the batch API answered with something else: {problem}") from None


async def answers_in(
    asking: Asking, paths: Iterable[str], answer_in: Callable[[bytes], Answer | None]
) -> AsyncGenerator[Answer, None]:
    """What `answer_in` finds in the lines of each file, as they come, our key redacted."""
    async with aclosing(_lines(asking, paths)) as lines:
        async for line in lines:
            if (answer := answer_in(line)) is not None:
                yield answer


async def _lines(asking: Asking, paths: Iterable[str]) -> AsyncGenerator[bytes, None]:
    for path in paths:
        async with asking.stream(path) as reply:
            async for line in lines_in(reply.chunks()):
                yield asking.redact(line)


async def newest(asking: Asking, listed: Listed, since_s: float) -> AsyncGenerator[Remote, None]:
    """The batches made since then (wall clock); pages come newest first."""
    after = ""
    for _ in range(_PAGES_MAX):
        reply = await asking.do("GET", f"{listed.path}?limit={PAGE}{after}")
        page = shaped(reply, listed.page)
        for batch in page.data:
            remote = listed.remote_of(batch)
            if remote.created_s < since_s:
                return
            yield remote
        if not page.has_more or not page.data:
            return
        after = f"&{listed.cursor}={quote(page.data[-1].id, safe='')}"
