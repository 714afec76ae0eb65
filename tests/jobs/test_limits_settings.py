"""The settings of batch APIs: nothing is said unless somebody says it."""

from __future__ import annotations

from headgate.jobs.limits_settings import BatchApiConfig


def test_by_default_everything_is_as_the_table_says() -> None:
    said = BatchApiConfig()
    assert said.api == "table"
    assert {said.requests_max, said.file_max_bytes, said.window, said.price_factor} == {None}


def test_looks_are_half_a_minute_apart_or_more() -> None:
    assert BatchApiConfig().poll == 30.0
