"""Text for logs: without credentials, on one line, of bounded length. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

TEXT_MAX_CHARS = 8_000
"""What is longer is cut, and says so."""
SECRET_MIN_CHARS = 6
"""A shorter secret is no secret, and would be found in ordinary words."""
MASK = "***"
_MARGIN_CHARS = 2_000
"""A credential that begins before the cut is seen whole."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# What looks like a credential, wherever it comes from; each keeps its first group.
_PATTERNS = (
    re.compile(r"\b((?:sk|pk|rk|hg|gsk|xai|sess)[-_])[A-Za-z0-9_\-]{8,}"),
    re.compile(r"\b(AIza)[A-Za-z0-9_\-]{20,}"),
    re.compile(r"(?i)\b((?:bearer|basic)\s{1,4})[A-Za-z0-9._~+/=\-]{6,}"),
    re.compile(
        r"(?i)\b((?:x-)?(?:goog-)?(?:api[-_]?key|authorization|password|secret|token)"
        r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?)(?!bearer|basic|\*)[^\s\"',;&}]{6,}"
    ),
    re.compile(r"(://)[^/@\s]{1,500}(?=@)"),
)


class Redactor:
    """Takes known secrets and whatever looks like one out of a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= SECRET_MIN_CHARS}
        # The longest first: one may begin with another.
        ordered = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def redacted(self, text: str) -> str:
        """`text` without secrets, cut to `TEXT_MAX_CHARS`."""
        is_cut = len(text) > TEXT_MAX_CHARS
        text = text[: TEXT_MAX_CHARS + _MARGIN_CHARS]
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\1{MASK}", text)
        # What is masked makes a text shorter: its end could be half a credential.
        kept = text[: max(0, min(TEXT_MAX_CHARS, len(text) - _MARGIN_CHARS))] if is_cut else text
        return f"{kept}... (cut)" if is_cut else kept


def one_line(text: str) -> str:
    """`text` with every character that could begin a line or steer a terminal spelled out, in
    ASCII."""
    shown = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
    return shown.encode("ascii", "backslashreplace").decode("ascii")
