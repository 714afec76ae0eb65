"""A process that works on jobs until it is told to end, is stopped, or killed. Not a test: the
tests of the store of jobs start it. Prints one line for each thing that is done.

    jobs_process.py hold PATH JOB OWNER LEASE_S   claims the job; settles each id read from stdin
    jobs_process.py settle PATH JOB COUNT         settles COUNT lines, seven at a time
    jobs_process.py create PATH COUNT             makes a job of so many lines; prints what it took
    jobs_process.py full PATH BYTES_MAX           lets no file grow beyond so many bytes, then
                                                  settles a job and adds a file
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from stores.jobfiles import a_line, answered, leased, lines, made

from headgate.clock import SystemClock
from headgate.errors import StoreError
from headgate.jobs.base import Fenced
from headgate.stores.jobs import JobsFile

CLOCK = SystemClock()


def hold(path: str, job: str, owner: str, lease_s: str) -> None:
    with JobsFile(Path(path), CLOCK) as store:
        lease = store.claim(job, owner, float(lease_s))
        assert lease is not None
        print(lease.fence, flush=True)
        for custom_id in sys.stdin.read().split():
            try:
                print(store.settle(lease, [answered(custom_id, target=owner)]), flush=True)
            except Fenced:
                print("fenced", flush=True)


def settle(path: str, job: str, count: str) -> None:
    with JobsFile(Path(path), CLOCK) as store:
        lease = store.claim(job, "worker", 60.0)
        assert lease is not None
        for first in range(1, int(count), 7):
            some = [f"line-{number}" for number in range(first, min(first + 7, int(count) + 1))]
            store.settle(lease, [answered(name) for name in some])
            print(*some, flush=True)


def create(path: str, count: str) -> None:
    with JobsFile(Path(path), CLOCK) as store:
        started_s = time.process_time()
        made(store, (a_line(number) for number in range(1, int(count) + 1)))
        took_s = time.process_time() - started_s
    # Not getrusage: it remembers how large the process was that started this one.
    status = Path("/proc/self/status").read_text("ascii")
    rss_mb = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    print(json.dumps({"cpu_s": took_s, "rss_mb": rss_mb}))


def full(path: str, bytes_max: str) -> None:
    errors: dict[str, str] = {}
    with JobsFile(Path(path), CLOCK) as store:
        job, lease = leased(store, lines(2000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(bytes_max), int(bytes_max)))
        done = 0
        for number in range(1, 2001):
            try:
                body = b"%d" % number * 3000
                done += store.settle(lease, [answered(f"line-{number}", body=body)])
            except StoreError as error:
                errors["settle"] = error.message
                break
        try:
            store.add_file("acme", "batch", "in", [b"x" * 1_000_000] * 100)
        except StoreError as error:
            errors["file"] = error.message
        found = store.job(job.id, None)
        assert found is not None
        results = sum(1 for _ in store.results(job.id))
    print(json.dumps({"done": done, "counts": found.counts, "results": results, "said": errors}))


if __name__ == "__main__":
    programs = {"hold": hold, "settle": settle, "create": create, "full": full}
    programs[sys.argv[1]](*sys.argv[2:])
