"""Database files that are never replaced: what is opened, and what is refused.

Where the cache's file would be set aside and begun anew, these say no and what to do.
"""

from __future__ import annotations

from pathlib import Path

import apsw
from msgspec import Struct

from headgate.errors import ConfigError, Problem, StoreError
from headgate.stores.database import (
    BROKEN,
    Form,
    OtherFileError,
    closed_on_failure,
    compare,
    flaw_of,
    folder_locked,
    open_file,
    opening,
)


class KeptFile(Struct, frozen=True):
    """The files of one kind, and what is said of one that cannot be used."""

    form: Form
    key: str
    """Of the configuration, such as `ledger.path`: where such a file is named."""
    noun: str
    advice: str
    """What a damaged one holds, and what to do; `{name}` stands for the name of the file."""

    def open_checked(self, path: Path) -> apsw.Connection:
        """A connection to the file at `path`, made if there is none, read through once.

        Raises ConfigError for a file that is not a whole one of this version, or that cannot be
        opened, with what to do.
        """
        try:
            with folder_locked(path.parent):
                connection = open_file(path, self.form)
            with closed_on_failure(connection):
                self._read_through(connection, path)
        except OtherFileError as other:
            raise self._other(path, other) from other
        except BROKEN as problem:
            raise self._damaged(path, str(problem)) from problem
        except (apsw.Error, OSError, StoreError) as problem:
            message = f"{path} cannot be opened: {problem}; free it, or name another file"
            raise ConfigError([Problem(self.key, message)]) from problem
        return connection

    def open_again(self, path: Path) -> apsw.Connection:
        """A connection to a file that was checked at the start. Raises StoreError."""
        try:
            with folder_locked(path.parent):
                return open_file(path, self.form)
        except (apsw.Error, OSError, OtherFileError) as problem:
            raise StoreError(f"{path}: {problem}") from problem

    def open_to_read(self, path: Path) -> apsw.Connection:
        """A connection that changes nothing. Raises ConfigError as `open_checked` does, and where
        there is no such file."""
        if not path.exists():
            raise ConfigError([Problem(self.key, f"there is no {self.noun} at {path}")])
        try:
            with opening(path) as connection:
                connection.pragma("query_only", True)
                compare(connection, self.form)
        except OtherFileError as other:
            raise self._other(path, other) from other
        except apsw.Error as problem:
            raise self._damaged(path, str(problem)) from problem
        return connection

    def _read_through(self, connection: apsw.Connection, path: Path) -> None:
        flaw = flaw_of(connection)
        if flaw is not None:
            raise self._damaged(path, flaw)

    def _other(self, path: Path, other: OtherFileError) -> ConfigError:
        message = f"{path} is a database of something else: name another file"
        if other.application == self.form.application:
            message = (
                f"{path} was written by another version: its schema is {other.version}, this "
                f"program's is {self.form.version}; run that version, or name another file"
            )
        return ConfigError([Problem(self.key, message)])

    def _damaged(self, path: Path, problem: str) -> ConfigError:
        advice = self.advice.format(name=path.name)
        return ConfigError([Problem(self.key, f"{path} is damaged ({problem}). {advice}")])
