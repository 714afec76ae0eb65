"""Why an answer is not kept, or for how long it is. Pure."""

from __future__ import annotations

from headgate.core.verdict import Verdict
from headgate.errors import HeadgateError
from headgate.types import Policy

_REFUSALS = frozenset({"finish_refusal", "finish_content_filter"})


def worth(policy: Policy, ttl_s: float, verdict: Verdict) -> tuple[str, float]:
    """Why the policy of its model does not keep an answer ("" if it does), and how long it lives;
    `ttl_s` is how long any other answer to this call would."""
    if verdict.skip in _REFUSALS and policy.refusal_ttl_s > 0:
        return "", min(ttl_s, policy.refusal_ttl_s)
    if not policy.tool_calls and verdict.calls_tools:
        return verdict.skip or "tool_calls", ttl_s
    return verdict.skip, ttl_s


def reason_of(error: BaseException) -> str:
    """The countable reason why a stream is not kept that did not come to its end."""
    if isinstance(error, GeneratorExit):
        return "abandoned"
    return error.code if isinstance(error, HeadgateError) else "stream_broken"
