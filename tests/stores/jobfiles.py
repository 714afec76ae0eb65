"""Jobs, lines and results for the tests of the store of jobs, and the store itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw

from headgate.jobs.base import JobStore
from headgate.jobs.ids import job_id, shard_id, submit_token
from headgate.jobs.model import Intent, Job, JobOptions, Lease, Line, Settled
from headgate.jobs.states import SUCCEEDED

PROCESS = Path(__file__).with_name("jobs_process.py")
CHAT = "/v1/chat/completions"
LEASE_S = 30.0


def a_line(number: int, question: int | None = None, **more: Any) -> Line:
    """Line `number`; lines with the same `question` (default: its own) are equal."""
    digest = hashlib.sha256(b"%d" % (number if question is None else question)).digest()
    values = {"model": "gpt-4o", "tokens_estimated": 10, **more}
    return Line(f"line-{number}", number, values["model"], digest, (number - 1) * 100, 99,
                values["tokens_estimated"])  # fmt: skip


def lines(count: int) -> list[Line]:
    return [a_line(number) for number in range(1, count + 1)]


def a_job(tenant: str = "acme", **more: Any) -> Job:
    options = JobOptions(dialect=more.pop("dialect", "openai"))
    return Job(job_id(), tenant, CHAT, more.pop("input_file_id", "file_0"), 1000.0, 87_400.0,
               options=options, **more)  # fmt: skip


def made(store: JobStore, items: Iterable[Line], **more: Any) -> Job:
    job = a_job(**more)
    store.create(job, items)
    return job


def leased(store: JobStore, items: Iterable[Line], **more: Any) -> tuple[Job, Lease]:
    job = made(store, items, **more)
    lease = store.claim(job.id, "worker", LEASE_S)
    assert lease is not None
    return job, lease


def an_intent(job: Job, **more: Any) -> Intent:
    return Intent(shard_id(), job.id, "openai", more.get("token") or submit_token(), "gpt-4o")


def answered(custom_id: str, state: str = SUCCEEDED, **more: Any) -> Settled:
    body = json.dumps({"to": custom_id}).encode()
    return Settled(custom_id, state, **{"status_code": 200, "body": body, "cost_nanos": 7, **more})


def counts(store: JobStore, job: Job) -> dict[str, int]:
    found = store.job(job.id, None)
    assert found is not None
    return found.counts


def counted(path: Path, job: Job) -> dict[str, int]:
    """What the rows of items say, whatever the tally does."""
    return dict(look(
        path, "SELECT i.state, count(*) FROM item i JOIN job j ON j.number = i.job"
        " WHERE j.id = ? GROUP BY 1", job.id,
    ))  # fmt: skip


def look(path: Path, sql: str, *values: object) -> list[Any]:
    """What another connection reads; or does."""
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def started(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
        [str(PROCESS.parents[1]), os.environ.get("PYTHONPATH", "")]
    )}  # fmt: skip
    command = [sys.executable, str(PROCESS), *map(str, arguments)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)
