"""What a caller may say about the cache, well-formed and otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.controls import SECONDS_MAX, TAGS_MAX, read_controls
from headgate.errors import BadRequest
from headgate.types import Controls


def said(*headers: tuple[str, str]) -> Controls:
    return read_controls([(name.encode(), value.encode("latin-1")) for name, value in headers])


@pytest.mark.parametrize(
    ("value", "controls"),
    [
        ("no-cache", Controls(may_read=False)),
        ("no-store", Controls(may_read=False, may_store=False)),
        ("max-age=0", Controls(max_age_s=0.0)),
        ("max-age=60", Controls(max_age_s=60.0)),
        ('max-age="60"', Controls(max_age_s=60.0)),
        ("only-if-cached", Controls(only_if_cached=True)),
        ("stale-if-error=30", Controls(stale_if_error_s=30.0)),
        ("NO-CACHE , Max-Age=5", Controls(may_read=False, max_age_s=5.0)),
        ("max-age=5, only-if-cached", Controls(max_age_s=5.0, only_if_cached=True)),
        ("max-age=99999999999999999999", Controls(max_age_s=float(SECONDS_MAX))),
        ("", Controls()),
        (",,", Controls()),
        ("max-stale=5, min-fresh=1, no-transform, private, x=y", Controls()),
    ],
)
def test_cache_control_means_what_rfc_9111_says(value: str, controls: Controls) -> None:
    assert said(("cache-control", value)) == controls


def test_two_cache_control_headers_add_up() -> None:
    both = said(("cache-control", "max-age=5"), ("cache-control", "no-cache"))
    assert both == Controls(may_read=False, max_age_s=5.0)


@pytest.mark.parametrize("value", ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=1h",
                                   "max-age=\xb2", "stale-if-error=x", "max-age=0x10"])  # fmt: skip
def test_seconds_that_are_no_whole_number_are_refused_and_named(value: str) -> None:
    with pytest.raises(BadRequest, match=value.split("=")[0]):
        said(("cache-control", value))


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60.0), ("90s", 90.0), ("5m", 300.0), ("1.5", 1.5), ("250ms", 0.25)]
)
def test_durations_of_ours_have_units(text: str, seconds: float) -> None:
    both = said(("headgate-ttl", text), ("headgate-deadline", text))
    assert (both.ttl_s, both.deadline_s) == (seconds, seconds)


@pytest.mark.parametrize("name", ["headgate-ttl", "headgate-deadline"])
@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "nan", "inf", "1e9", "1 week", "9999999d"])
def test_a_duration_that_makes_no_sense_is_refused_under_its_name(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=name):
        said((name, text))


def test_a_namespace_is_taken_as_it_is() -> None:
    assert said(("headgate-namespace", "team-a.v1:x_Y")).namespace == "team-a.v1:x_Y"


@pytest.mark.parametrize("name", ["a b", "a/b", "ä", "x" * 129, "a,b", "a\x00b"])
def test_a_namespace_of_other_characters_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="headgate-namespace"):
        said(("headgate-namespace", name))


def test_tags_are_a_list() -> None:
    assert said(("headgate-tags", " faq, v2 ,,x ")).tags == ("faq", "v2", "x")
    assert len(said(("headgate-tags", ",".join("t" * TAGS_MAX))).tags) == TAGS_MAX


@pytest.mark.parametrize("value", [",".join("t" * (TAGS_MAX + 1)), "a b", "x" * 129])
def test_too_many_or_ill_formed_tags_are_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="headgate-tags"):
        said(("headgate-tags", value))


def test_semantic_is_off_or_on() -> None:
    assert said(("headgate-semantic", "off")) == Controls()
    with pytest.raises(BadRequest, match="headgate-semantic"):
        said(("headgate-semantic", "maybe"))


def test_an_unknown_control_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadRequest, match="did you mean headgate-namespace"):
        said(("headgate-namespaces", "x"))
    with pytest.raises(BadRequest, match="known: headgate-namespace, headgate-ttl"):
        said(("headgate-" + "q" * 40, "x"))


NAMES = st.sampled_from(
    [b"cache-control", b"headgate-ttl", b"headgate-namespace", b"headgate-tags",
     b"headgate-deadline", b"headgate-semantic", b"headgate-other"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=30)), max_size=4))
def test_arbitrary_headers_raise_nothing_but_bad_request(
    headers: list[tuple[bytes, bytes]],
) -> None:
    try:
        controls = read_controls(headers)
    except BadRequest:
        return
    for seconds in (controls.max_age_s, controls.ttl_s, controls.deadline_s):
        assert seconds is None or 0 <= seconds <= SECONDS_MAX
    assert len(controls.namespace) <= 128
    assert len(controls.tags) <= TAGS_MAX
