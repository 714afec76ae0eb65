"""A batch API at a fault server, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from batchlab import PATIENCE, config_at

from headgate.clock import SystemClock
from headgate.jobs.apis.asking import Patience
from headgate.jobs.apis.base import Answer, Asked, BatchApi, Handed, Remote
from headgate.jobs.apis.opening import open_api
from headgate.jobs.apis.spool import Spooled
from headgate.testing import FaultServer
from headgate.types import Headers

ENDPOINTS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
HANDED = {kind: Handed("hg-token", endpoint, 86_400.0) for kind, endpoint in ENDPOINTS.items()}


@asynccontextmanager
async def api_at(
    server: FaultServer, kind: str = "openai", said: Headers = (), patience: Patience = PATIENCE
) -> AsyncIterator[BatchApi]:
    provider = config_at(server, kind).providers[kind]
    api = open_api(provider, kind, SystemClock(), said, patience)
    try:
        yield api
    finally:
        await api.aclose()


def bodies(count: int) -> list[Asked]:
    text = b'{"model": "m", "max_tokens": 99,\n "messages": [{"role": "user", "content": "%d?"}]}'
    return [Asked(f"hg-token-{number}", text % number) for number in range(count)]


async def handed_in(api: BatchApi, kind: str, items: Iterable[Asked]) -> Remote:
    """A batch of these items."""
    handed = HANDED[kind]
    with Spooled() as spooled:
        api.pack(spooled.file, handed, items)
        if api.takes_files:
            file_id = await api.upload(handed, spooled.upload)
            handed = Handed(handed.token, handed.endpoint, handed.window_s, file_id)
        return await api.create(handed, spooled.upload)


async def ended(api: BatchApi, remote: Remote) -> Remote:
    """The batch when it is under way no more."""
    for _ in range(100):
        remote = await api.retrieve(remote.id)
        if remote.state != "running":
            return remote
        await asyncio.sleep(0)
    raise AssertionError(remote)


async def answers(api: BatchApi, remote: Remote) -> list[Answer]:
    return [answer async for answer in api.results(remote)]
