"""The tree of errors: as drawn, and each with what surfaces, retries and billing need to know."""

from __future__ import annotations

import inspect
import re

import pytest

from headgate import errors
from headgate.errors import (
    BadRequest,
    ConfigError,
    HeadgateError,
    Problem,
    QueueFull,
    RateLimited,
    Refused,
    UpstreamFailed,
    UpstreamTimeout,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, HeadgateError)
]


def drawn() -> dict[str, str]:
    """Class to parent, as the docstring of the module draws it by indentation."""
    above: list[tuple[int, str]] = []
    tree: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"( {4,})([A-Z][A-Za-z]+)(  |$)", line)
        if found:
            depth, name = len(found[1]), found[2]
            above = [(d, n) for d, n in above if d < depth]
            tree[name] = above[-1][1] if above else "Exception"
            above.append((depth, name))
    return tree


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn() == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


def made(kind: type[HeadgateError]) -> HeadgateError:
    if issubclass(kind, ConfigError):
        return kind([Problem("cache.ttl", "expected a duration")])
    if issubclass(kind, UpstreamTimeout):
        return kind("slow", stage="total")
    return kind("a message")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_code_of_its_own(kind: type[HeadgateError]) -> None:
    error = made(kind)
    assert 400 <= error.status_hint < 600
    assert re.fullmatch(r"[a-z_]+", error.code)
    assert [other for other in CLASSES if other.code == kind.code] == [kind]
    assert error.message == str(error)
    assert error.retry_after_s is None


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_refusal_was_not_sent_and_an_upstream_failure_may_have_been(
    kind: type[HeadgateError],
) -> None:
    sent = issubclass(kind, UpstreamFailed) and kind is not errors.UpstreamUnreachable
    assert made(kind).sent is sent


@pytest.mark.parametrize(
    ("stage", "sent"), [("connect", False), ("first_token", True), ("idle", True), ("total", True)]
)
def test_a_timeout_knows_its_stage_and_whether_anything_was_sent(stage: str, sent: bool) -> None:
    error = UpstreamTimeout("slow", stage=stage)
    assert (error.stage, error.sent, error.status_hint) == (stage, sent, 504)


def test_an_error_may_say_when_to_ask_again() -> None:
    error = Refused("later", retry_after_s=1.5)
    assert error.retry_after_s == 1.5
    assert Refused("later").retry_after_s is None


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(RateLimited("x", retry_after_s=0.5), None), (RateLimited("x", retry_after_s=60), None),
     (RateLimited("x", retry_after_s=60.5), False), (RateLimited("x"), False),
     (QueueFull("x", retry_after_s=1), False), (Refused("x"), False)],
)  # fmt: skip
def test_an_sdk_may_try_again_where_it_would_wait_for_a_limit(
    error: HeadgateError, wanted: bool | None
) -> None:
    assert error.should_retry is wanted


def test_a_limit_is_429_and_a_full_queue_503() -> None:
    assert (RateLimited("x").status_hint, QueueFull("x").status_hint) == (429, 503)


def test_a_bad_request_has_the_status_and_code_it_is_given() -> None:
    assert (BadRequest("x").status_hint, BadRequest("x").code) == (400, "invalid_request")
    error = BadRequest("too large", status=413, code="too_large")
    assert (error.status_hint, error.code) == (413, "too_large")


def test_a_config_error_shows_every_problem_with_its_place() -> None:
    problems = [Problem("cache.ttl", "expected a duration", 3), Problem("", "no such file")]
    error = ConfigError(problems, "headgate.toml")
    assert str(error).splitlines() == [
        "headgate.toml:3: cache.ttl: expected a duration",
        "headgate.toml: no such file",
    ]
    assert error.problems is problems
    assert str(ConfigError([Problem("cache.ttl", "wrong")])) == "cache.ttl: wrong"


def test_a_problem_shows_itself() -> None:
    assert repr(Problem("a.b", "wrong", 3)) == "Problem('a.b', 'wrong', line=3)"
