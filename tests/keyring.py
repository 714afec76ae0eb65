"""Client keys for tests, made in the file that a gateway reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headgate.config import KeysConfig
from headgate.core.client import KeyRecord
from headgate.stores.keys import KeyStore, Made

NANOS = 1_000_000_000


def a_record(tenant: str = "acme", models: tuple[str, ...] = ("*",), **more: Any) -> KeyRecord:
    """The settings of a key that is still to be made."""
    settings = {"id": "", "family": "", "mac": b"", "created_s": 0.0, **more}
    return KeyRecord(tenant=tenant, models=models, **settings)


def a_key(keys: KeysConfig, tenant: str = "acme", **more: Any) -> Made:
    """A key in the file of `keys`."""
    store = opened(keys)
    made = store.make(a_record(tenant, **more))
    store.close()
    return made


def opened(keys: KeysConfig) -> KeyStore:
    """As another process has it open."""
    return KeyStore(Path(keys.path), keys.pepper.reveal())


def bearer(made: Made | str) -> dict[str, str]:
    """The header that OpenAI's SDK sends."""
    return {"authorization": f"Bearer {made if isinstance(made, str) else made.text}"}
