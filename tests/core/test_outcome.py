"""The table of outcomes: what each way to end means for breaker, gates, retry and fallback."""

from __future__ import annotations

import pytest

from headgate.core.outcome import (
    ANSWERED,
    CREDENTIAL,
    DEPLOYMENT,
    ENDPOINT,
    GOOD,
    OUTCOMES,
    UNANSWERED,
    Outcome,
    charged,
    timed,
)

# reason: kind, gate, the same target again, another target. As the design's table has them, but
# for `conflict`, which one client's own requests can cause at will, and the last two of its kind.
TABLE = {
    "ok": ("ok", "", "never", "nowhere"),
    "bad_request": ("ignored", "", "never", "nowhere"),
    "context_too_long": ("ignored", "", "never", "context"),
    "content_filter": ("ignored", "", "never", "policy"),
    "too_large": ("ignored", "", "never", "anywhere"),
    "authentication": ("ignored", "credential", "never", "credential"),
    "permission": ("ignored", "credential", "never", "credential"),
    "quota": ("ignored", "credential", "never", "anywhere"),
    "rate_limit": ("ignored", "credential", "later", "anywhere"),
    "timeout": ("fault", "deployment", "soon", "anywhere"),
    "conflict": ("ignored", "", "soon", "anywhere"),
    "blocked": ("ignored", "", "never", "anywhere"),
    "reply_too_large": ("ignored", "", "never", "nowhere"),
    "too_early": ("fault", "deployment", "soon", "anywhere"),
    "server_error": ("fault", "deployment", "soon", "anywhere"),
    "overloaded": ("fault", "deployment", "soon", "anywhere"),
    "bad_gateway": ("fault", "endpoint", "soon", "anywhere"),
    "unavailable": ("fault", "endpoint", "soon", "anywhere"),
    "gateway_timeout": ("fault", "endpoint", "soon", "anywhere"),
    "bad_payload": ("fault", "deployment", "once", "anywhere"),
    "unreachable": ("fault", "endpoint", "soon", "anywhere"),
    "connect_timeout": ("fault", "endpoint", "soon", "anywhere"),
    "certificate": ("fault", "endpoint", "never", "anywhere"),
    "reset": ("fault", "endpoint", "soon", "anywhere"),
    "first_token_timeout": ("fault", "deployment", "soon", "anywhere"),
    "total_timeout": ("fault", "deployment", "soon", "anywhere"),
    "idle_timeout": ("fault", "deployment", "soon", "anywhere"),
    "cut": ("fault", "deployment", "soon", "anywhere"),
    "mid_stream": ("fault", "deployment", "never", "nowhere"),
    "left": ("ignored", "", "never", "nowhere"),
    "deadline": ("ignored", "", "never", "nowhere"),
    "refused": ("ignored", "", "never", "nowhere"),
}


def test_each_outcome_means_what_the_design_says() -> None:
    rows = {
        reason: (row.kind, row.gate, row.again, row.elsewhere) for reason, row in OUTCOMES.items()
    }
    assert rows == TABLE


def test_only_what_never_left_is_unsent() -> None:
    unsent = {reason for reason, row in OUTCOMES.items() if not row.sent}
    assert unsent == {"unreachable", "connect_timeout", "certificate", "refused"}
    local = {reason for reason, row in OUTCOMES.items() if row.origin == "local"}
    assert local == {"unreachable", "connect_timeout", "certificate"}


def test_what_was_sent_and_has_no_status_may_be_billed() -> None:
    uncertain = {reason for reason, row in OUTCOMES.items() if row.uncertain}
    assert uncertain == {"reset", "first_token_timeout", "total_timeout", "idle_timeout", "cut",
                         "mid_stream"}  # fmt: skip


def test_nothing_is_tried_again_once_content_has_left() -> None:
    committed = [row for row in OUTCOMES.values() if row.committed]
    assert committed == [OUTCOMES["mid_stream"]]
    assert not committed[0].retryable


def test_what_tells_an_adaptive_limit_that_there_was_too_much_at_once() -> None:
    drops = {reason for reason, row in OUTCOMES.items() if row.is_drop}
    assert drops == {"rate_limit", "overloaded", "first_token_timeout"}


def test_a_fault_is_charged_to_the_narrowest_responsible_gate_alone() -> None:
    edge, deployed = OUTCOMES["unavailable"], OUTCOMES["server_error"]
    assert charged(edge, ENDPOINT) == edge
    assert charged(edge, DEPLOYMENT) == ANSWERED
    assert charged(deployed, DEPLOYMENT) == deployed
    assert charged(deployed, ENDPOINT) == ANSWERED
    assert charged(OUTCOMES["unreachable"], DEPLOYMENT) == UNANSWERED


@pytest.mark.parametrize("gate", [ENDPOINT, DEPLOYMENT, CREDENTIAL])
@pytest.mark.parametrize("reason", ["ok", "bad_request", "rate_limit", "left"])
def test_what_is_no_fault_is_the_same_for_every_gate(reason: str, gate: str) -> None:
    assert charged(OUTCOMES[reason], gate) is OUTCOMES[reason]


def test_being_slow_is_the_deployments() -> None:
    slow = timed(GOOD, 61, 60)
    assert charged(slow, DEPLOYMENT) is slow
    assert charged(slow, ENDPOINT) == GOOD
    reset = timed(OUTCOMES["reset"], 61, 60)
    assert charged(reset, DEPLOYMENT) == Outcome("ignored", "unanswered", "silent", slow=True)


@pytest.mark.parametrize(("took_s", "limit_s", "slow"), [(60, 60, False), (60.1, 60, True), (1e9, None, False)])  # noqa: E501 # fmt: skip
def test_slow_is_longer_than_the_limit(took_s: float, limit_s: float | None, slow: bool) -> None:
    assert timed(GOOD, took_s, limit_s).slow is slow
    assert timed(OUTCOMES["left"], took_s, limit_s).slow is slow
    assert timed(GOOD, 1, 60) is GOOD
