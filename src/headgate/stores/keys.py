"""Client keys on disk: made, ended and listed, by any process; and what they have spent.

Nothing here is on the path of a call: a gateway reads all keys into memory and looks a few times a
second whether anything has changed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import apsw
from msgspec.structs import replace

from headgate.clock import secret_bytes
from headgate.core.client import ID_BYTES, SECRET_BYTES, KeyRecord, spell_key
from headgate.errors import StoreError
from headgate.stores import keys_rows
from headgate.stores.database import identity_of
from headgate.stores.keys_file import (
    KEYS,
    check_of,
    is_pepper,
    mac_of,
    read_pepper,
    wrong_pepper,
)

NO_MAC = bytes(32)


class Made(NamedTuple):
    """A key that was just made; `text` is told once and never kept."""

    record: KeyRecord
    text: str


class Spending(NamedTuple):
    """Nano-dollars by family."""

    spent: Mapping[str, Mapping[str, int]]
    """By day and month."""
    held_elsewhere: Mapping[str, int]


class KeyStore:
    """The file of keys at `path`, made if there is none. Safe from any thread; a context manager.

    Raises ConfigError for a file that cannot be used, and StoreError where the disk fails later.
    """

    def __init__(self, path: Path, pepper: str = "") -> None:
        self.path = Path(os.path.realpath(path))
        self._configured = pepper
        self._lock = threading.Lock()
        self._connection = KEYS.open_checked(self.path)
        self._identity = identity_of(self.path)

    @property
    def is_there(self) -> bool:
        """Whether the file at the path is still the one that was opened."""
        return identity_of(self.path) == self._identity

    def records(self) -> list[KeyRecord]:
        """Every key that was ever made, the oldest first."""
        with self._reading() as connection:
            return keys_rows.records(connection)

    def changes(self) -> int:
        """A number that is another one after every change of a key."""
        with self._reading() as connection:
            return keys_rows.changes(connection)

    def pepper(self) -> bytes:
        """What the keys were made under. Raises ConfigError where it is lost, or another one."""
        with self._reading() as connection:
            check = keys_rows.pepper_check(connection)
        pepper = read_pepper(self.path, self._configured)
        if not is_pepper(pepper, check):
            raise wrong_pepper()
        return pepper

    def make(self, wanted: KeyRecord) -> Made:
        """A key with the settings of `wanted`, whose id and digest are not yet known; without a
        family it begins one. Raises ConfigError where the pepper is lost."""
        with self._writing() as connection:
            return self._make(connection, wanted)

    def rotate(self, key: str, *, now_s: float, overlap_s: float) -> Made | None:
        """A key in the place of `key`, which works for `overlap_s` more; None where there is no
        active key of that id."""
        with self._writing() as connection:
            known = {record.id: record for record in keys_rows.records(connection)}.get(key)
            if known is None or known.state(now_s) != "active":
                return None
            made = self._make(connection, replace(known, created_s=now_s))
            keys_rows.shorten(connection, key, expires_s=now_s + overlap_s)
            return made

    def revoke(self, key: str, now_s: float) -> bool:
        """Whether there was such a key that was not revoked."""
        with self._writing() as connection:
            return keys_rows.end(connection, key, revoked_s=now_s)

    def spent(self) -> Mapping[str, Mapping[str, int]]:
        """Nano-dollars by family, and day and month."""
        with self._reading() as connection:
            return keys_rows.spent(connection)

    def version(self) -> int:
        """A number that is another one when another process, or store, has written to the file."""
        with self._reading() as connection:
            return int(connection.pragma("data_version"))

    def tell(
        self,
        process: str,
        spent: Mapping[str, Mapping[str, int]],
        holds: Iterable[tuple[str, int]],
        *,
        now_s: float,
        lease_s: float,
    ) -> Spending:
        """Adds what this process has spent, says what it has reserved (for `lease_s`, unless it is
        said again), and returns what all have."""
        with self._writing() as connection:
            for family, amounts in spent.items():
                keys_rows.spend(connection, family, amounts)
            keys_rows.forget_held(connection, now_s)
            keys_rows.hold(connection, process, holds, now_s + lease_s)
            return _spending(connection, process, now_s)

    def hear(self, process: str, now_s: float) -> Spending:
        """What all have spent and reserved."""
        with self._reading() as connection:
            return _spending(connection, process, now_s)

    def close(self) -> None:
        """Further calls raise StoreError."""
        with self._lock:
            self._connection.close(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self, connection: apsw.Connection, wanted: KeyRecord) -> Made:
        check = keys_rows.pepper_check(connection)
        pepper = read_pepper(self.path, self._configured, make=check is None)
        if not is_pepper(pepper, check):
            raise wrong_pepper()
        if check is None:
            keys_rows.keep_pepper_check(connection, check_of(pepper))
        spelt = spell_key(secret_bytes(ID_BYTES), secret_bytes(SECRET_BYTES))
        record = replace(
            wanted, id=spelt.id, family=wanted.family or spelt.id, mac=mac_of(pepper, spelt.text)
        )
        keys_rows.insert(connection, record)
        return Made(record, spelt.text.decode())

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        with self._lock:
            try:
                yield self._connection
            except apsw.Error as problem:
                raise StoreError(f"{self.path}: {problem}") from problem

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """All of the block, or nothing of it."""
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


def _spending(connection: apsw.Connection, process: str, now_s: float) -> Spending:
    elsewhere = keys_rows.held_elsewhere(connection, process, now_s)
    return Spending(keys_rows.spent(connection), elsewhere)
