"""Every row of the fault matrix has its tests, or says why not; every file of tests has its row."""

from __future__ import annotations

import ast
from pathlib import Path

from faults.matrix import ELSEWHERE, MORE, NO_ROW, ROWS, SHOWN, TO_COME

HERE = Path(__file__).parent


def count_in(path: Path) -> int:
    tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])
    return sum(getattr(node, "name", "").startswith("test_") for node in tree.body)


def test_every_row_is_shown_or_says_why_not() -> None:
    everywhere = [*SHOWN, *ELSEWHERE, *TO_COME]
    assert sorted(everywhere) == list(range(1, ROWS + 1)), "each row once"
    assert all(len(why) > 20 for why in [*TO_COME.values(), *NO_ROW.values()])


def files() -> list[tuple[int, Path]]:
    here = [*SHOWN.items(), *((row, name) for row, names in MORE.items() for name in names)]
    return [(row, HERE / name) for row, name in here]


def test_the_files_of_every_row_have_tests() -> None:
    others = [(row, HERE.parent / name) for row, name in ELSEWHERE.items()]
    assert [(row, path) for row, path in [*files(), *others] if not count_in(path)] == []
    assert set(MORE) <= set(SHOWN)


def test_every_file_of_this_folder_belongs_to_one_row_and_names_it() -> None:
    found = [path.name for path in HERE.glob("test_*.py")]
    assert sorted(found) == sorted([*(path.name for _, path in files()), *NO_ROW])
    unnamed = [(row, path) for row, path in files() if f"Row {row}" not in opening(path)]
    assert unnamed == []


def opening(path: Path) -> str:
    """The first words of a file."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
