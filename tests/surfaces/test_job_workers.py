"""Which jobs a gateway works on: its clients', some at a time, none that cannot be worked on again
and again; and how it lets go of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from batchgates import CHAT, batch_config, key, lines, upload
from gates import Gate
from oracle import until

from headgate.clients import Clients
from headgate.clock import SystemClock
from headgate.config import Config, KeysConfig, ModelConfig, ProviderConfig
from headgate.jobs.ids import job_id
from headgate.jobs.lines import check
from headgate.jobs.model import Job, Waiting
from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.runtime import Runtime
from headgate.surfaces.job_desk import Desk
from headgate.surfaces.job_workers import AT_ONCE, AT_ONCE_OF_TENANT, JobWorkers, turns
from headgate.testing import FaultServer, Pause
from headgate.types import Policy, Secret

TENANT = "credential:" + "0" * 64


class Serving:
    """What a gateway tells its workers."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.running = 0


class Place:
    """A desk, the workers at it, and a runtime that they ask."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        provider = ProviderConfig(kind="openai", base_url=server.base_url, api_key=Secret("k"))
        config = Config(
            providers={"openai": provider}, keys=KeysConfig(path=str(folder / "keys.db")),
            retry=RetryConfig(attempts=1), breaker=BreakerConfig(enabled=False),
        )  # fmt: skip
        self.serving = Serving(Runtime(config))
        self.serving.runtime.adopt(asyncio.get_running_loop())
        self.desk = Desk(folder / "jobs.db", SystemClock())
        self.clients = Clients(config.keys, SystemClock())
        self.workers = JobWorkers(self.desk, self.clients)
        self.workers.serve(self.serving)

    async def job(self, tenant: str = TENANT, count: int = 1) -> str:
        """A job that is to be worked on."""
        store = self.desk.opened()
        file = store.add_file(tenant, "batch", "in.jsonl", [lines(count)])
        with store.open_file(file) as opened:
            checked = check(opened, lambda model, endpoint: Policy(), endpoint=CHAT)
        name = job_id()
        store.create(Job(name, tenant, CHAT, file.id, 1.0, 4e9), checked.lines)
        self.desk.wake()
        return name

    def state(self, name: str) -> str:
        job = self.desk.opened().job(name, None)
        assert job is not None
        return job.state

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)


def run(folder: Path, work: Callable[[Place, FaultServer], Awaitable[None]]) -> None:
    async def use(server: FaultServer) -> None:
        place = Place(folder, server)
        try:
            await work(place, server)
        finally:
            await place.workers.close()
            await asyncio.to_thread(place.desk.close)
            await place.serving.runtime.aclose()
            place.clients.close()
        assert place.serving.running == 0

    with FaultServer() as server:
        asyncio.run(use(server))


def test_a_job_is_worked_on_as_soon_as_it_is_there(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        place.workers.start()
        name = await place.job(count=3)
        await place.until(lambda: place.state(name) == "completed")
        assert len(server.calls) == 3

    run(tmp_path, use)


def test_jobs_of_the_command_line_are_left_to_it(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        theirs = await place.job(tenant="")
        mine = await place.job()
        place.workers.start()
        await place.until(lambda: place.state(mine) == "completed")
        assert place.state(theirs) == "validating"

    run(tmp_path, use)


def test_so_many_are_worked_on_at_a_time_the_oldest_first(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        pause = Pause()
        server.script(pause, times=None)
        names = [await place.job() for _ in range(AT_ONCE_OF_TENANT + 2)]
        place.workers.start()
        await place.until(lambda: place.serving.running == AT_ONCE_OF_TENANT)
        await place.until(
            lambda: all(place.state(name) == "in_progress" for name in names[:AT_ONCE_OF_TENANT])
        )
        assert [place.state(name) for name in names[AT_ONCE_OF_TENANT:]] == ["validating"] * 2
        pause.release()
        await place.until(lambda: all(place.state(name) == "completed" for name in names))

    run(tmp_path, use)


def test_no_tenant_waits_for_the_jobs_of_another(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        pause = Pause()
        server.script(pause, times=None)
        names = [await place.job() for _ in range(AT_ONCE_OF_TENANT + 2)]
        theirs = await place.job("credential:" + "1" * 64)
        place.workers.start()
        await place.until(lambda: place.state(theirs) == "in_progress")
        unwanted = names[-1]
        place.desk.opened().ask_cancel(unwanted, None)
        await place.until(lambda: place.state(unwanted) == "cancelled")
        assert place.state(names[-2]) == "validating"
        pause.release()
        await place.until(lambda: all(place.state(name) == "completed" for name in names[:-1]))

    run(tmp_path, use)


def test_whose_turn_it_is() -> None:
    def jobs(*tenants: str) -> list[Waiting]:
        return [Waiting(f"{tenant}{place}", tenant, False) for place, tenant in enumerate(tenants)]

    assert turns([], []) == []
    assert turns(jobs("a", "a", "b"), []) == ["a0", "b2", "a1"]
    assert turns(jobs("a", "b", "b"), ["a", "b", "b"]) == ["a0", "b1", "b2"]
    assert turns(jobs("a", "b"), ["a"] * AT_ONCE_OF_TENANT) == ["b1"]
    everybody = [f"t{number}" for number in range(AT_ONCE)]
    assert turns(jobs("a"), everybody) == []
    assert turns(jobs(*everybody, "a"), ["a"]) == [one.id for one in jobs(*everybody)][:-1]
    assert turns([Waiting("x", "a", True)], everybody) == ["x"]


def test_a_job_that_cannot_be_worked_on_is_left_alone_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        broken = await place.job()
        for path in (tmp_path / "jobs.db-files").iterdir():
            path.unlink()
        place.workers.start()
        await place.until(lambda: "left alone" in caplog.text)
        await place.until(lambda: place.workers.is_idle)
        mine = await place.job()
        await place.until(lambda: place.state(mine) == "completed")
        assert caplog.text.count("left alone") == 1
        assert place.state(broken) == "in_progress"

    with caplog.at_level(logging.WARNING, "headgate.jobs"):
        run(tmp_path, use)


def test_a_draining_gateway_ends_what_is_under_way_and_begins_nothing(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        pause = Pause()
        server.script(pause, times=None)
        name = await place.job(count=40)
        place.workers.start()
        await asyncio.to_thread(pause.wait_reached, 1)
        place.workers.drain()
        later = await place.job()
        pause.release()
        await place.until(lambda: place.workers.is_idle)
        assert place.state(later) == "validating"
        assert place.state(name) == "in_progress"
        store = place.desk.opened()
        job = store.job(name, None)
        assert job is not None
        assert job.counts["succeeded"] == len(server.calls) < 40
        assert name in store.claimable()

    run(tmp_path, use)


def test_another_configuration_takes_the_jobs_over(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        pause = Pause()
        server.script(pause, times=None)
        name = await place.job(count=40)
        place.workers.start()
        await asyncio.to_thread(pause.wait_reached, 1)
        successor = Serving(place.serving.runtime)
        place.workers.serve(successor)
        assert (place.serving.running, successor.running) == (1, 0)
        pause.release()
        await place.until(lambda: place.state(name) == "completed")
        assert place.serving.running == 0
        assert len(server.calls) == 40

    run(tmp_path, use)


def test_ending_gives_a_job_up_at_once(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        server.script(Pause(), times=None)
        name = await place.job()
        place.workers.start()
        await place.until(lambda: server.calls)
        place.workers.drain()
        place.workers.end()
        await place.until(lambda: place.workers.is_idle)
        assert name in place.desk.opened().claimable()

    run(tmp_path, use)


def test_a_file_that_is_broken_is_said_once_and_looked_at_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        path = tmp_path / "jobs.db"
        path.write_bytes(b"no database" * 1000)
        place.workers.start()
        await place.until(lambda: "not worked on" in caplog.text)
        path.unlink()
        name = await place.job()
        await place.until(lambda: place.state(name) == "completed")
        assert caplog.text.count("not worked on") == 1

    with caplog.at_level(logging.WARNING, "headgate.jobs"):
        run(tmp_path, use)


def test_a_line_goes_where_the_gateway_has_a_key(tmp_path: Path) -> None:
    """Of two targets the first lives on its clients' keys, which are not kept with a job."""
    with FaultServer() as forwards, FaultServer() as owns:
        providers = {
            "forwards": ProviderConfig(kind="openai", base_url=forwards.base_url),
            "owns": ProviderConfig(kind="openai", base_url=owns.base_url, api_key=Secret("k")),
        }
        models = {"m": ModelConfig(targets=("forwards/m", "owns/m"))}
        config = batch_config(tmp_path, providers=providers, models=models)
        gate = Gate(config)
        try:
            file = upload(gate, lines(2), key("me")).json["id"]
            wanted = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
            batch = gate.post("/v1/batches", wanted, key("me")).json["id"]
            until(
                lambda: gate.get(f"/v1/batches/{batch}", key("me")).json["output_file_id"],
                "it is done",
            )
        finally:
            gate.close()
        assert (len(forwards.calls), len(owns.calls)) == (0, 2)


@contextmanager
def apsw_at(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        yield connection
    finally:
        connection.close()


def test_what_was_kept_long_enough_goes(tmp_path: Path) -> None:
    async def use(place: Place, server: FaultServer) -> None:
        store = place.desk.opened()
        old = store.add_file(TENANT, "batch", "a", [b"a"])
        with apsw_at(tmp_path / "jobs.db") as connection:
            connection.execute("UPDATE file SET created_s = created_s - 31 * 86400")
        young = store.add_file(TENANT, "batch", "a", [b"a"])
        place.workers.start()
        await place.until(lambda: store.file(old.id, None) is None)
        assert store.file(young.id, None) == young

    run(tmp_path, use)
