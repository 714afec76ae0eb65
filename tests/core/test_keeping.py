"""What a policy makes of a verdict."""

from __future__ import annotations

import pytest

from headgate.core.keeping import reason_of, worth
from headgate.core.verdict import Verdict
from headgate.errors import StreamBroken, UpstreamTimeout
from headgate.types import NO_USAGE, Policy


def verdict(skip: str = "", *, calls_tools: bool = False) -> Verdict:
    return Verdict(skip, "", NO_USAGE, calls_tools)


@pytest.mark.parametrize("skip", ["", "incomplete", "finish_refusal", "finish_content_filter"])
def test_by_default_the_verdict_decides(skip: str) -> None:
    assert worth(Policy(), 60.0, verdict(skip)) == (skip, 60.0)


@pytest.mark.parametrize("skip", ["finish_refusal", "finish_content_filter"])
def test_refusals_may_be_kept_for_a_short_time(skip: str) -> None:
    assert worth(Policy(refusal_ttl_s=5.0), 60.0, verdict(skip)) == ("", 5.0)
    assert worth(Policy(refusal_ttl_s=500.0), 60.0, verdict(skip)) == ("", 60.0)


def test_time_for_refusals_keeps_nothing_else() -> None:
    assert worth(Policy(refusal_ttl_s=5.0), 60.0, verdict("incomplete")) == ("incomplete", 60.0)


def test_answers_that_call_functions_are_kept_unless_switched_off() -> None:
    calling = verdict(calls_tools=True)
    assert worth(Policy(), 60.0, calling) == ("", 60.0)
    assert worth(Policy(tool_calls=False), 60.0, calling) == ("tool_calls", 60.0)
    broken = verdict("tool_arguments", calls_tools=True)
    assert worth(Policy(tool_calls=False), 60.0, broken) == ("tool_arguments", 60.0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(GeneratorExit(), "abandoned"), (StreamBroken("x"), "stream_broken"),
     (UpstreamTimeout("x", stage="idle"), "upstream_timeout"), (OSError(), "stream_broken")],
)  # fmt: skip
def test_a_stream_that_did_not_end_is_counted_by_what_ended_it(
    error: BaseException, reason: str
) -> None:
    assert reason_of(error) == reason
