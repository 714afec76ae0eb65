"""Clients of the gateway: how a key is spelt, what its holder may do, whose calls are whose. Pure.

Nothing in this file can print a key: of one that was given out only its id and a keyed digest
are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from msgspec import Struct

from headgate.core.fingerprint import digest
from headgate.core.rate import RateSettings

PREFIX = "hg_"
ID_BYTES = 8
SECRET_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A tenant's name: it stands in rows, in paths of files and on screens."""
MODELS_MAX = 100
PATTERN_CHARS_MAX = 200

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS, _SECRET_CHARS = 11, 43
_KEY = re.compile(rb"hg_([0-9A-Za-z]{11})_[0-9A-Za-z]{43}")


class KeyRecord(Struct, frozen=True):
    """A key as it is kept. Times are seconds since 1970, money is nano-dollars."""

    id: str
    family: str
    """Id of the first key of a rotation: all of it share limits and budgets."""
    tenant: str
    mac: bytes
    """HMAC-SHA256 over the whole key under the pepper."""
    models: tuple[str, ...]
    """Names that may be asked for; `*` stands for anything."""
    created_s: float
    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    day_nanos: int | None = None
    month_nanos: int | None = None
    expires_s: float | None = None
    revoked_s: float | None = None

    def state(self, now_s: float) -> str:
        """`active`, `revoked` or `expired`."""
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and now_s >= self.expires_s else "active"


class Client(Struct, frozen=True, eq=False):
    """Who makes a call, as far as the call is concerned."""

    id: str
    who: str
    """`TENANT/ID`: what rows of the ledger say."""
    share: bytes
    """Digest of who shares entries with it: the tenant."""
    models: re.Pattern[str]
    shown_models: tuple[str, ...]
    rates: RateSettings | None
    """Its own limits per minute; None: the common ones, for the whole tenant."""
    rated: bytes
    """What the limits per minute are counted by."""
    expires_s: float
    purse: Any = None
    """A `headgate.budgets.Purse`; None where nothing bounds what it spends."""

    def allows(self, model: str) -> bool:
        """Whether it may ask for this model, spelt like this."""
        return self.models.fullmatch(model) is not None


class Spelt(NamedTuple):
    """A key that could be one: its id, and all of it."""

    id: str
    text: bytes


def spell_key(id_bytes: bytes, secret: bytes) -> Spelt:
    """The key with this id and secret, `ID_BYTES` and `SECRET_BYTES` of them from real dice."""
    name = _base62(id_bytes, _ID_CHARS)
    return Spelt(name, f"{PREFIX}{name}_{_base62(secret, _SECRET_CHARS)}".encode())


def read_key(text: bytes) -> Spelt | None:
    """A key in the form that ours have; None for anything else."""
    found = _KEY.fullmatch(text)
    return Spelt(found[1].decode(), text) if found else None


def client_of(record: KeyRecord, purse: Any = None) -> Client:
    """The holder of a key."""
    has_rates = record.requests_per_min is not None or record.tokens_per_min is not None
    rates = RateSettings(record.requests_per_min, record.tokens_per_min) if has_rates else None
    counted = (b"key", record.family.encode()) if has_rates else (b"tenant", record.tenant.encode())
    return Client(
        id=record.id,
        who=f"{record.tenant}/{record.id}",
        share=digest(b"tenant", record.tenant.encode()),
        models=_matching(record.models),
        shown_models=record.models,
        rates=rates,
        rated=digest(*counted),
        expires_s=float("inf") if record.expires_s is None else record.expires_s,
        purse=purse,
    )


def broken_patterns(patterns: Iterable[str]) -> str:
    """What is wrong with a list of models that a key may use, "" if nothing is."""
    names = list(patterns)
    if not names or len(names) > MODELS_MAX:
        return f"between 1 and {MODELS_MAX} models are wanted; '*' is all of them"
    for name in names:
        if not name.isprintable() or not 0 < len(name.strip()) <= PATTERN_CHARS_MAX:
            return f"a model's name has 1 to {PATTERN_CHARS_MAX} printable characters"
    return ""


def _matching(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(_expression, patterns)) or "(?!)", re.DOTALL)


def _expression(pattern: str) -> str:
    """What stands between two stars is taken where it first fits, and that is final: else a long
    name could be tried in more ways than there is time for."""
    first, *others = map(re.escape, re.split(r"\*+", pattern))
    if not others:
        return first
    between = "".join(f"(?>.*?{part})" for part in others[:-1])
    return f"{first}{between}.*{others[-1]}"


def _base62(content: bytes, chars: int) -> str:
    number, digits = int.from_bytes(content, "big"), []
    for _ in range(chars):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
