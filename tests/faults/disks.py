"""Gateways whose cache is a file, and file systems that can be filled. These need root: a test that
is not run by it fails and says so.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lab import config_for

from headgate.config import Config
from headgate.layers.settings import CacheConfig
from headgate.testing import FaultServer


def on_disk(server: FaultServer, path: Path) -> Config:
    """A gateway that keeps nothing but in this file: memory has room for one entry."""
    cache = CacheConfig(persist=True, persist_path=str(path), maxsize=1)
    return replace(config_for(server), cache=cache)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, in memory."""
    assert os.geteuid() == 0, "this test mounts a small file system: run it as root"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
