"""The settings of a breaker: each number outside its range is refused, by name, with the range."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from headgate.core.breaker_settings import BreakerSettings, simple_settings
from headgate.errors import ConfigError

SHARES = ("fault_ratio", "slow_ratio")
COUNTS = ("calls_min", "probes_needed", "probes_at_once")
ROWS = ("local_faults_in_row", "faults_in_row")
DURATIONS = ("window_s", "open_base_s", "open_min_s", "open_max_s", "probe_lease_s")
SLOW = ("slow_first_token_s", "slow_total_s")


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        BreakerSettings(**settings)
    return str(caught.value)


def test_the_defaults_are_those_of_the_design() -> None:
    assert dataclasses.asdict(BreakerSettings()) == {
        "window_s": 30,
        "window_calls": None,
        "calls_min": 20,
        "fault_ratio": 0.5,
        "slow_ratio": 0.8,
        "slow_first_token_s": 30,
        "slow_total_s": 60,
        "local_faults_in_row": 5,
        "faults_in_row": None,
        "open_base_s": 5,
        "open_min_s": 1,
        "open_max_s": 300,
        "open_growth": 2,
        "open_jitter": 0.5,
        "probes_needed": 3,
        "probes_at_once": 1,
        "probe_lease_s": 605,
    }


def test_every_bounded_setting_is_tried_below() -> None:
    tried = {*SHARES, *COUNTS, *ROWS, *DURATIONS, *SLOW, "window_calls", "open_growth"}
    assert tried | {"open_jitter"} == {f.name for f in dataclasses.fields(BreakerSettings)}


@pytest.mark.parametrize("key", SHARES)
@pytest.mark.parametrize("value", [0, -0.1, 1.01, 100, math.nan, math.inf])
def test_a_share_of_nothing_or_of_more_than_all_is_refused(key: str, value: float) -> None:
    assert refusal(**{key: value}) == f"{key}: must be more than 0 and at most 1, got {value!r}"


@pytest.mark.parametrize("key", [*COUNTS, *ROWS])
@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan])
def test_a_count_below_one_is_refused(key: str, value: float) -> None:
    assert refusal(**{key: value}) == f"{key}: must be a whole number, at least 1, got {value!r}"


@pytest.mark.parametrize("key", [*DURATIONS, *SLOW])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_duration_that_is_none_is_refused(key: str, value: float) -> None:
    assert refusal(**{key: value}) == f"{key}: must be more than 0, got {value!r}"


@pytest.mark.parametrize("value", [0, 1_000_001, 2.0])
def test_a_count_window_is_bounded(value: float) -> None:
    wanted = "must be a whole number, at least 1 and at most 1e+06"
    assert refusal(window_calls=value) == f"window_calls: {wanted}, got {value!r}"


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("open_growth", 0.5, "at least 1 and at most 10"),
        ("open_growth", 11, "at least 1 and at most 10"),
        ("open_jitter", -0.1, "at least 0 and at most 1"),
        ("open_jitter", 1.1, "at least 0 and at most 1"),
    ],
)
def test_growth_and_jitter_stay_inside_their_ranges(key: str, value: float, wanted: str) -> None:
    assert refusal(**{key: value}) == f"{key}: must be {wanted}, got {value!r}"


@pytest.mark.parametrize("key", ["open_base_s", "open_min_s"])
def test_an_open_time_above_its_own_maximum_is_refused(key: str) -> None:
    assert refusal(**{key: 301}) == f"{key}: must be at most open_max_s (300), got 301"
    assert BreakerSettings(**{key: 300})


def test_a_count_window_smaller_than_the_minimum_of_calls_clamps_it() -> None:
    assert BreakerSettings(calls_min=20).calls_needed == 20
    assert BreakerSettings(calls_min=20, window_calls=8).calls_needed == 8
    assert BreakerSettings(calls_min=5, window_calls=8).calls_needed == 5


def test_three_numbers_make_a_breaker_without_jitter_and_growth() -> None:
    settings = simple_settings(5, 60, 2)
    assert settings == simple_settings()
    assert (settings.faults_in_row, settings.probes_needed) == (5, 2)
    assert (settings.open_base_s, settings.open_min_s, settings.open_max_s) == (60, 60, 300)
    assert (settings.open_growth, settings.open_jitter) == (1, 0)
    assert settings.local_faults_in_row is None
    assert (settings.slow_first_token_s, settings.slow_total_s) == (None, None)


@pytest.mark.parametrize(("threshold", "calls_min"), [(1, 20), (5, 20), (10, 20), (100, 200)])
def test_no_window_holds_fewer_faults_than_the_threshold_when_it_opens(
    threshold: int, calls_min: int
) -> None:
    settings = simple_settings(threshold)
    assert settings.calls_min == calls_min
    assert settings.calls_min * settings.fault_ratio >= threshold


def test_the_open_time_is_what_was_asked_for_however_short_or_long() -> None:
    assert simple_settings(recovery_timeout=0.01).open_min_s == 0.01
    assert simple_settings(recovery_timeout=5000).open_max_s == 5000


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("failure_threshold", 0, "a whole number, at least 1"),
        ("failure_threshold", 2.5, "a whole number, at least 1"),
        ("recovery_timeout", 0, "more than 0"),
        ("recovery_timeout", -5, "more than 0"),
        ("recovery_timeout", math.nan, "more than 0"),
        ("success_threshold", True, "a whole number, at least 1"),
    ],
)
def test_a_wrong_one_of_the_three_is_named_as_it_was_given(
    key: str, value: Any, wanted: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        simple_settings(**{key: value})
    assert str(caught.value) == f"{key}: must be {wanted}, got {value!r}"
