"""Every row of the fault matrix has its tests, or says why not; every file of tests has its row."""

from __future__ import annotations

import ast
from pathlib import Path

from faults.matrix import ELSEWHERE, NO_ROW, ROWS, SHOWN, TO_COME

HERE = Path(__file__).parent


def count_in(path: Path) -> int:
    tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])
    return sum(getattr(node, "name", "").startswith("test_") for node in tree.body)


def test_every_row_is_shown_or_says_why_not() -> None:
    everywhere = [*SHOWN, *ELSEWHERE, *TO_COME]
    assert sorted(everywhere) == list(range(1, ROWS + 1)), "each row once"
    assert all(len(why) > 20 for why in [*TO_COME.values(), *NO_ROW.values()])


def test_the_file_of_every_row_has_tests() -> None:
    files = {row: HERE / name for row, name in SHOWN.items()}
    files |= {row: HERE.parent / name for row, name in ELSEWHERE.items()}
    assert [row for row, path in files.items() if not count_in(path)] == []


def test_every_file_of_this_folder_belongs_to_one_row_and_names_it() -> None:
    found = {path.name for path in HERE.glob("test_*.py")}
    assert found == {*SHOWN.values(), *NO_ROW}
    assert len(set(SHOWN.values())) == len(SHOWN), "one file per row"
    unnamed = [
        (row, name)
        for row, name in SHOWN.items()
        if f"Row {row}" not in (ast.get_docstring(ast.parse((HERE / name).read_text())) or "")
    ]
    assert unnamed == []
