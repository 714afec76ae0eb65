"""The ordinary path of a job: every line through the runtime's stack, at low priority."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobbing import asked, chat, config_at, eventually, line, shop

from headgate.config import Config, ProviderConfig
from headgate.jobs.model import LIVE
from headgate.jobs.states import APPLIED, CREATED
from headgate.layers.settings import LimitsConfig
from headgate.runtime import Runtime
from headgate.testing import Cut, FakeClock, FaultServer, Pause, Status


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def test_every_line_is_asked_once_and_its_answer_kept(server: FaultServer, tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            job = await open_shop.run(line(f"r{n}", chat(n)) for n in range(250))
            assert (job.state, job.counts) == ("completed", {"succeeded": 250})
            ended = open_shop.ended(job)
            for number in range(250):
                settled = ended[f"r{number}"]
                assert (settled.status_code, settled.lane, settled.target) == (
                    200,
                    LIVE,
                    "openai/m",
                )
                said = json.loads(settled.body)
                assert said["model"] == "m"
            billed = server.bill()
            assert sum(one.usage.tokens_in for one in ended.values()) == billed.tokens_in
            assert sum(one.usage.tokens_out for one in ended.values()) == billed.tokens_out
            nanos = billed.tokens_in * 1000 + billed.tokens_out * 2000
            assert (job.cost_nanos, job.at_risk_nanos) == (nanos, 0)
            # What the process itself has booked is the same money.
            cost = open_shop.runtime.stats()["cost"]
            assert cost["billed_usd"] == pytest.approx(nanos / 1e9)

    asyncio.run(run())
    assert set(asked(server).values()) == {1}
    assert len(server.calls) == 250


def test_what_is_stored_costs_nothing_and_equal_lines_are_asked_once(
    server: FaultServer, tmp_path: Path
) -> None:
    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            first = await open_shop.run([line("a", chat("Peru"))])
            again = await open_shop.run(
                [line("x", chat("Peru")), line("y", chat("Chile")), line("z", chat("Chile"))]
            )
            assert again.counts == {"cache_hit": 2, "succeeded": 1}
            one, stored = open_shop.ended(first)["a"], open_shop.ended(again)["x"]
            assert (stored.body, stored.cost_nanos) == (one.body, 0)
            assert stored.saved_cache_nanos == one.cost_nanos
            follower = open_shop.ended(again)["z"]
            assert follower.body == open_shop.ended(again)["y"].body
            assert again.saved_cache_nanos == (one.cost_nanos or 0) + follower.saved_cache_nanos

    asyncio.run(run())
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    "step", [Status(500), Status(503), Status(429, headers={"retry-after": "1"}), Cut(0)],
    ids=["500", "503", "429", "cut"],
)  # fmt: skip
def test_what_may_pass_is_tried_again(server: FaultServer, tmp_path: Path, step: Any) -> None:
    server.script(step)
    clock = FakeClock()

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock, concurrency=2) as open_shop:
            job = open_shop.job([line("r", chat(1))])
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await eventually(lambda: len(server.calls) == 1, "the first try")
            while not working.done():
                clock.advance(0.5)
                await asyncio.sleep(0.05)
            done = await working
            assert done is not None
            assert (done.state, done.counts) == ("completed", {"succeeded": 1})
            settled = open_shop.ended(job)["r"]
            # Only what was sent and got no status may have been billed.
            risk = settled.cost_nanos if isinstance(step, Cut) else 0
            assert settled.at_risk_nanos == risk

    asyncio.run(run())
    assert len(server.calls) == 2


def test_a_line_that_breaks_off_each_time_fails_before_it_has_cost_too_much(
    server: FaultServer, tmp_path: Path
) -> None:
    server.script(Cut(0), times=None)
    clock = FakeClock()

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock) as open_shop:
            job = open_shop.job([line("r", chat(1))])
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            while not working.done():
                clock.advance(10.0)
                await asyncio.sleep(0.02)
            await working
            settled = open_shop.ended(job)["r"]
            assert settled.state == "failed"
            assert settled.error_code

    asyncio.run(run())
    assert len(server.calls) == 5


def test_at_the_deadline_the_rest_expires_and_what_is_under_way_is_kept(
    server: FaultServer, tmp_path: Path
) -> None:
    held, clock = Pause(), FakeClock()
    server.script(held, times=None)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock, concurrency=2) as open_shop:
            job = open_shop.job((line(f"r{n}", chat(n)) for n in range(150)), deadline_s=3600.0)
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 2)
            clock.advance(3601.0)
            held.release()
            done = await working
            assert done is not None
            assert (done.state, done.counts) == ("expired", {"succeeded": 2, "expired": 148})
            late = open_shop.ended(job)["r149"]
            assert (late.error_code, late.cost_nanos) == ("batch_expired", 0)
            assert "deadline" in late.error_message

    asyncio.run(run())
    assert len(server.calls) == 2


def test_a_line_that_failed_until_the_deadline_says_why(
    server: FaultServer, tmp_path: Path
) -> None:
    server.script(Status(503), times=None)
    clock = FakeClock()

    def tried_twice() -> bool:
        # Time goes on all the while: nobody knows when the pause after the first try begins.
        clock.advance(1.0)
        return len(server.calls) >= 2

    async def run() -> None:
        async with shop(tmp_path, config_at(server), clock) as open_shop:
            job = open_shop.job([line("r", chat(1))], deadline_s=6000.0)
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await eventually(lambda: len(server.calls) == 1, "the first try")
            await eventually(tried_twice, "the second try")
            clock.advance(6000.0)
            assert (await working).state == "expired"  # type: ignore[union-attr]
            assert "503" in open_shop.ended(job)["r"].error_message

    asyncio.run(run())


def test_stopped_it_ends_what_is_under_way_and_queues_the_rest(
    server: FaultServer, tmp_path: Path
) -> None:
    held = Pause()
    server.script(held, times=None)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), concurrency=3) as open_shop:
            job = open_shop.job(line(f"r{n}", chat(n)) for n in range(20))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 3)
            assert open_shop.store.job(job.id, None).counts == {"submitted": 20}  # type: ignore[union-attr]
            open_shop.runner.stop()
            held.release()
            left = await working
            assert left is not None
            assert (left.state, left.counts) == ("in_progress", {"queued": 17, "succeeded": 3})
            assert {shard.state for shard in open_shop.store.shards(job.id)} == {APPLIED}
        async with shop(tmp_path, config_at(server)) as next_shop:
            done = await next_shop.runner.run(job.id)
            assert done is not None
            assert (done.counts, done.at_risk_nanos) == ({"succeeded": 20}, 0)

    asyncio.run(run())
    assert set(asked(server).values()) == {1}


def test_cancelled_it_leaves_a_job_that_can_be_gone_on_with_and_says_what_is_at_risk(
    server: FaultServer, tmp_path: Path
) -> None:
    held = Pause()
    server.script(held, times=None)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), concurrency=3) as open_shop:
            job = open_shop.job(line(f"r{n}", chat(n)) for n in range(9))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 3)
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
            assert open_shop.store.job(job.id, None).counts == {"queued": 9}  # type: ignore[union-attr]
            held.release()
            twice = {f"r{n}" for n in range(3)}
        async with shop(tmp_path, config_at(server)) as next_shop:
            done = await next_shop.runner.run(job.id)
            assert done is not None
            ended = next_shop.ended(done)
            risky = {name for name, one in ended.items() if one.at_risk_nanos}
            assert risky == twice
            assert all(ended[name].at_risk_nanos == ended[name].cost_nanos for name in twice)

    asyncio.run(run())
    assert {text for text, count in asked(server).items() if count > 1} == {
        f"What of {n}?" for n in range(3)
    }


def test_no_more_lines_are_under_way_than_are_allowed(server: FaultServer, tmp_path: Path) -> None:
    held = Pause()
    server.script(held, times=None)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), concurrency=5) as open_shop:
            job = open_shop.job(line(f"r{n}", chat(n)) for n in range(30))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 5)
            assert len(server.calls) == 5
            held.release()
            await working

    asyncio.run(run())


def test_half_of_the_places_of_a_target_are_left_to_others(
    server: FaultServer, tmp_path: Path
) -> None:
    held = Pause()
    server.script(held, times=None)
    config = config_at(server, limits=LimitsConfig(concurrency_max=6))

    async def run() -> None:
        async with shop(tmp_path, config, concurrency=16) as open_shop:
            job = open_shop.job(line(f"r{n}", chat(n)) for n in range(30))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 3)
            # All sixteen have had time to look, and thirteen of them found no room.
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(server.calls) == 3
            held.release()
            done = await working
            assert done is not None
            assert done.counts == {"succeeded": 30}

    asyncio.run(run())


def test_half_of_a_minutes_requests_are_left_to_others(server: FaultServer, tmp_path: Path) -> None:
    config = config_at(server)
    openai = ProviderConfig(base_url=server.base_url, requests_per_minute=20)
    config = Config(providers={**config.providers, "openai": openai})

    async def run() -> None:
        # Time stands still for the rate: nothing is given back, however slow the machine is.
        runtime = Runtime(config, clock=FakeClock())
        async with shop(tmp_path, config, concurrency=2, runtime=runtime) as open_shop:
            job = open_shop.job(line(f"r{n}", chat(n)) for n in range(30))
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await eventually(lambda: len(server.calls) >= 10, "half of them")
            lane = open_shop.runtime.lanes.items("openai")[0]
            # The last of them is counted before it is sent, and the one before may be seen alone.
            now_s = runtime.clock.monotonic()
            await eventually(lambda: not lane.has_spare(0, now_s), "no more than half is left")
            # Somebody else is not refused.
            assert not hasattr(lane.rate.reserve(0, now_s), "reason")
            open_shop.runner.stop()
            await working

    asyncio.run(run())


def test_a_page_is_noted_before_its_first_line_is_asked(
    server: FaultServer, tmp_path: Path
) -> None:
    held = Pause()
    server.script(held, times=None)

    async def run() -> None:
        async with shop(tmp_path, config_at(server), concurrency=1) as open_shop:
            job = open_shop.job([line("r", chat(1))])
            working = asyncio.ensure_future(open_shop.runner.run(job.id))
            await asyncio.to_thread(held.wait_reached, 1)
            (shard,) = open_shop.store.shards(job.id)
            assert (shard.provider, shard.state, shard.count) == (LIVE, CREATED, 1)
            held.release()
            await working
            (shard,) = open_shop.store.shards(job.id)
            assert shard.state == APPLIED

    asyncio.run(run())
