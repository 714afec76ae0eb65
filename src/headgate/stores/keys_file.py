"""The database file of client keys, and the pepper beside it.

It decides who is let in. Without the pepper the digests in it are worth nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from pathlib import Path

from headgate.clock import secret_bytes
from headgate.errors import ConfigError, Problem
from headgate.stores import keys_rows
from headgate.stores.database import Form
from headgate.stores.database_kept import KeptFile

APPLICATION_ID = 0x48474B59
"""`HGKY`."""
SCHEMA_VERSION = 1
KEYS = KeptFile(
    Form(APPLICATION_ID, SCHEMA_VERSION, keys_rows.SCHEMA),
    key="keys.path",
    noun="file of keys",
    advice="It says who may make calls and what they have spent, so it is not replaced. Restore it "
    "from a backup; or move it away, with its -wal and -shm, and give out new keys",
)
PEPPER_BYTES = 32
PEPPER_CHARS_MIN = 32
_PEPPER = "keys.pepper"


def mac_of(pepper: bytes, text: bytes) -> bytes:
    """What is kept of a key: HMAC-SHA256 (32 bytes)."""
    return hmac.digest(pepper, text, "sha256")


def check_of(pepper: bytes) -> bytes:
    """Tells a pepper from another one, and says nothing else of it."""
    return mac_of(pepper, b"headgate: is this the pepper of these keys?")


def pepper_file(path: Path) -> Path:
    """Where the pepper of the keys at `path` lies."""
    return path.with_name(f"{path.name}.pepper")


def read_pepper(path: Path, configured: str, *, make: bool = False) -> bytes:
    """The pepper of the keys at `path`: what the configuration says, else what the file beside it
    holds, which is made where `make` and there is none. Raises ConfigError, never with the text."""
    if configured:
        if len(configured) < PEPPER_CHARS_MIN:
            message = f"too short: at least {PEPPER_CHARS_MIN} random characters are wanted"
            raise ConfigError([Problem(_PEPPER, message)])
        return hashlib.sha256(configured.encode("utf-8", "surrogateescape")).digest()
    file = pepper_file(path)
    try:
        if make:
            _make_pepper(file)
        pepper = bytes.fromhex(file.read_text("ascii").strip())
    except FileNotFoundError:
        raise ConfigError([Problem(_PEPPER, _lost(file))]) from None
    except (OSError, ValueError):
        message = f"{file} cannot be read as a pepper: restore it from a backup"
        raise ConfigError([Problem(_PEPPER, message)]) from None
    if len(pepper) != PEPPER_BYTES:
        raise ConfigError([Problem(_PEPPER, f"{file} is not whole: restore it from a backup")])
    return pepper


def is_pepper(pepper: bytes, check: bytes | None) -> bool:
    """Whether keys with this check were made under `pepper`; any will do for the first one."""
    return check is None or hmac.compare_digest(check, check_of(pepper))


def wrong_pepper() -> ConfigError:
    """The keys in the file were made under another one."""
    return ConfigError([Problem(
        _PEPPER,
        "the keys were made under another pepper, and none of them would be known. Set the one "
        "that they were made with; or move the file of keys away and make new keys",
    )])  # fmt: skip


def _make_pepper(file: Path) -> None:
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{secret_bytes(PEPPER_BYTES).hex()}\n")
            opened.flush()
            os.fsync(opened.fileno())


def _lost(file: Path) -> str:
    return (
        f"there is no {file}, without which no key is known. Restore it from a backup, or set "
        "keys.pepper; or move the file of keys away and make new keys"
    )
