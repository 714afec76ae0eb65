"""How an attempt ended, in one value that breaker, retry, fallback and metrics all read. Pure.

`OK`, `FAULT` (the target's) or `IGNORED` (nobody's, or the caller's), which gate it is charged to,
and what may be tried next. The table of outcomes stands in `OUTCOMES`, one row each.
"""

from __future__ import annotations

from msgspec import Struct

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
        """Whether anything may be tried again at the same target."""
        return self.again != NEVER
