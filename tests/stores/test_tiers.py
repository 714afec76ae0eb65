"""Memory over disk: who is asked first, what is copied up, what a removal reaches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stores.samples import SCOPE, entry_of, key_of

from headgate.core.fingerprint import shape_key
from headgate.stores.memory import MemoryStore
from headgate.stores.sqlite import SqliteStore
from headgate.stores.tiers import Tiers
from headgate.testing import FakeClock
from headgate.types import (
    EVERYTHING,
    NO_CONTROLS,
    Call,
    Controls,
    Entry,
    Selection,
    Target,
    WireRequest,
)


class Scene:
    """Memory and a real file below it, under a clock that is moved."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.memory = MemoryStore()
        self.disk = SqliteStore(folder / "cache.db", 10_000_000, self.clock)
        self.tiers = Tiers(self.memory, self.disk, self.clock)

    def find(self, number: int, controls: Controls = NO_CONTROLS) -> Entry | None:
        request = WireRequest("/", b"", ())
        call = Call("chat", "m", request, key_of(number), SCOPE, Target("p", "m"), controls)
        return asyncio.run(self.tiers.find(call))

    def forget(self) -> None:
        """What a restart does to memory."""
        self.memory.remove(EVERYTHING, now_s=self.clock.epoch())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.tiers.close()


def test_an_entry_is_put_into_both_tiers(scene: Scene) -> None:
    scene.tiers.put(entry_of(1))
    scene.disk.flush()
    assert [store.entries for store in scene.tiers.stats()] == [1, 1]
    assert [store.name for store in scene.tiers.stats()] == ["memory", "sqlite"]


def test_what_memory_lost_comes_from_disk_and_is_copied_up(scene: Scene) -> None:
    scene.tiers.put(entry_of(1))
    scene.forget()
    assert scene.find(1) == entry_of(1)
    assert scene.memory.peek(key_of(1), scene.clock.epoch()) == entry_of(1)


def test_a_value_that_is_no_json_stays_in_memory(scene: Scene) -> None:
    scene.tiers.put(entry_of(1, b"", kind="object", held=object))
    scene.disk.flush()
    assert [store.entries for store in scene.tiers.stats()] == [1, 0]


def test_a_find_obeys_the_callers_controls_in_every_tier(scene: Scene) -> None:
    scene.tiers.put(entry_of(1))
    scene.clock.advance(30)
    assert scene.find(1, Controls(max_age_s=29)) is None
    assert scene.find(1, Controls(max_age_s=31)) is not None
    scene.forget()
    assert scene.find(1, Controls(max_age_s=29)) is None
    assert scene.memory.peek(key_of(1), scene.clock.epoch()) is None
    assert scene.find(1, Controls(max_age_s=31)) is not None


def test_an_entry_past_its_time_is_in_no_tier(scene: Scene) -> None:
    scene.tiers.put(entry_of(1))
    scene.clock.advance(3600)
    assert scene.find(1) is None


def test_a_removal_reaches_both_tiers_and_counts_each_entry_once(scene: Scene) -> None:
    for number in (1, 2, 3):
        scene.tiers.put(entry_of(number, model="a" if number == 1 else "b"))
    scene.forget()
    assert scene.find(3) is not None
    before = scene.tiers.generation
    assert scene.tiers.remove(Selection(model="b"), dry_run=True) == 2
    assert scene.tiers.generation == before
    assert scene.tiers.remove(Selection(model="b")) == 2
    assert scene.tiers.generation > before
    assert (scene.find(1) is None, scene.find(2), scene.find(3)) == (False, None, None)


def test_the_list_is_of_the_tier_that_has_them_all(scene: Scene) -> None:
    for number in (1, 2, 3):
        scene.tiers.put(entry_of(number))
    scene.forget()
    assert len(scene.tiers.list(EVERYTHING, limit=10)) == 3
    assert len(scene.tiers.list(EVERYTHING, limit=2)) == 2


def test_a_key_selects_the_entries_of_both_shapes_too(scene: Scene) -> None:
    own = [shape_key(key_of(1), streamed=streamed) for streamed in (True, False)]
    for key in (key_of(1), *own, key_of(2)):
        scene.tiers.put(entry_of(key=key))
    selection = Selection(key=key_of(1))
    assert scene.tiers.remove(selection, dry_run=True) == 3
    assert scene.tiers.remove(selection) == 3
    assert [entry.key for entry in scene.tiers.list(EVERYTHING, limit=9)] == [key_of(2)]


def test_what_was_removed_while_the_disk_was_read_is_not_copied_up(scene: Scene) -> None:
    scene.tiers.put(entry_of(1))
    scene.forget()
    read = scene.disk.get

    def get(key: bytes, scope: bytes, now_s: float, stale_s: float) -> Entry | None:
        found = read(key, scope, now_s, stale_s)
        scene.tiers.remove(EVERYTHING)
        return found

    scene.disk.get = get  # type: ignore[method-assign]
    assert scene.find(1) is not None, "it was asked for before it was removed"
    assert scene.memory.stats().entries == 0


def test_without_a_disk_memory_is_all_there_is() -> None:
    clock = FakeClock()
    tiers = Tiers(MemoryStore(), None, clock)
    tiers.put(entry_of(1))
    assert [store.name for store in tiers.stats()] == ["memory"]
    assert len(tiers.list(EVERYTHING, limit=10)) == 1
    assert tiers.remove(EVERYTHING) == 1
    tiers.close()


def test_what_another_process_removed_leaves_this_ones_memory(scene: Scene, tmp_path: Path) -> None:
    other = Scene(tmp_path)
    scene.tiers.put(entry_of(1))
    scene.disk.flush()
    assert other.find(1) is not None
    other.tiers.follow()
    assert other.memory.stats().entries == 1, "nothing was removed: nothing to let go of"
    scene.tiers.remove(Selection(model="gpt-4o"))
    before = other.tiers.generation
    other.tiers.follow()
    assert other.memory.stats().entries == 0
    assert other.tiers.generation > before, "answers asked for before are not stored"
    assert other.find(1) is None
    other.tiers.close()


class Counting:
    """Which thread was asked how often; the store is a real one."""

    def __init__(self, scene: Scene) -> None:
        self.visits: list[str] = []
        self._get = scene.disk.get
        scene.disk.get = self._noted  # type: ignore[method-assign]

    def _noted(self, *asked: Any) -> Entry | None:
        self.visits.append(threading.current_thread().name)
        return self._get(*asked)


def calls_of(numbers: Iterable[int], controls: Controls = NO_CONTROLS) -> list[Call]:
    request = WireRequest("/", b"", ())
    return [
        Call("chat", "m", request, key_of(number), SCOPE, Target("p", "m"), controls)
        for number in numbers
    ]


def test_many_are_found_in_memory_and_in_one_visit_to_the_disk(scene: Scene) -> None:
    for number in range(6):
        scene.tiers.put(entry_of(number))
    scene.disk.flush()
    scene.forget()
    scene.memory.put(entry_of(1), scene.clock.epoch())
    counting = Counting(scene)
    found = asyncio.run(scene.tiers.find_all(calls_of([4, 3, 2, 1, 0, 8, 9])))
    assert found == {key_of(number): entry_of(number) for number in range(5)}
    assert len(counting.visits) == 6
    assert len(set(counting.visits)) == 1
    assert asyncio.run(scene.tiers.find_all(calls_of(range(5)))) == found
    assert len(counting.visits) == 6, "they were copied up"


def test_of_many_only_the_fresh_ones_are_found(scene: Scene) -> None:
    for number in range(3):
        scene.tiers.put(entry_of(number, created_s=scene.clock.epoch() - 10 * number))
    scene.disk.flush()
    calls = calls_of(range(3), Controls(max_age_s=15.0))
    for _ in range(2):
        assert set(asyncio.run(scene.tiers.find_all(calls))) == {key_of(0), key_of(1)}
        scene.forget()


def test_without_a_slower_tier_many_are_looked_for_in_memory_alone() -> None:
    tiers = Tiers(MemoryStore(), None, FakeClock())
    tiers.put(entry_of(1))
    assert asyncio.run(tiers.find_all(calls_of([1, 2]))) == {key_of(1): entry_of(1)}
    assert asyncio.run(tiers.find_all([])) == {}
