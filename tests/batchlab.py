"""Jobs at the batch APIs of a fault server: a store in a folder, a runtime, the lane, and the
oracle over what the server charges.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from headgate.clock import Clock, SystemClock
from headgate.config import BatchApiConfig, Config, PriceConfig, ProviderConfig
from headgate.core.backoff import BackoffSettings
from headgate.jobs.apis.asking import Patience
from headgate.jobs.disk import Disk
from headgate.jobs.failpoints import VARIABLE
from headgate.jobs.ids import job_id
from headgate.jobs.model import Job, JobOptions, Line, Settled, Shard
from headgate.jobs.shards import BatchLane, LaneSettings
from headgate.runtime import Runtime
from headgate.stores.jobs import JobsFile
from headgate.testing import BatchCharge, FaultServer
from headgate.types import Secret

ENDPOINTS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
KEY = "sk-batch-canary"
INPUT_NANOS, OUTPUT_NANOS = 2000, 8000
"""What a token costs outside of a batch."""
PATIENCE = Patience(6, 6, BackoffSettings(backoff_base_s=0.001, backoff_max_s=0.01))
SETTINGS = LaneSettings(patience=PATIENCE)
PROCESS = Path(__file__).parent / "jobs" / "batch_process.py"
OWNER = "worker"
KINDS = ("openai", "anthropic")
COUNT = 12
"""Lines of a job: two batches."""


def config_at(server: FaultServer, kind: str = "openai", **limits: Any) -> Config:
    """One provider, named as its row in the table."""
    url = server.base_url if kind == "openai" else server.anthropic_base_url
    return config_of(url, kind, **limits)


def config_of(url: str, kind: str, **limits: Any) -> Config:
    return Config(
        providers={kind: ProviderConfig(kind=kind, base_url=url, api_key=Secret(KEY))},  # type: ignore[arg-type]
        prices={"m": PriceConfig(Decimal(2), Decimal(8), batch=Decimal("0.5"))},
        batch_api={
            kind: BatchApiConfig(**{"api": kind, "poll": 0.002, "shard_requests_max": 10, **limits})
        },
    )


def body(about: object, **more: Any) -> dict[str, Any]:
    """A question that Anthropic understands, too."""
    messages = [{"role": "user", "content": f"What of {about}?"}]
    return {"model": "m", "messages": messages, "max_tokens": 300, **more}


def made(
    store: JobsFile, bodies: Iterable[dict[str, Any]], kind: str = "openai",
    now_s: float | None = None, **options: Any,
) -> Job:  # fmt: skip
    """A job with a line for each body; their ids are such as providers do not take."""
    items, content, offset = [], [], 0
    for number, asked in enumerate(bodies, 1):
        fields = {"custom_id": f"line {number} ä", "method": "POST", "url": ENDPOINTS[kind]}
        text = json.dumps({**fields, "body": asked}).encode()
        digest = sha256(json.dumps(asked).encode()).digest()
        name, model = fields["custom_id"], asked["model"]
        items.append(Line(name, number, model, digest, offset, len(text), len(text) // 4))
        content.append(text + b"\n")
        offset += len(text) + 1
    file = store.add_file("", "batch", "in.jsonl", content)
    now_s = SystemClock().wall() if now_s is None else now_s
    job = Job(job_id(), "", ENDPOINTS[kind], file.id, now_s, now_s + 86_400.0,
              options=JobOptions(**options))  # fmt: skip
    store.create(job, items)
    return job


class Bench:
    """A store, a runtime and the lane over both. Lives in one event loop."""

    def __init__(self, store: JobsFile, runtime: Runtime, lane: BatchLane) -> None:
        self.store, self.runtime, self.lane = store, runtime, lane

    async def run(self, job: Job, *, is_cancelling: bool = False) -> Job:
        """The job as it is when the lane has done what it can."""
        lease = self.store.claim(job.id, OWNER, 60.0)
        assert lease is not None
        work = self.lane.cancel if is_cancelling else self.lane.run
        await work(lease, self.job(job))
        return self.job(job)

    def job(self, job: Job) -> Job:
        found = self.store.job(job.id, None)
        assert found is not None
        return found

    def ended(self, job: Job) -> dict[str, Settled]:
        """How items have ended, by their ids."""
        rows = list(self.store.results(job.id))
        ended = {row.settled.custom_id: row.settled for row in rows}
        assert len(ended) == len(rows), "one row for each item"
        return ended

    def shards(self, job: Job) -> list[Shard]:
        return self.store.shards(job.id)


@asynccontextmanager
async def bench(
    folder: Path, config: Config, settings: LaneSettings = SETTINGS,
    lane_clock: Clock | None = None,
) -> AsyncIterator[Bench]:  # fmt: skip
    """Open in the running loop, which is the home of its runtime. Leases go by real time."""
    clock = lane_clock or SystemClock()
    runtime = Runtime(config)
    runtime.portal.adopt(asyncio.get_running_loop())
    store = JobsFile(folder / "jobs.db", SystemClock())
    disk = Disk(store)
    try:
        yield Bench(store, runtime, BatchLane(runtime, disk, clock, settings))
    finally:
        disk.close()
        store.close()
        await runtime.aclose()


def line_of(name: str) -> int:
    """Of an item, by its name at the provider."""
    return int(name.rpartition("-")[2])


def charged(server: FaultServer) -> dict[str, list[BatchCharge]]:
    """What the provider charges for each item, by our ids."""
    found: dict[str, list[BatchCharge]] = {}
    for charge in server.batch_charges():
        found.setdefault(f"line {line_of(charge.custom_id)} ä", []).append(charge)
    return found


def judge(server: FaultServer, desk: Bench, job: Job) -> None:
    """The oracle: whatever happened, each item has one end, our ledger is the provider's bill, and
    what was done twice, or may have been, is said to be at risk."""
    ended, bill = desk.ended(job), charged(server)
    assert len(ended) == job.total, "every item has ended"
    for name, settled in ended.items():
        charges = bill.pop(name, [])
        paid = settled.usage
        if settled.state != "succeeded":
            assert (settled.cost_nanos, settled.at_risk_nanos, charges) == (0, 0, []), name
            continue
        tokens = (paid.tokens_in, paid.tokens_out)
        assert tokens in [(one.tokens_in, one.tokens_out) for one in charges], name
        whole = paid.tokens_in * INPUT_NANOS + paid.tokens_out * OUTPUT_NANOS
        assert (settled.cost_nanos, settled.saved_batch_nanos) == (whole // 2, whole // 2), name
        twice = (len(charges) - 1) * (settled.cost_nanos or 0)
        assert settled.at_risk_nanos >= twice, f"{name} was charged {len(charges)} times"
    assert bill == {}, "nothing was charged that nobody knows of"
    assert job.cost_nanos == sum(settled.cost_nanos or 0 for settled in ended.values())
    assert job.at_risk_nanos == sum(settled.at_risk_nanos for settled in ended.values())


def operations(server: FaultServer) -> Counter[str]:
    """How often each was asked of the provider."""
    return Counter(call.operation for call in server.calls)


def killed(folder: Path, server: FaultServer, kind: str, job: Job, point: str, *more: str) -> None:
    """Works on the job in a process that is killed when it reaches `point`."""
    url = server.base_url if kind == "openai" else server.anthropic_base_url
    command = [sys.executable, str(PROCESS), str(folder), url, kind, job.id, *more]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, VARIABLE: point, "PYTHONPATH": paths}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -9, (point, ended.returncode, ended.stderr[-2000:])


def worked_off(
    server: FaultServer, folder: Path, kind: str, count: int = COUNT, **limits: Any
) -> tuple[Job, dict[str, Any]]:
    """A job of so many lines that the lane has worked off to its end, judged by the oracle."""

    async def run() -> tuple[Job, dict[str, Any]]:
        async with bench(folder, config_at(server, kind, **limits)) as desk:
            job = await desk.run(made(desk.store, map(body, range(count)), kind))
            judge(server, desk, job)
            return job, desk.ended(job)

    return asyncio.run(run())


def left(server: FaultServer, folder: Path, kind: str, count: int = COUNT, **more: Any) -> Job:
    """A job of which the lane leaves something queued."""

    async def run() -> Job:
        async with bench(folder, config_at(server, kind, **more)) as desk:
            return await desk.run(made(desk.store, map(body, range(count)), kind))

    return asyncio.run(run())
