"""Which files a batch is read from, and when there are any. Uploads and downloads by the official
SDK are in e2e/test_batches.py, what goes wrong with them in e2e/test_batch_uploads.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batchgates import FORM, batch_config, form, key, lines
from msgspec.structs import replace
from openai.types import FileObject

from headgate.config import ProviderConfig
from headgate.jobs.base import JobStore
from headgate.jobs.model import Job, ResultRow, Settled, StoredFile
from headgate.surfaces.files import result_file, result_ids, result_lines, shown

JOB = Job("job_abc", "t", "/v1/responses", "file_1", 1.5, 2.0, state="completed", ended_s=3.5)
ME = key("me")


@pytest.mark.parametrize(
    ("counts", "ids"),
    [
        ({}, (None, None)),
        ({"succeeded": 1}, ("file_out_abc", None)),
        ({"cache_hit": 1, "failed": 1}, ("file_out_abc", "file_err_abc")),
        ({"expired": 1}, (None, "file_err_abc")),
        ({"cancelled": 1}, (None, "file_err_abc")),
    ],
)
def test_a_result_file_is_there_where_it_holds_something(
    counts: dict[str, int], ids: tuple[str | None, str | None]
) -> None:
    assert result_ids(replace(JOB, counts=counts)) == ids
    assert result_ids(replace(JOB, counts=counts, state="finalizing")) == (None, None)


def test_each_line_is_in_one_of_the_two() -> None:
    states = ["succeeded", "failed", "cache_hit", "expired", "cancelled"]

    class Results:
        def results(self, job_id: str) -> Iterator[ResultRow]:
            for number, state in enumerate(states):
                yield ResultRow(number, Settled(state, state, 200, b"{}"))

    store: JobStore = Results()  # type: ignore[assignment]
    good = b"".join(result_lines(store, JOB, "file_out_abc"))
    bad = b"".join(result_lines(store, JOB, "file_err_abc"))
    assert [state for state in states if f'"{state}"'.encode() in good] == [
        "succeeded",
        "cache_hit",
    ]
    assert (good.count(b"\n"), bad.count(b"\n")) == (2, 3)


def test_files_are_what_the_sdk_expects() -> None:
    stored = StoredFile("file_1", "t", "batch", "in.jsonl", 7, 1.9, "0" * 64)
    read = FileObject.model_validate(shown(stored), strict=True)
    assert (read.bytes, read.created_at, read.purpose) == (7, 1, "batch")
    read = FileObject.model_validate(result_file(JOB, "file_err_abc", 9), strict=True)
    assert (read.filename, read.bytes, read.created_at) == ("job_abc_error.jsonl", 9, 3)


def test_the_order_of_a_list_is_one_of_two(open_door: Callable[..., Any], tmp_path: Path) -> None:
    door = open_door(batch_config(tmp_path, providers={"fake": ProviderConfig(kind="fake")}))
    made = [
        door.ask("POST", "/v1/files", form(lines(1)), {**FORM, **ME}).json["id"] for _ in range(3)
    ]
    for query, expected in (("", made[::-1]), ("?order=asc&limit=2", made[:2]),
                            (f"?order=asc&after={made[0]}", made[1:]),
                            ("?purpose=batch_output", [])):  # fmt: skip
        got = door.get(f"/v1/files{query}", ME).json
        assert [file["id"] for file in got["data"]] == expected
    assert door.get("/v1/files?order=up", ME).status == 400
