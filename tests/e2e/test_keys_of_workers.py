"""Keys and several processes: a revoked one is refused by each, a budget is one for all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gates import PATIENT, Address
from keyring import a_key, bearer, opened
from programs import Running, children, is_gone, run, running, until

from headgate.config import KeysConfig
from headgate.stores.keys import Made
from headgate.testing import FaultServer

CHAT = "/v1/chat/completions"
PRICE = '[prices."m"]\ninput = "10"\noutput = "20"\n'


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=7) as one:
        yield one


@pytest.fixture
def keys(tmp_path: Path) -> KeysConfig:
    return KeysConfig(str(tmp_path / "headgate-keys.db"))


def body(text: object) -> dict[str, Any]:
    asked = [{"role": "user", "content": str(text)}]
    return {"model": "m", "messages": asked, "max_tokens": 400}


@contextmanager
def two_workers(
    folder: Path, server: FaultServer, *words: str
) -> Iterator[tuple[Running, Address]]:
    (folder / "gate.toml").write_text(
        f'[providers.openai]\nbase_url = "{server.base_url}"\napi_key = "sk-ours"\n{PRICE}{PATIENT}'
    )
    command = ("serve", "--config", "gate.toml", "--port", "0", "--workers", "2", *words)
    with running(*command, cwd=folder, HEADGATE_ADMIN_TOKEN="t0ken") as gateway:
        address = gateway.served()
        until(lambda: address.get("/readyz").status == 200)
        yield gateway, address


def statuses(address: Address, headers: dict[str, str], count: int = 24) -> set[int]:
    """Of so many connections, which the processes share among them."""
    return {address.get("/v1/models", headers).status for _ in range(count)}


def test_every_worker_hears_of_a_key_and_of_its_end(
    tmp_path: Path, server: FaultServer, keys: KeysConfig
) -> None:
    a_key(keys, "first")
    # Other machines may call: with keys nothing else has to be said.
    with two_workers(tmp_path, server, "--host", "0.0.0.0") as (gateway, address):
        made = run("keys", "create", "--tenant", "acme", "--model", "*", cwd=tmp_path)
        headers = bearer(made.stdout.strip())
        until(lambda: statuses(address, headers) == {200})
        assert address.post(CHAT, body("q"), headers).status == 200
        key = made.stdout.split("_")[1]
        assert run("keys", "revoke", key, cwd=tmp_path).returncode == 0
        until(lambda: 200 not in statuses(address, headers))
        assert made.stdout.strip() not in gateway.output


def test_workers_share_a_budget_and_a_killed_one_keeps_nothing_of_it(
    tmp_path: Path, server: FaultServer, keys: KeysConfig
) -> None:
    made = a_key(keys, day_nanos=10_000_000)
    with two_workers(tmp_path, server) as (gateway, address):
        number = 0

        def is_used_up() -> bool:
            nonlocal number
            got = set()
            for _ in range(12):
                number += 1
                got.add(address.post(CHAT, body(number), bearer(made)).status)
            return got == {402}

        until(is_used_up)
        until(lambda: 0 < spent(keys, made) <= 10_000_000)
        killed = children(gateway.process.pid)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: all(map(is_gone, killed)))
        until(lambda: ready(address))
        until(is_used_up)


def spent(keys: KeysConfig, made: Made) -> int:
    """In a day; where another one has just begun, in the dearer of the two."""
    with opened(keys) as store:
        sums = store.spent().get(made.record.family, {})
    return max((nanos for name, nanos in sums.items() if len(name) == len("2026-11-27")), default=0)


def ready(address: Address) -> bool:
    try:
        return address.get("/readyz").status == 200
    except OSError:
        return False
