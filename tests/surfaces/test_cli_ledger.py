"""`headgate ledger export`: every row, exactly, in two formats."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from stores.ledgers import a_ledger, a_row

from headgate.surfaces import cli
from headgate.surfaces.cli_ledger import COLUMNS
from headgate.testing import FakeClock

DAY_S = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ledger = a_ledger(tmp_path / "ledger.db", FakeClock())
    ledger.append([
        a_row(1, 0.5), a_row(2, DAY_S, cost_nanos=None, tier="flex"),
        a_row(3, 2 * DAY_S, model='=HYPERLINK("x"),\n"', is_estimated=True),
    ])  # fmt: skip
    ledger.close()
    return tmp_path / "ledger.db"


def exported(
    capsys: pytest.CaptureFixture[str], path: Path, *words: str, fails: int = 0
) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["ledger", "export", "--path", str(path), *words])
    assert (ended.value.code or 0) == fails
    told = capsys.readouterr()
    return (told.err if fails else told.out).splitlines()


def test_jsonl_has_a_document_for_each_row(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in exported(capsys, path, "--format", "jsonl")]
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    assert [row["cost_nanos"] for row in rows] == [1, None, 3]
    assert (rows[0]["time"], rows[0]["cost_usd"]) == (
        "1970-01-01T00:00:00.500+00:00",
        "0.000000001",
    )
    assert [row["tier"] for row in rows] == ["", "flex", ""]


def test_csv_is_read_back_and_a_name_is_no_formula(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = exported(capsys, path)
    rows = list(csv.DictReader(line + "\n" for line in lines))
    assert [row["estimated"] for row in rows] == ["false", "false", "true"]
    assert rows[1]["cost_usd"] == ""
    assert rows[2]["model"].startswith("'=")


def test_rows_of_some_days(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--format", "jsonl", "--since", "1970-01-02", "--until", "1970-01-03T00:00:00+00:00")
    assert [json.loads(line)["call"] for line in exported(capsys, path, *words)] == ["call-2"]


def test_what_cannot_be_read_ends_with_a_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no moment" in exported(capsys, path, "--since", "yesterday", fails=2)[0]
    absent = path.with_name("absent.db")
    assert "there is no ledger" in exported(capsys, absent, fails=2)[0]
