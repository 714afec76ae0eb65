"""The batch API of a provider, with our key and the headers of the job's maker."""

from __future__ import annotations

import asyncio

import pytest
from jobs.apis.places import answers, api_at, bodies, ended, handed_in

from headgate.testing import FaultServer, alias_of


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_batch_is_made_with_our_key_and_brings_its_answers(
    server: FaultServer, kind: str
) -> None:
    async def run() -> list[str]:
        async with api_at(server, kind, ((b"x-team", b"blue"),)) as api:
            remote = await handed_in(api, kind, bodies(3))
            assert (remote.state, remote.created_s > 1e9) == ("running", True)
            return [answer.name for answer in await answers(api, await ended(api, remote))]

    assert asyncio.run(run()) == ["hg-token-0", "hg-token-1", "hg-token-2"]
    for call in server.calls:
        assert call.credential == alias_of("sk-batch-canary")
        assert call.headers["x-team"] == "blue"
        version = call.headers.get("anthropic-version")
        assert version == ("2023-06-01" if kind == "anthropic" else None)


def test_a_version_that_the_maker_named_is_kept(server: FaultServer) -> None:
    async def run() -> None:
        said = ((b"anthropic-version", b"2024-01-01"),)
        async with api_at(server, "anthropic", said) as api:
            await handed_in(api, "anthropic", bodies(1))

    asyncio.run(run())
    assert server.calls[0].headers["anthropic-version"] == "2024-01-01"
