"""The input of a job on the command line: read as a whole, and copied into the store of jobs, so
that nobody who changes or removes the file changes the job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headgate.admission import Admission
from headgate.clock import SystemClock
from headgate.config import Config, ProviderConfig
from headgate.errors import ConfigError, HeadgateError, Problem, UnknownModel
from headgate.jobs.base import JobStore
from headgate.jobs.ids import job_id
from headgate.jobs.lines import OPERATIONS, Checked, Refusal, check
from headgate.jobs.model import Job, JobOptions
from headgate.layers.settings import policy_of
from headgate.providers.settings import DEFAULT_BASE_URLS
from headgate.types import Policy

_PIECE_BYTES = 1 << 20


class Input:
    """A file of requests, and what was found in it."""

    def __init__(self, path: Path, sha256: str, checked: Checked) -> None:
        self._path, self._sha256 = path, sha256
        self.checked = checked

    @property
    def count(self) -> int:
        """Lines."""
        return len(self.checked.lines)

    @property
    def different(self) -> int:
        """Lines without those that are equal to an earlier one."""
        return self.count - self.checked.followers

    def create(self, store: JobStore, options: JobOptions, deadline_s: float) -> Job:
        """Makes it a job of this machine. Raises HeadgateError where the file has changed."""
        with opened(self._path) as content:
            file = store.add_file("", "batch", self._path.name, _pieces(content))
        if file.sha256 != self._sha256:
            store.remove_file(file.id, "")
            raise HeadgateError(f"{self._path} was changed while it was read")
        now_s = SystemClock().wall()
        job = Job(
            job_id(), "", self.checked.endpoint, file.id, now_s, now_s + deadline_s,
            options=options,
        )  # fmt: skip
        store.create(job, self.checked.lines)
        return store.job(job.id, "") or job


def read_input(path: Path, config: Config) -> Input:
    """Reads all of the file; what is wrong with it is told in `checked`. Raises ConfigError where
    it cannot be read."""
    with opened(path) as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
        content.seek(0)
        return Input(path, sha256, check(content, _Judge(config).judge, config.batch.jobs))


def opened(path: Path) -> BinaryIO:
    """The file. Raises ConfigError."""
    if not path.is_file():
        why = "is no file" if path.exists() else "does not exist"
        raise ConfigError([Problem("", why)], str(path))
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], str(path)) from None


class _Judge:
    """Which models may be asked for: those that lead somewhere, where somebody lets us in."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._admission = Admission(config)

    def judge(self, model: str, endpoint: str) -> Policy | Refusal:
        try:
            name, routes = self._admission.resolve(model, OPERATIONS[endpoint])
        except UnknownModel as error:
            return Refusal(error.code, error.message)
        provider = routes[0].target.provider
        if _is_locked(self._config.providers[provider]):
            message = f"provider {provider!r}, which serves this model, has no key: set "
            return Refusal("provider_key_missing", f"{message}providers.{provider}.api_key")
        return policy_of(self._config.cache, name)


def _is_locked(provider: ProviderConfig) -> bool:
    """Whether it is a vendor's own address, without a key."""
    is_vendor = provider.base_url.rstrip("/") in ("", DEFAULT_BASE_URLS[provider.kind])
    return is_vendor and not provider.has_key


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    while piece := content.read(_PIECE_BYTES):
        yield piece
