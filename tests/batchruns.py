"""`headgate batch` as a process of its own, in front of a fault server of this one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jobbing import chat, line
from programs import PROGRAM, Told, environment, forget_settings, until

from headgate.clock import SystemClock
from headgate.jobs.model import Job, Shard
from headgate.stores.jobs import JobsFile
from headgate.testing import FaultServer

IN_NANOS, OUT_NANOS = 1000, 2000
"""A token's price by the configuration below: dollars per million."""
CONFIG = """
[providers.openai]
base_url = "{url}"
api_key = "sk-ours"
[prices."openai/m"]
input = 1.0
output = 2.0
[retry]
attempts = 1
[breaker]
enabled = false
[batch.jobs]
concurrency = 4
lane = "live"
{more}
"""
_JOB = re.compile(r"job_[0-9a-f]{32}")


class Bench:
    """A folder with a configuration, an input, and what comes of it."""

    def __init__(self, folder: Path, server: FaultServer, more: str = "") -> None:
        self.folder, self.server = folder, server
        (folder / "headgate.toml").write_text(CONFIG.format(url=server.base_url, more=more))
        self.file, self.out = folder / "in.jsonl", folder / "out.jsonl"
        self.database = folder / "headgate-jobs.db"
        self._begun: list[Begun] = []

    def write(self, lines: Iterable[bytes]) -> None:
        """The input."""
        self.file.write_bytes(b"".join(text + b"\n" for text in lines))

    def ask(self, count: int) -> None:
        """An input of different questions, `r0`, `r1`, ..."""
        self.write(line(f"r{number}", chat(number)) for number in range(count))

    def run(self, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.call("run", str(self.file), "--out", str(self.out), *more, **variables)

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            self.words(*words), capture_output=True, text=True, cwd=self.folder, timeout=120,
            env=environment(**variables),
        )  # fmt: skip

    def words(self, *words: str) -> list[str]:
        return [PROGRAM, "batch", *words, "--config", "headgate.toml"]

    def begin(self, *words: str, log: str = "begun") -> Begun:
        """One command that goes on; `log` names the files of its output."""
        self._begun.append(Begun(self, words, log))
        return self._begun[-1]

    def close(self) -> None:
        """Kills what is left."""
        for begun in self._begun:
            begun.kill()

    def jobs(self) -> list[Job]:
        """All jobs, looked up in this process."""
        if not self.database.exists():
            return []
        with JobsFile(self.database, SystemClock()) as store:
            return store.jobs("")

    def job(self) -> Job:
        """The only one."""
        (job,) = self.jobs()
        return job

    def shards(self) -> list[Shard]:
        """Of the only job, if it is there."""
        if not self.jobs():
            return []
        with JobsFile(self.database, SystemClock()) as store:
            return store.shards(self.job().id)

    def rows(self) -> list[dict[str, Any]]:
        """The output."""
        return [json.loads(text) for text in self.out.read_text().splitlines()]

    def billed_nanos(self) -> int:
        """What the provider would bill for everything that it was asked."""
        bill = self.server.bill()
        return bill.tokens_in * IN_NANOS + bill.tokens_out * OUT_NANOS

    def asked(self) -> Counter[str]:
        """How often each question came to the provider."""
        return Counter(call.body["messages"][0]["content"] for call in self.server.calls)

    def is_complete(self, count: int) -> None:
        """Every line stands in the output once, in its place, with its own answer."""
        rows = self.rows()
        assert [row["custom_id"] for row in rows] == [f"r{number}" for number in range(count)]
        assert {row["response"]["status_code"] for row in rows} == {200}
        assert len({row["id"] for row in rows}) == count
        assert set(self.asked()) == {f"What of {number}?" for number in range(count)}


@contextmanager
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> Iterator[Bench]:
    """A bench in `folder`, which is where this process is, too; HEADGATE_CONFIG names its file."""
    forget_settings(monkeypatch)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEADGATE_CONFIG", "headgate.toml")
    with FaultServer() as server:
        bench = Bench(folder, server, more)
        yield bench
        bench.close()


def batch(capsys: pytest.CaptureFixture[str], *words: str) -> Told:
    """`headgate batch` in this process."""
    return Told(capsys, "batch", *words)


def run(capsys: pytest.CaptureFixture[str], *more: str) -> Told:
    """`headgate batch run` of the bench's input, in this process."""
    return batch(capsys, "run", "in.jsonl", "--out", "out.jsonl", *more)


class Begun:
    """A command that goes on; its output is in files, so that no pipe can fill up."""

    def __init__(self, bench: Bench, words: Sequence[str], log: str) -> None:
        self._out, self._err = bench.folder / f"{log}.out", bench.folder / f"{log}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                bench.words(*words), stdout=out, stderr=err, cwd=bench.folder, env=environment(),
                start_new_session=True,
            )  # fmt: skip

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8", "replace")

    def job_id(self) -> str:
        """Of the job, once it is told."""
        until(lambda: _JOB.search(self.err) or self.process.poll() is not None)
        found = _JOB.search(self.err)
        assert found, self.err
        return found[0]

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self, patience_s: float = 60.0) -> int:
        """The exit status; waits for it."""
        try:
            return self.process.wait(patience_s)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
