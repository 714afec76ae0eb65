"""What is read alike of every batch API: shapes, pages, and the lines of results."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from jobs.apis.places import api_at, bodies, ended, handed_in

from headgate.errors import UpstreamGarbled
from headgate.jobs.apis.base import Answer, Remote
from headgate.jobs.apis.reading import PAGE, shaped
from headgate.testing import FaultServer

KINDS = ["openai", "anthropic"]


class Named(msgspec.Struct):
    id: str


def test_a_reply_of_another_shape_is_garbled() -> None:
    assert shaped({"id": "b", "more": 1}, Named).id == "b"
    for reply in ([], {"id": 3}, None):
        with pytest.raises(UpstreamGarbled, match="something else"):
            shaped(reply, Named)


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_is_read_to_its_last_page(server: FaultServer, kind: str) -> None:
    async def run() -> list[Remote]:
        async with api_at(server, kind) as api:
            for _ in range(PAGE + 2):
                await handed_in(api, kind, bodies(1))
            return [remote async for remote in api.recent(0.0)]

    found = asyncio.run(run())
    assert len({remote.id for remote in found}) == PAGE + 2


@pytest.mark.parametrize("kind", KINDS)
def test_batches_made_before_are_not_asked_for(server: FaultServer, kind: str) -> None:
    async def run() -> list[Remote]:
        async with api_at(server, kind) as api:
            await handed_in(api, kind, bodies(1))
            return [remote async for remote in api.recent(4e9)]

    assert asyncio.run(run()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_read_line_by_line(server: FaultServer, kind: str) -> None:
    async def run() -> list[Answer]:
        async with api_at(server, kind) as api:
            remote = await ended(api, await handed_in(api, kind, bodies(3)))
            return [answer async for answer in api.results(remote)]

    assert sorted(answer.name for answer in asyncio.run(run())) == [
        f"hg-token-{number}" for number in range(3)
    ]
