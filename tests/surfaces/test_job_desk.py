"""The store of a process: made when it is needed, refused where it is broken, closed once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from headgate.clock import SystemClock
from headgate.errors import QueueFull, Refused
from headgate.surfaces.job_desk import UPLOADS_MAX, UPLOADS_OF_TENANT_MAX, Desk


def run(path: Path, work: Any) -> Any:
    """What `work` does with a desk in a loop of its own."""

    async def use() -> Any:
        desk = Desk(path, SystemClock())
        try:
            return await work(desk)
        finally:
            await asyncio.to_thread(desk.close)

    return asyncio.run(use())


def test_who_only_looks_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def use(desk: Desk) -> None:
        assert await desk.look(lambda store: store.claimable()) is None
        assert list(tmp_path.iterdir()) == []
        await desk.make(lambda store: store.add_file("t", "batch", "a", [b"x"]))
        assert path.exists()
        found = await desk.look(lambda store: store.files("t"))
        assert found is not None
        assert len(found) == 1

    run(path, use)


def test_what_another_process_has_made_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def make(desk: Desk) -> None:
        await desk.make(lambda store: store.add_file("t", "batch", "a", [b"x"]))

    async def use(desk: Desk) -> None:
        assert await desk.look(lambda store: len(store.files("t"))) is None
        await asyncio.to_thread(run, path, make)
        assert await desk.look(lambda store: len(store.files("t"))) == 1

    run(path, use)


def test_a_broken_file_is_refused_and_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(b"no database at all, whatever its name says" * 100)

    async def use(desk: Desk) -> None:
        assert desk.problem() == ""
        for _ in range(2):
            with pytest.raises(Refused) as caught:
                await desk.look(lambda store: store.claimable())
            assert caught.value.code == "jobs_unavailable"
            assert str(tmp_path) not in caught.value.message
        assert "jobs" in desk.problem()

    with caplog.at_level(logging.WARNING):
        run(path, use)
    assert len([one for one in caplog.records if one.name == "headgate.jobs"]) == 1
    assert path.read_bytes().startswith(b"no database")


def test_a_disk_that_fails_is_told_to_people_and_no_path_to_clients(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"

    async def use(desk: Desk) -> None:
        file = await desk.make(lambda store: store.add_file("t", "batch", "a", [b"x"]))
        (tmp_path / "jobs.db-files" / file.id).unlink()
        for _ in range(2):
            with pytest.raises(Refused) as caught:
                await desk.make(lambda store: store.open_file(file))
            assert caught.value.code == "jobs_unavailable"
            assert str(tmp_path) not in caught.value.message
        assert "disk" in desk.problem()
        assert await desk.make(lambda store: store.file(file.id, "t")) == file

    with caplog.at_level(logging.WARNING):
        run(path, use)
    assert len([one for one in caplog.records if one.name == "headgate.jobs"]) == 1


def test_a_place_that_cannot_be_looked_at_is_refused_too(tmp_path: Path) -> None:
    async def use(desk: Desk) -> None:
        with pytest.raises(Refused):
            await desk.look(lambda store: store.claimable())

    run(tmp_path / ("x" * 300) / "jobs.db", use)


def test_uploads_are_bounded_for_each_and_for_all(tmp_path: Path) -> None:
    may_end = threading.Event()

    def wait(store: Any) -> bool:
        return may_end.wait(20)

    async def use(desk: Desk) -> None:
        running: list[asyncio.Future[bool]] = []

        def begin(tenant: str) -> Coroutine[Any, Any, bool]:
            return desk.upload(tenant, wait)

        for number in range(UPLOADS_MAX):
            running.append(asyncio.ensure_future(begin(f"t-{number // UPLOADS_OF_TENANT_MAX}")))
        await asyncio.sleep(0)
        for tenant in ("t-0", "another"):
            with pytest.raises(QueueFull):
                await begin(tenant)
        may_end.set()
        assert all(await asyncio.gather(*running))
        assert await begin("t-0")

    run(tmp_path / "jobs.db", use)


def test_pieces_are_read_together_until_there_are_none(tmp_path: Path) -> None:
    async def use(desk: Desk) -> None:
        pieces = iter([b"a" * 10, b"b" * 10, b"c" * 10])
        assert await desk.read(pieces, 15) == b"a" * 10 + b"b" * 10
        assert await desk.read(pieces, 15) == b"c" * 10
        assert await desk.read(pieces, 15) == b""
        await desk.let_go(pieces)

    run(tmp_path / "jobs.db", use)
