"""A gateway of two worker processes, which can be asked one by one: the other stands still then."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gates import Address, Got
from programs import Running, children, until

CHAT = "/v1/chat/completions"


def body(text: str = "q") -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


class Workers:
    """A gateway of two workers, which can be asked one by one."""

    def __init__(self, gateway: Running) -> None:
        self.gateway = gateway
        self.address: Address = gateway.served()
        until(lambda: len(self.pids) == 2)
        for pid in self.pids:
            with self.only(pid) as address:
                assert address.get("/readyz").status == 200

    @property
    def pids(self) -> list[int]:
        """The processes that serve: not Python's own that tracks their semaphores."""
        return [pid for pid in children(self.gateway.process.pid) if is_worker(pid)]

    @contextmanager
    def only(self, pid: int) -> Iterator[Address]:
        """The gateway while all workers but `pid` are stopped; short, their parent expects them to
        answer within seconds."""
        others = [other for other in self.pids if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            yield self.address
        finally:
            for other in others:
                # A test may have killed it meanwhile.
                with suppress(ProcessLookupError):
                    os.kill(other, signal.SIGCONT)

    def ask(self, pid: int, text: str = "q") -> Got:
        with self.only(pid) as address:
            return address.post(CHAT, body(text))

    def written(self, pid: int) -> int:
        """How many answers are on disk, those of `pid` surely: the list waits for its writes."""
        with self.only(pid) as address:
            return len(address.get("/api/admin/cache").json["entries"])


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
