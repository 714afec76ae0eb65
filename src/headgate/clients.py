"""Who may call the gateway: reads the keys into memory, knows their holders, keeps strangers off.

From the first key on every call needs one. A key that was seen before costs one look into a table;
a change in the file empties that table, a fraction of a second later, in every process.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from headgate.admission_head import Head
from headgate.budgets import Purses
from headgate.clock import Clock
from headgate.config import Config, KeysConfig
from headgate.core.client import Client, KeyRecord, client_of, read_key
from headgate.core.permits import Refusal
from headgate.core.rate import Rate, RateSettings
from headgate.core.registry import Registry
from headgate.errors import BadRequest, ConfigError, RateLimited, StoreError
from headgate.stores.keys import NO_MAC, KeyStore
from headgate.stores.keys_file import mac_of
from headgate.types import Headers

LOOK_S = 0.25
"""How often the file is looked at: what was revoked is refused a moment later."""
KNOWN_MAX = 10_000
"""Credentials remembered, those that are let in and those that are not, each."""
FAILURES_PER_MIN = 60
"""Of one address; further ones are told to wait."""
_ADDRESSES_MAX = 4_096
_HINT = "send `Authorization: Bearer hg_...` or `x-api-key: hg_...`"
_OPERATOR = "ask the operator of this gateway for a new one"
_NOBODY = KeyRecord("", "", "", NO_MAC, (), 0.0)
_K = TypeVar("_K")
_V = TypeVar("_V")
_LOG = logging.getLogger(__name__)


class _Known(Struct):
    """What is known of keys between two changes of the file."""

    records: Mapping[str, KeyRecord]
    clients: Mapping[str, Client]
    pepper: bytes
    admitted: dict[Headers, Client]
    refused: dict[bytes, tuple[str, str]]
    """By SHA-256 of what was sent: code and message."""


_NOTHING_KNOWN = _Known({}, {}, b"", {}, {})


class Clients:
    """The keys at `settings.path` in this process, whether there are any yet or not.

    Raises ConfigError for a file that cannot be used. `admit` belongs to one event loop.
    """

    def __init__(self, settings: KeysConfig, clock: Clock) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._clock = clock
        self._purses = Purses(clock, takes_unpriced=settings.unpriced == "allow")
        self._failures: Registry[str, Rate] = Registry(_failure_rate, Rate.is_idle, _ADDRESSES_MAX)
        self._known = _NOTHING_KNOWN
        self._store: KeyStore | None = None
        self._version = self._changes = -1
        self._problem = ""
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.required = False
        """Whether a call needs a key: as soon as there has been one, and from then on."""
        try:
            self._look()
        except (ConfigError, StoreError):
            if self._store is not None:
                self._store.close()
            raise

    # Calls.

    def admit(self, head: Head, address: str) -> Head:
        """`head` as its holder's: without the key, which goes no further. `address` is who asks.

        Raises BadRequest (401) for what is no key that works, RateLimited where too much of that
        came from there.
        """
        known = self._known
        client = known.admitted.get(head.credential)
        if client is None:
            client = self._examine(known, head.credential, address)
        elif client.expires_s <= self._clock.epoch():
            raise _unauthorized("key_expired", f"this key has expired: {_OPERATOR}")
        return replace(head, credential=(), client=client)

    def holder(self, key_id: str) -> Client:
        """The holder of a key that is known by its id, as one who has shown it before. Raises
        BadRequest (401) where it does not work any more."""
        record = self._known.records.get(key_id)
        if record is None or record.revoked_s is not None:
            raise _unauthorized("key_revoked", "the key that this was asked with was revoked")
        if record.state(self._clock.epoch()) == "expired":
            raise _unauthorized("key_expired", "the key that this was asked with has expired")
        return self._known.clients[key_id]

    def _examine(self, known: _Known, credential: Headers, address: str) -> Client:
        try:
            client = _found(known, credential, self._clock.epoch())
        except BadRequest:
            self._count_failure(address)
            raise
        _bounded(known.admitted)[credential] = client
        return client

    def _count_failure(self, address: str) -> None:
        """Of this address. A key that works is let in all the same: others may have the address,
        too, and no number of attempts guesses one."""
        now_s = self._clock.monotonic()
        failure = self._failures.get(_network(address), now_s).reserve(0, now_s)
        if isinstance(failure, Refusal):
            raise RateLimited(
                "too many requests with keys that do not work came from this address: wait as "
                "long as Retry-After says",
                retry_after_s=failure.retry_after_s,
            ) from None

    # The file.

    def watch(self) -> None:
        """Follows the file until `close`, by a thread of its own."""
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._follow, name="headgate-keys", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """What the thread does again and again. Never raises: what was known goes on to hold."""
        try:
            with self._looking:
                self._look()
            self._problem = ""
        except (ConfigError, StoreError) as problem:
            if not self._problem:
                _LOG.warning("the file of client keys is not followed: %s", problem.message)
            self._problem = "the file of client keys cannot be read: what was known of it holds"

    def problem(self) -> str:
        """What is wrong just now, for people; "" if nothing is."""
        return self._problem

    @property
    def active(self) -> int:
        """Keys that work now."""
        now_s = self._clock.epoch()
        return sum(it.state(now_s) == "active" for it in self._known.records.values())

    def close(self) -> None:
        """Tells the file what was spent last, and lets go of it. May wait for the disk."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.look()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look()

    def _look(self) -> None:
        store = self._opened()
        if store is None:
            return
        version = store.version()
        has_news = version != self._version
        changes = store.changes() if has_news else self._changes
        if changes != self._changes:
            self._learn(store)
        self._purses.even_out(store, has_news=has_news)
        self._version, self._changes = version, changes

    def _opened(self) -> KeyStore | None:
        """The file that is at the path now; another one may have taken the place of the first."""
        store = self._store
        if store is not None and store.is_there:
            return store
        if not self._path.exists():
            if self.required:
                raise StoreError("the file is gone")
            return None
        opened = KeyStore(self._path, self._settings.pepper.reveal())
        if store is not None:
            store.close()
        self._store, self._version, self._changes = opened, -1, -1
        return opened

    def _learn(self, store: KeyStore) -> None:
        records = {record.id: record for record in store.records()}
        if not records:
            return
        # Before anything that may fail: keys that cannot be verified let nobody in.
        self.required = True
        clients = {
            key: client_of(record, self._purses.of(record)) for key, record in records.items()
        }
        self._known = _Known(records, clients, store.pepper(), {}, {})


def keys_in(settings: KeysConfig) -> list[KeyRecord]:
    """Every key in the file that is configured, none where there is no file. Raises ConfigError
    for a file, or a pepper, that cannot be used."""
    path = Path(settings.path)
    if not path.exists():
        return []
    with KeyStore(path, settings.pepper.reveal()) as store:
        records = store.records()
        if records:
            store.pepper()
        return records


def keyless_providers(config: Config) -> list[str]:
    """Providers that live on what clients send: a client's key is for the gateway, not for them."""
    return [
        name
        for name, provider in config.providers.items()
        if provider.kind != "fake" and not provider.has_key
    ]


def _found(known: _Known, credential: Headers, now_s: float) -> Client:
    """Who sent this. Raises BadRequest (401)."""
    text = _sent_key(credential)
    digest = sha256(text).digest()
    refused = known.refused.get(digest)
    if refused is not None:
        raise _unauthorized(*refused)
    try:
        return _holder(known, text, now_s)
    except BadRequest as error:
        _bounded(known.refused)[digest] = (error.code, error.message)
        raise


def _holder(known: _Known, text: bytes, now_s: float) -> Client:
    spelt = read_key(text)
    if spelt is None:
        raise _unauthorized("key_malformed", f"this is no key of this gateway: {_HINT}")
    record = known.records.get(spelt.id, _NOBODY)
    # Compared for an unknown id, too: how long it takes says nothing of which ids there are.
    if not hmac.compare_digest(mac_of(known.pepper, spelt.text), record.mac):
        raise _unauthorized("key_unknown", f"this key is not known here: {_OPERATOR}")
    state = record.state(now_s)
    if state == "revoked":
        raise _unauthorized("key_revoked", f"this key was revoked: {_OPERATOR}")
    if state == "expired":
        raise _unauthorized("key_expired", f"this key has expired: {_OPERATOR}")
    return known.clients[record.id]


def _sent_key(credential: Headers) -> bytes:
    """The one key among what was sent. Raises BadRequest where there is none, or another one."""
    sent = {_bare(value) for _, value in credential}
    ours = {text for text in sent if text.startswith(b"hg_")}
    if len(ours) > 1:
        raise _unauthorized("key_ambiguous", "two keys were sent: send one")
    if ours:
        return ours.pop()
    if not sent:
        raise _unauthorized("key_missing", f"a key of this gateway is needed: {_HINT}")
    return min(sent)


def _bare(value: bytes) -> bytes:
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()


def _unauthorized(code: str, message: str) -> BadRequest:
    return BadRequest(message, status=401, code=code)


def _failure_rate(address: str | None, now_s: float) -> Rate:
    return Rate(RateSettings(FAILURES_PER_MIN), now_s)


def _network(address: str) -> str:
    """Who is counted as one: an address, or the /64 that a client of IPv6 has for itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return address if found.version == 4 else str(int(found) >> 64)


def _bounded(table: dict[_K, _V]) -> dict[_K, _V]:
    """`table` with room for one more."""
    if len(table) >= KNOWN_MAX:
        del table[next(iter(table))]
    return table
