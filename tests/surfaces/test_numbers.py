"""The numbers of a server, alone and together with others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headgate.config import Config, ProviderConfig
from headgate.layers.settings import BreakerConfig
from headgate.runtime import Runtime
from headgate.surfaces.numbers import Numbers, numbers_of
from headgate.testing import FakeClock


def following(runtime: Runtime, path: Path | None, worker: str = "0") -> Numbers:
    numbers = Numbers(path, worker)
    numbers.follow(runtime)
    return numbers


def calls_in(numbers: Numbers, model: str = "m") -> int:
    return numbers.told().totals["model", model][0]


def test_two_workers_show_the_same(tmp_path: Path) -> None:
    with Runtime() as first, Runtime() as second:
        one = following(first, tmp_path / "n.db", "0")
        other = following(second, tmp_path / "n.db", "1")
        first.metrics.record_call("m", 1.0)
        assert (calls_in(one), calls_in(other)) == (1, 1)
        second.metrics.record_call("m", 1.0)
        assert (calls_in(other), calls_in(one)) == (2, 2)
        assert set(one.told().ages_s) == {"0", "1"}
        assert one.is_shared
        assert not one.problem()


def test_what_was_not_added_yet_is_added_at_the_end(tmp_path: Path) -> None:
    with Runtime() as first, Runtime() as second:
        one = following(first, tmp_path / "n.db", "0")
        first.metrics.record_hit("m", 1.0)
        one.close()
        assert calls_in(following(second, tmp_path / "n.db", "1")) == 1


def test_it_adds_by_itself_while_it_runs(tmp_path: Path) -> None:
    with Runtime() as first, Runtime() as second:
        one = following(first, tmp_path / "n.db", "0")
        one.start()
        first.metrics.record_hit("m", 1.0)
        other = following(second, tmp_path / "n.db", "1")
        while ("model", "m") not in other.told().totals:
            pass
        one.close()
        assert calls_in(other) == 1


def test_without_the_file_each_one_shows_its_own_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    clock = FakeClock()
    with Runtime(clock=clock) as first, Runtime(clock=clock) as second:
        one = following(first, folder / "n.db", "0")
        other = following(second, folder / "n.db", "1")
        first.metrics.record_call("m", 1.0)
        second.metrics.record_call("m", 1.0)
        assert (calls_in(one), calls_in(other)) == (1, 2)
        shutil.rmtree(folder)
        first.metrics.record_call("m", 1.0)
        clock.advance(12.0)
        told = one.told()
        assert told.totals["model", "m"][0] == 2
        assert told.ages_s == {"0": 12.0}
        assert "other workers" in one.problem()
        folder.mkdir()
        assert calls_in(one) == 1, "what it had added before went with the file"
        assert not one.problem()


def test_numbers_go_on_over_a_change_of_configuration() -> None:
    fake = {"fake": ProviderConfig(kind="fake")}
    with Runtime(Config(providers=fake)) as runtime:
        numbers = numbers_of(runtime)
        runtime.guards.retries["timeout"] += 3
        assert numbers.told().totals["retry", "timeout"] == [3]
        changed = Config(providers=fake, breaker=BreakerConfig(window=7.0))
        successor = runtime.successor(changed)
        assert successor.guards is not runtime.guards
        runtime.guards.retries["timeout"] += 2
        numbers.follow(successor)
        runtime.guards.retries["timeout"] += 1
        successor.guards.retries["timeout"] += 9
        assert numbers.told().totals["retry", "timeout"] == [15]
        successor.guards.retries["timeout"] += 1
        assert numbers.told().totals["retry", "timeout"] == [16]


def test_before_there_is_anything_nothing_is_told() -> None:
    assert Numbers().told().totals == {}


def test_the_json_of_several_workers_adds_up_calls_and_money(
    open_door: Callable[..., Any], tmp_path: Path
) -> None:
    question = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    doors = [open_door() for _ in range(2)]
    told = []
    for number, door in enumerate(doors):
        for _ in range(number + 1):
            door.post("/v1/chat/completions", question)
        told.append(following(door.runtime, tmp_path / "n.db", str(number)).told())
    assert told[1].totals["model", "m"][0] == 3
    assert told[1].totals["ledger", "m", "answer"][0] == 2
