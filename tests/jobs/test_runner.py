"""A job from its claim to its end: whose it is, who may end it, and what is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from jobbing import asked, chat, config_at, eventually, line, shop

from headgate.core.client import Client
from headgate.errors import BadRequest, StoreError
from headgate.jobs.base import Fenced
from headgate.jobs.runner import Runner, RunnerSettings
from headgate.testing import FakeClock, FaultServer, Pause


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def lines(count: int) -> Iterator[bytes]:
    return (line(f"r{number}", chat(number)) for number in range(count))


def test_a_job_that_somebody_else_has_or_that_has_ended_is_left_alone(
    server: FaultServer, tmp_path: Path
) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            job = open_shop.job(lines(2))
            theirs = open_shop.store.claim(job.id, "somebody else", 60.0)
            assert theirs is not None
            assert await open_shop.runner.run(job.id) is None
            assert server.calls == []
            open_shop.store.release(theirs)
            done = await open_shop.runner.run(job.id)
            assert done is not None
            assert done.state == "completed"
            assert await open_shop.runner.run(job.id) is None
            assert await open_shop.runner.run("job_unknown") is None

    asyncio.run(run())
    assert len(server.calls) == 2


def test_two_runners_of_one_store_ask_every_line_once(server: FaultServer, tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            other = Runner(open_shop.runtime, open_shop.store, open_shop.clock, RunnerSettings())
            job = open_shop.job(lines(50))
            done = await asyncio.gather(open_shop.runner.run(job.id), other.run(job.id))
            assert [one is None for one in done].count(True) == 1
            other.close()

    asyncio.run(run())
    assert set(asked(server).values()) == {1}


def test_the_lease_is_kept_for_as_long_as_the_work_takes(
    server: FaultServer, tmp_path: Path
) -> None:
    held, clock = Pause(), FakeClock()
    server.script(held, times=None)

    def lease_until_s() -> float:
        # By the library of the store: locks of two in one process would undo one another.
        reading = apsw.Connection(str(tmp_path / "jobs.db"))
        found: Any = reading.execute("SELECT lease_until_s FROM job").get
        reading.close()
        return float(found)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock) as open_shop:
            job = open_shop.job(lines(1))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 1)
            for _ in range(3):
                before_s = lease_until_s()
                clock.advance(6.0)
                await eventually(lambda was_s=before_s: lease_until_s() > was_s, "a heartbeat")
            assert open_shop.store.claim(job.id, "somebody else", 60.0) is None
            held.release()
            done = await working
            assert done is not None
            assert lease_until_s() == 0

    asyncio.run(run())


def test_a_job_that_was_taken_over_is_let_go_of(server: FaultServer, tmp_path: Path) -> None:
    held, clock = Pause(), FakeClock()
    server.script(held, times=None)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock) as open_shop:
            job = open_shop.job(lines(3))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 3)
            # As if this process had been stopped for a minute.
            clock.advance(60.0)
            theirs = open_shop.store.claim(job.id, "somebody else", 60.0)
            assert theirs is not None
            with pytest.raises(Fenced):
                await working
            held.release()
            # Nothing of it was written, and the other one may go on.
            assert open_shop.store.job(job.id, None).counts == {"submitted": 3}  # type: ignore[union-attr]
            open_shop.store.renew(theirs, 60.0)

    asyncio.run(run())


def test_a_cancelled_job_asks_no_more_and_waits_a_while_for_what_is_under_way(
    server: FaultServer, tmp_path: Path
) -> None:
    held = Pause()
    server.script(held, times=None)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), grace_s=0.1) as open_shop:
            job = open_shop.job(lines(150))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 4)
            assert open_shop.store.ask_cancel(job.id, "") is not None
            done = await working
            assert done is not None
            assert (done.state, done.counts) == ("cancelled", {"cancelled": 150})
            assert {one.error_code for one in open_shop.ended(done).values()} == {"batch_cancelled"}

    asyncio.run(run())
    assert len(server.calls) == 4
    held.release()


def test_a_job_that_was_cancelled_while_nobody_worked_on_it_asks_nobody(
    server: FaultServer, tmp_path: Path
) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            job = open_shop.job(lines(3))
            open_shop.store.ask_cancel(job.id, "")
            done = await open_shop.runner.run(job.id)
            assert done is not None
            assert (done.state, done.counts) == ("cancelled", {"cancelled": 3})

    asyncio.run(run())
    assert server.calls == []


def test_a_stopped_runner_takes_no_job_to_its_end(server: FaultServer, tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            open_shop.runner.stop()
            job = open_shop.job(lines(300))
            left = await open_shop.runner.run(job.id)
            assert left is not None
            assert left.ended_s is None
            assert left.counts["queued"] > 0

    asyncio.run(run())


def test_a_key_that_has_ended_ends_the_job_of_its_holder(
    server: FaultServer, tmp_path: Path
) -> None:
    def refuse(name: str) -> Client:
        raise BadRequest(f"key {name} was revoked", status=401, code="key_revoked")

    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            runner = Runner(
                open_shop.runtime, open_shop.store, open_shop.clock, RunnerSettings(), refuse
            )
            job = open_shop.job(lines(3), client="k1")
            done = await runner.run(job.id)
            assert done is not None
            assert (done.state, done.counts) == ("completed", {"failed": 3})
            why = open_shop.ended(done)["r0"]
            assert (why.error_code, why.error_message) == ("key_revoked", "key k1 was revoked")
            runner.close()

    asyncio.run(run())
    assert server.calls == []


def test_the_deadline_of_a_job_that_nobody_worked_on_has_passed(
    server: FaultServer, tmp_path: Path
) -> None:
    clock = FakeClock()

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock) as open_shop:
            job = open_shop.job(lines(1200), deadline_s=60.0)
            clock.advance(61.0)
            done = await open_shop.runner.run(job.id)
            assert done is not None
            assert (done.state, done.counts) == ("expired", {"expired": 1200})

    asyncio.run(run())
    assert server.calls == []


def test_a_job_whose_input_was_deleted_ends(server: FaultServer, tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            job = open_shop.job(lines(3))
            with apsw.Connection(str(tmp_path / "jobs.db")) as connection:
                connection.execute("DELETE FROM file")
            connection.close()
            done = await open_shop.runner.run(job.id)
            assert done is not None
            assert (done.state, done.counts) == ("completed", {"failed": 3})
            assert open_shop.ended(job)["r0"].error_code == "input_deleted"

    asyncio.run(run())
    assert server.calls == []


def test_a_job_whose_input_cannot_be_read_ends_at_its_deadline(
    server: FaultServer, tmp_path: Path
) -> None:
    clock = FakeClock()

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock) as open_shop:
            job = open_shop.job(lines(3), deadline_s=60.0)
            for path in (tmp_path / "jobs.db-files").iterdir():
                path.unlink()
            with pytest.raises(StoreError):
                await open_shop.runner.run(job.id)
            clock.advance(61.0)
            done = await open_shop.runner.run(job.id)
            assert done is not None
            assert (done.state, done.counts) == ("expired", {"expired": 3})

    asyncio.run(run())
    assert server.calls == []


def test_a_job_whose_input_cannot_be_read_is_cancelled_all_the_same(
    server: FaultServer, tmp_path: Path
) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            job = open_shop.job(lines(3))
            for path in (tmp_path / "jobs.db-files").iterdir():
                path.unlink()
            open_shop.store.ask_cancel(job.id, None)
            done = await open_shop.runner.run(job.id)
            assert done is not None
            assert (done.state, done.counts) == ("cancelled", {"cancelled": 3})

    asyncio.run(run())
