"""How an attempt ended, in one value that breaker, retry, fallback and metrics all read. Pure.

`OK`, `FAULT` (the target's) or `IGNORED` (nobody's, or the caller's), which gate it is charged to,
and what may be tried next. The table of outcomes stands in `OUTCOMES`, one row each.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, structs

OK, FAULT, IGNORED = "ok", "fault", "ignored"

REMOTE, LOCAL, SILENT = "remote", "local", "silent"
"""Where an outcome comes from: a byte of the endpoint arrived; we could not reach it; nothing came
that says which."""

ENDPOINT, DEPLOYMENT, CREDENTIAL = "endpoint", "deployment", "credential"
"""Gates, the widest first: (provider, origin); with model and region; (provider, credential)."""

NEVER, ONCE, LATER, SOON = "never", "once", "later", "soon"
"""Whether the same target may be asked again: no; one more time; when it says so and the deadline
allows; after a backoff."""

NOWHERE, ANYWHERE = "nowhere", "anywhere"
OTHER_CREDENTIAL, LONGER_CONTEXT, OTHER_POLICY = "credential", "context", "policy"
"""Whether another target may be asked: no; any; any with another credential; only those that are
configured for a context too long, or for refused content."""


class Outcome(Struct, frozen=True):
    """How one attempt ended."""

    kind: str
    """`OK`, `FAULT` or `IGNORED`: what the breaker counts."""
    reason: str = ""
    """Short countable name: `rate_limit`, `first_token_timeout`, ..."""
    origin: str = REMOTE
    """`REMOTE`, `LOCAL` or `SILENT`."""
    gate: str = ""
    """The narrowest gate responsible; "" where none is."""
    again: str = NEVER
    """`NEVER`, `ONCE`, `LATER` or `SOON`: the same target."""
    elsewhere: str = NOWHERE
    """`NOWHERE`, `ANYWHERE`, `OTHER_CREDENTIAL`, `LONGER_CONTEXT` or `OTHER_POLICY`."""
    slow: bool = False
    """Took longer than the breaker's limit."""
    sent: bool = True
    """Any byte of the request may have reached the provider."""
    uncertain: bool = False
    """Sent and without a final status: it may be billed."""
    committed: bool = False
    """Content had reached the client: nothing may be tried again."""
    retry_after_s: float | None = None
    """How long the provider asks us to wait, finite and >= 0; None if it said nothing."""

    @property
    def retryable(self) -> bool:
        """Whether the same target may be tried again."""
        return self.again != NEVER

    @property
    def is_drop(self) -> bool:
        """Whether it tells an adaptive limit that there was too much at once."""
        return self.reason in ("rate_limit", "overloaded", "first_token_timeout")


def _fault(reason: str, gate: str = DEPLOYMENT, origin: str = REMOTE) -> Outcome:
    return Outcome(FAULT, reason, origin, gate, again=SOON, elsewhere=ANYWHERE)


def _ignored(reason: str, origin: str = REMOTE, elsewhere: str = NOWHERE) -> Outcome:
    return Outcome(IGNORED, reason, origin, elsewhere=elsewhere)


def _closing(reason: str, again: str = NEVER, elsewhere: str = ANYWHERE) -> Outcome:
    return Outcome(IGNORED, reason, gate=CREDENTIAL, again=again, elsewhere=elsewhere)


def _unsent(reason: str, again: str = SOON) -> Outcome:
    return Outcome(FAULT, reason, LOCAL, ENDPOINT, again, ANYWHERE, sent=False)


def _uncertain(reason: str, origin: str, gate: str = DEPLOYMENT, *, slow: bool = False) -> Outcome:
    return Outcome(FAULT, reason, origin, gate, SOON, ANYWHERE, slow, uncertain=True)


OUTCOMES: Mapping[str, Outcome] = {
    outcome.reason: outcome
    for outcome in (
        # A reply with a status.
        Outcome(OK, "ok"),
        _ignored("bad_request"),
        _ignored("context_too_long", elsewhere=LONGER_CONTEXT),
        _ignored("content_filter", elsewhere=OTHER_POLICY),
        _ignored("too_large", elsewhere=ANYWHERE),
        _closing("authentication", elsewhere=OTHER_CREDENTIAL),
        _closing("permission", elsewhere=OTHER_CREDENTIAL),
        _closing("quota"),
        _closing("rate_limit", LATER),
        _fault("timeout"),
        # A lock that the caller's own other request holds, say: no sign of an outage.
        Outcome(IGNORED, "conflict", again=SOON, elsewhere=ANYWHERE),
        # A page in front of the provider that dislikes this request: no word about the key.
        _ignored("blocked", elsewhere=ANYWHERE),
        _ignored("reply_too_large"),
        _fault("too_early"),
        _fault("server_error"),
        _fault("overloaded"),
        _fault("bad_gateway", ENDPOINT),
        _fault("unavailable", ENDPOINT),
        _fault("gateway_timeout", ENDPOINT),
        Outcome(FAULT, "bad_payload", gate=DEPLOYMENT, again=ONCE, elsewhere=ANYWHERE),
        # No reply, or not a whole one.
        _unsent("unreachable"),
        _unsent("connect_timeout"),
        _unsent("certificate", NEVER),
        _uncertain("reset", SILENT, ENDPOINT),
        _uncertain("first_token_timeout", SILENT, slow=True),
        _uncertain("total_timeout", SILENT, slow=True),
        _uncertain("idle_timeout", REMOTE),
        _uncertain("cut", REMOTE),
        Outcome(FAULT, "mid_stream", gate=DEPLOYMENT, uncertain=True, committed=True),
        # Nothing that the target did.
        _ignored("left", SILENT),
        _ignored("deadline", SILENT),
        Outcome(IGNORED, "refused", SILENT, sent=False),
    )
}
"""What each way to end means, by its reason. A reason that is not here is a fault of a callable."""

GOOD = OUTCOMES["ok"]
ANSWERED = Outcome(IGNORED, "answered")
UNANSWERED = Outcome(IGNORED, "unanswered", SILENT)


def charged(outcome: Outcome, gate: str) -> Outcome:
    """What `gate` is told. A fault is the narrowest responsible gate's alone: for the others it is
    neither good nor bad. Being slow is the deployment's."""
    slow = outcome.slow and gate == DEPLOYMENT
    if outcome.kind == FAULT and outcome.gate != gate:
        outcome = ANSWERED if outcome.origin == REMOTE else UNANSWERED
        return structs.replace(outcome, slow=True) if slow else outcome
    return outcome if outcome.slow == slow else structs.replace(outcome, slow=slow)


def timed(outcome: Outcome, took_s: float, limit_s: float | None) -> Outcome:
    """The outcome, marked slow if it took longer than `limit_s` (None: nothing is slow).

    For a stream `took_s` is the time to its first token, or to its end if none came.
    """
    if limit_s is None or took_s <= limit_s or outcome.slow:
        return outcome
    return structs.replace(outcome, slow=True)
