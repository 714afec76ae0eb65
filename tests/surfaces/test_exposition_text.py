"""The two text formats, read back by the reference parsers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as from_openmetrics
from prometheus_client.parser import text_string_to_metric_families as from_text

from headgate.core.histogram import BUCKETS
from headgate.surfaces.exposition_text import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    INFO,
    LE_MS,
    LE_S,
    UNKNOWN,
    Family,
    labelled,
    written,
)

FORMATS = [(False, from_text), (True, from_openmetrics)]


def families_in(family: Family, openmetrics: bool, parse: Any) -> Any:
    return list(parse(written([family], openmetrics=openmetrics).decode()))


@pytest.mark.parametrize(("openmetrics", "parse"), FORMATS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [(COUNTER, "x_total"), (GAUGE, "x"), (INFO, "x_info"), (UNKNOWN, "x")],
)
def test_a_sample_has_the_name_of_its_kind(
    openmetrics: bool, parse: Any, kind: str, name: str
) -> None:
    family = Family("x", 'What it "is".', kind)
    family.add(labelled(a="1", b="2"), 1)
    (read,) = families_in(family, openmetrics, parse)
    ((sample),) = read.samples
    assert (sample.name, sample.labels, sample.value) == (name, {"a": "1", "b": "2"}, 1)
    assert read.documentation == 'What it "is".'


@pytest.mark.parametrize(("openmetrics", "parse"), FORMATS)
def test_a_histogram_rises_to_its_count(openmetrics: bool, parse: Any) -> None:
    family = Family("x", "Text.", HISTOGRAM)
    counts = [0] * BUCKETS
    counts[1], counts[-1] = 2, 1
    family.add_buckets(labelled(a="1"), counts, 12.5)
    (read,) = families_in(family, openmetrics, parse)
    by_name: dict[str, list[float]] = {}
    for sample in read.samples:
        by_name.setdefault(sample.name, []).append(sample.value)
    assert by_name["x_bucket"] == [0, *[2] * (BUCKETS - 2), 3]
    assert (by_name["x_count"], by_name["x_sum"]) == ([3], [12.5])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_label_is_read_back_as_it_was(value: str) -> None:
    for openmetrics, parse in FORMATS:
        family = Family("x", "Text.", GAUGE)
        family.add(labelled(a=value), 1)
        (read,) = families_in(family, openmetrics, parse)
        assert read.samples[0].labels == {"a": value}


def test_a_family_without_samples_is_named() -> None:
    text = written([Family("x", "Text.", COUNTER)], openmetrics=False)
    assert text == b"# HELP x_total Text.\n# TYPE x_total counter\n"


def test_bounds_are_the_same_in_milliseconds_and_in_seconds() -> None:
    assert (len(LE_MS), len(LE_S)) == (BUCKETS, BUCKETS)
    assert (LE_MS[0], LE_S[0], LE_S[-1]) == ('le="5.0"', 'le="0.005"', 'le="+Inf"')
