"""Every row of the fault matrix has its tests, or says why not; every file of tests has its row."""

from __future__ import annotations

import ast
from pathlib import Path

from faults.matrix import (
    ELSEWHERE,
    MEANWHILE,
    MORE,
    NO_ROW,
    ROWS,
    SHOWN,
    TO_COME,
    WITHOUT_LAB,
    WITHOUT_NEIGHBOUR,
)
from faults.outbreaks import OUTBREAKS

HERE = Path(__file__).parent
POINTS = range(1, 11)


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


def test_every_row_is_judged_by_the_laboratory_or_says_why_not() -> None:
    everywhere = {path for _, path in files()} | {HERE.parent / name for name in ELSEWHERE.values()}
    without = {path for path in everywhere if not uses_the_lab(path)}
    assert sorted(without) == sorted(HERE.parent / name for name in WITHOUT_LAB)


def test_every_row_has_neighbours_or_says_why_not() -> None:
    outbreaks = {outbreak.row for outbreak in OUTBREAKS.values()}
    found = sorted([*outbreaks, *MEANWHILE, *WITHOUT_NEIGHBOUR])
    assert found == sorted([*SHOWN, *ELSEWHERE]), "each row once"
    for name in MEANWHILE.values():
        assert "lab.healthy_meanwhile(" in (HERE / name).read_text("utf-8"), name


def test_what_is_judged_apart_says_by_which_points_and_why() -> None:
    for apart in (*WITHOUT_LAB.values(), *WITHOUT_NEIGHBOUR.values()):
        assert apart.points
        assert apart.points <= {*POINTS}
        assert len(apart.why) > 20
    assert all(apart.points & {8, 9} for apart in WITHOUT_NEIGHBOUR.values())


def uses_the_lab(path: Path) -> bool:
    """Whether any of its tests and fixtures has a laboratory, which is judged when it ends."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    return any(arg.arg in ("lab", "open_lab") for each in functions for arg in each.args.args)
