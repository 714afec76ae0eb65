"""Names of jobs and what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from headgate.jobs.ids import file_id, job_id, shard_id, submit_token


@pytest.mark.parametrize(
    ("made", "form"),
    [
        (job_id, r"job_[0-9a-f]{32}"),
        (file_id, r"file_[0-9a-f]{32}"),
        (shard_id, r"shard_[0-9a-f]{32}"),
        (submit_token, r"hg[0-9a-f]{20}"),
    ],
)
def test_names_have_a_form_and_none_comes_twice(made: Callable[[], str], form: str) -> None:
    names = {made() for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch(form, name) for name in names)


def test_a_token_leaves_room_in_an_id_of_64_characters() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", f"{submit_token()}-{10**7}")
