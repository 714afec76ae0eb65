"""Jobs for tests: a store in a folder, lines of chat, and a runner over a fault server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from gates import ONE_ATTEMPT, providers_at

from headgate.clock import Clock, SystemClock
from headgate.config import Config, PriceConfig
from headgate.jobs.ids import job_id
from headgate.jobs.live import LiveSettings
from headgate.jobs.model import LIVE, Job, JobOptions, Line, Settled
from headgate.jobs.runner import Runner, RunnerSettings
from headgate.runtime import Runtime
from headgate.stores.jobs import JobsFile
from headgate.testing import FaultServer

CHAT = "/v1/chat/completions"
PRICES = {"openai/m": PriceConfig(input=1.0, output=2.0)}
"""Dollars per million tokens."""


def chat(about: object, **more: Any) -> dict[str, Any]:
    """The body of a question that only this test asks."""
    return {"model": "m", "messages": [{"role": "user", "content": f"What of {about}?"}], **more}


def line(custom_id: str, body: Mapping[str, Any], url: str = CHAT) -> bytes:
    asked = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return json.dumps(asked).encode()


def config_at(server: FaultServer, **more: Any) -> Config:
    return Config(providers=providers_at(server, "sk-ours"), prices=PRICES, **ONE_ATTEMPT, **more)


def job_of(
    store: JobsFile, lines: Iterable[bytes], clock: Clock, deadline_s: float = 86_400.0,
    **more: Any,
) -> Job:  # fmt: skip
    """A job in `store` with these lines, as they are; the first ones of equal bodies lead."""
    content = list(lines)
    file = store.add_file("", "batch", "in.jsonl", (text + b"\n" for text in content))
    items, offset = [], 0
    for number, text in enumerate(content, 1):
        asked = json.loads(text)
        body = json.dumps(asked["body"], sort_keys=True).encode()
        digest = sha256(body).digest()
        items.append(Line(asked["custom_id"], number, "m", digest, offset, len(text)))
        offset += len(text) + 1
    now_s, options = clock.wall(), JobOptions(**{"lane": LIVE, **more})
    endpoint = json.loads(content[0])["url"]
    job = Job(job_id(), "", endpoint, file.id, now_s, now_s + deadline_s, options=options)
    store.create(job, items)
    return job


class Shop:
    """A store, a runtime and the runner over both."""

    def __init__(self, store: JobsFile, runtime: Runtime, runner: Runner, clock: Clock) -> None:
        self.store, self.runtime, self.runner, self.clock = store, runtime, runner, clock

    def job(self, lines: Iterable[bytes], **more: Any) -> Job:
        return job_of(self.store, lines, self.clock, **more)

    async def run(self, lines: Iterable[bytes], **more: Any) -> Job:
        """A job that is worked on until the runner returns."""
        done = await self.runner.run(self.job(lines, **more).id)
        assert done is not None
        return done

    def ended(self, job: Job) -> dict[str, Settled]:
        """How each line ended."""
        return {row.settled.custom_id: row.settled for row in self.store.results(job.id)}


@asynccontextmanager
async def shop(
    folder: Path, config: Config, clock: Clock | None = None, concurrency: int = 4,
    runtime: Runtime | None = None, **settings: Any,
) -> AsyncIterator[Shop]:  # fmt: skip
    """Open in the running loop, which is the home of its runtime."""
    clock = clock or SystemClock()
    store = JobsFile(folder / "jobs.db", clock)
    used = runtime or Runtime(config)
    used.adopt(asyncio.get_running_loop())
    runner = Runner(used, store, clock, RunnerSettings(LiveSettings(concurrency), **settings))
    try:
        yield Shop(store, used, runner, clock)
    finally:
        runner.close()
        store.close()
        await used.aclose()


def asked(server: FaultServer) -> Counter[str]:
    """How often each question came to the provider."""
    return Counter(call.body["messages"][0]["content"] for call in server.calls)


async def eventually(condition: Any, what: str, patience_s: float = 20.0) -> None:
    """Waits until it holds, without stopping the loop."""
    for _ in range(int(patience_s / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not in {patience_s:g} s: {what}")
