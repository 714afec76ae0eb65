"""What is to be sent as one batch, on disk: it may be larger than memory should hold."""

from __future__ import annotations

import io
import os
import tempfile
from types import TracebackType
from typing import BinaryIO, Self

from headgate.providers.wire import Upload


class Spooled:
    """A file without a name, gone when it is closed. A context manager; its methods may wait for
    the disk."""

    def __init__(self) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
        self._opened: list[BinaryIO] = []

    @property
    def upload(self) -> Upload:
        """All of it, as a body."""
        return Upload(self._open)

    def close(self) -> None:
        for opened in (*self._opened, self.file):
            opened.close()

    def _open(self) -> BinaryIO:
        self.file.flush()
        # One try follows the other, so they may share the place in the file.
        again = io.BufferedReader(io.FileIO(os.dup(self.file.fileno()), "rb"))
        again.seek(0)
        self._opened.append(again)
        return again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()
