"""Numbers that several processes add to one file."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from headgate import metrics
from headgate.core.tally import Name
from headgate.errors import StoreError
from headgate.stores.numbers import MODELS_MAX, NAMES_MAX_BYTES, STALE_S, SharedNumbers


def test_what_one_adds_the_other_reads(tmp_path: Path) -> None:
    one, other = (SharedNumbers(tmp_path / "n.db") for _ in range(2))
    one.exchange({("a", "x"): [1, 2]}, "0", {("level", "y"): 1.5}, 10.0, reads=False)
    told = other.exchange({("a", "x"): [10, 20], ("b",): [7]}, "1", {}, 12.0)
    assert told is not None
    assert told.totals == {("a", "x"): [11, 22], ("b",): [7]}
    assert told.levels == [{("level", "y"): 1.5}, {}]
    assert told.ages_s == {"0": 2.0, "1": 0.0}


def test_all_processes_know_the_file_by_one_name_and_another_by_another(tmp_path: Path) -> None:
    one, other = (SharedNumbers(tmp_path / "n.db") for _ in range(2))
    one.exchange({}, "0", {}, 10.0, reads=False)
    told = [numbers.exchange({}, "1", {}, 12.5) for numbers in (one, other)]
    assert all(it is not None and it.age_s == 2.5 for it in told)
    third = SharedNumbers(tmp_path / "anew.db").exchange({}, "0", {}, 12.5)
    assert third is not None
    names = [it.name for it in (*told, third) if it is not None]
    assert (len(names), len(set(names)), names[0]) == (3, 2, names[1])


def test_names_of_models_are_bounded_over_all_processes_and_nothing_moves(tmp_path: Path) -> None:
    assert (MODELS_MAX, NAMES_MAX_BYTES) == (metrics.MODELS_MAX, metrics.NAMES_MAX_BYTES)
    processes = [SharedNumbers(tmp_path / "n.db") for _ in range(4)]
    known: dict[Name, list[int]] = {}
    for _ in range(2):
        for worker, numbers in enumerate(processes):
            numbers.listed = frozenset({"listed"})
            names = ["listed", *(f"made-up-{worker}-{number}" for number in range(MODELS_MAX))]
            growth = {("model", name): [1, 2] for name in names}
            level = {("flights", name): 1.0 for name in names}
            told = numbers.exchange(growth, str(worker), level, 1.0)
            assert told is not None
            assert all(told.totals[name][0] >= counts[0] for name, counts in known.items())
            known = told.totals
            assert all({*one} <= {("flights", name) for _, name in known} for one in told.levels)
            assert sum(told.levels[-1].values()) == 81.0
    assert len(known) == MODELS_MAX + 2
    assert known["model", "listed"] == [8, 16]
    assert sum(counts[0] for counts in known.values()) == 2 * 4 * 81


def test_long_names_are_fewer(tmp_path: Path) -> None:
    growth = {("model", f"{number}" * 1_000): [1] for number in range(4)}
    told = SharedNumbers(tmp_path / "n.db").exchange(growth, "0", {}, 1.0)
    assert told is not None
    assert [len(name) for _, name in sorted(told.totals)] == [1_000, 1_000, 5]


def test_the_levels_of_a_silent_process_do_not_count(tmp_path: Path) -> None:
    numbers = SharedNumbers(tmp_path / "n.db")
    numbers.exchange({("a",): [1]}, "0", {("level",): 1.0}, 10.0, reads=False)
    told = numbers.exchange({}, "1", {}, 10.1 + STALE_S)
    assert told is not None
    assert (told.levels, list(told.ages_s), told.totals) == ([{}], ["1"], {("a",): [1]})


def test_one_that_takes_the_place_of_another_replaces_its_levels(tmp_path: Path) -> None:
    numbers = SharedNumbers(tmp_path / "n.db")
    numbers.exchange({}, "0", {("level",): 1.0}, 10.0, reads=False)
    told = numbers.exchange({}, "0", {("level",): 3.0}, 11.0)
    assert told is not None
    assert told.levels == [{("level",): 3.0}]


def test_sums_are_exact_under_eight_threads(tmp_path: Path) -> None:
    def work(number: int) -> None:
        own = SharedNumbers(tmp_path / "n.db")
        for _ in range(50):
            own.exchange({("a",): [1], ("b", str(number)): [2]}, str(number), {}, 1.0)
        own.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = SharedNumbers(tmp_path / "n.db").exchange({}, "9", {}, 1.0)
    assert told is not None
    assert told.totals == {("a",): [400], **{("b", str(n)): [100] for n in range(8)}}


def test_a_file_that_is_gone_is_said_and_one_that_is_back_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    numbers = SharedNumbers(folder / "n.db")
    numbers.exchange({("a",): [1]}, "0", {}, 1.0)
    shutil.rmtree(folder)
    with pytest.raises(StoreError):
        numbers.exchange({("a",): [1]}, "0", {}, 2.0)
    folder.mkdir()
    told = numbers.exchange({("a",): [1]}, "0", {}, 3.0)
    assert told is not None
    assert told.totals == {("a",): [1]}
    numbers.close()


def test_a_file_of_somebody_else_is_an_error_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "n.db"
    file.write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError):
        SharedNumbers(file).exchange({}, "0", {}, 1.0)
    assert file.read_bytes() == b"not a database, " * 100
