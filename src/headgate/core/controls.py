"""What a caller may say about the cache: `Cache-Control` and `headgate-*` headers. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from headgate.core.units import parse_duration
from headgate.errors import BadRequest
from headgate.types import Controls

_NAMESPACE = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_NAMES = ("headgate-namespace", "headgate-ttl", "headgate-semantic", "headgate-deadline",
          "headgate-tags")  # fmt: skip
TAGS_MAX = 16
SECONDS_MAX = 10 * 365 * 86_400


def read_controls(headers: Iterable[tuple[bytes, bytes]]) -> Controls:
    """The controls in `headers` (names in lower case).

    Unknown cache directives are ignored, as RFC 9111 section 5.2.3 asks; an unknown or ill-formed
    `headgate-*` header is a BadRequest, because ignoring it would cache against its will.
    """
    said: dict[str, str] = {}
    directives: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip()
        if name == "cache-control":
            directives.update(_directives(value))
        elif name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(_NAMES)}"
            raise BadRequest(f"unknown control header {name[:80]}{hint}")
        else:
            said[name] = value
    if said.get("headgate-semantic", "off").lower() not in ("off", "on"):
        raise BadRequest("headgate-semantic: expected off or on")
    return Controls(
        may_read="no-cache" not in directives and "no-store" not in directives,
        may_store="no-store" not in directives,
        max_age_s=_seconds(directives, "max-age"),
        only_if_cached="only-if-cached" in directives,
        stale_if_error_s=_seconds(directives, "stale-if-error"),
        ttl_s=_duration(said, "headgate-ttl"),
        namespace=_namespace(said),
        tags=_tags(said),
        deadline_s=_duration(said, "headgate-deadline"),
    )


def _directives(value: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in value.split(","))
    return {name.strip().lower(): argument.strip().strip('"') for name, _, argument in pairs}


def _seconds(directives: Mapping[str, str], name: str) -> float | None:
    text = directives.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"Cache-Control: {name} needs whole seconds, got {text[:40]!r}")
    return float(min(int(text[:12]), SECONDS_MAX))


def _duration(said: Mapping[str, str], name: str) -> float | None:
    text = said.get(name)
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from None
    if not 0 < seconds <= SECONDS_MAX:
        raise BadRequest(f"{name}: expected more than 0 seconds, got {text[:40]!r}")
    return seconds


def _namespace(said: Mapping[str, str]) -> str:
    name = said.get("headgate-namespace", "")
    if name and not _NAMESPACE.fullmatch(name):
        raise BadRequest("headgate-namespace: 1 to 128 of the characters A-Z a-z 0-9 . _ : -")
    return name


def _tags(said: Mapping[str, str]) -> tuple[str, ...]:
    tags = tuple(tag.strip() for tag in said.get("headgate-tags", "").split(",") if tag.strip())
    if len(tags) > TAGS_MAX or not all(_NAMESPACE.fullmatch(tag) for tag in tags):
        raise BadRequest(
            f"headgate-tags: at most {TAGS_MAX}, separated by commas, each 1 to 128 of the "
            "characters A-Z a-z 0-9 . _ : -"
        )
    return tags
