"""Jobs of `headgate serve` over several workers, restarts and reloads: whatever happens to the
process that works on one, it is done, and each line once.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batchgates import CHAT, FORM, form, key, lines
from gates import Address
from programs import is_gone, running, until
from workerpair import Workers

from headgate.testing import Delay, FaultServer

ME = key("me")
COUNT = 60
PATIENCE_S = 60.0
"""A lease of ten seconds may have to end first."""
IDS = [f"line-{number}" for number in range(COUNT)]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as started:
        started.script(Delay(0.1), times=None)
        yield started


@pytest.fixture
def folder(tmp_path: Path, server: FaultServer) -> Path:
    (tmp_path / "gate.toml").write_text(
        f'[server]\nport = 0\n[cache]\npersist = true\n[batch.jobs]\nconcurrency = 4\n'
        f'[providers.openai]\nbase_url = "{server.base_url}"\napi_key = "sk-own"\n'
    )  # fmt: skip
    return tmp_path


def begun(address: Address) -> str:
    """A batch that takes a second and a half at least."""
    file = address.ask("POST", "/v1/files", form(lines(COUNT)), {**FORM, **ME}).json["id"]
    wanted = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    return str(address.post("/v1/batches", wanted, ME).json["id"])


def shown(address: Address, batch: str) -> Any:
    return address.get(f"/v1/batches/{batch}", ME).json


def answers(address: Address, batch: str) -> list[str]:
    """The ids of all lines that were answered, in the order of the output file."""
    until(lambda: shown(address, batch)["status"] == "completed", PATIENCE_S)
    content = address.get(f"/v1/files/{shown(address, batch)['output_file_id']}/content", ME).body
    return [json.loads(one)["custom_id"] for one in content.splitlines()]


def asked(server: FaultServer) -> Counter[str]:
    """How often each line was asked."""
    return Counter(call.body["messages"][0]["content"] for call in server.calls)


def test_a_job_outlives_the_worker_that_works_on_it(folder: Path, server: FaultServer) -> None:
    words = ("serve", "--config", "gate.toml", "--workers", "2")
    with running(*words, cwd=folder) as gateway:
        workers = Workers(gateway)
        first, second = workers.pids
        with workers.only(first) as address:
            batch = begun(address)
            until(lambda: shown(address, batch)["request_counts"]["completed"] > 3)
        with workers.only(second) as address:
            assert shown(address, batch)["status"] == "in_progress"
            os.kill(first, signal.SIGKILL)
        until(lambda: is_gone(first))
        address = gateway.served()
        assert answers(address, batch) == IDS
        assert set(asked(server)) == set(IDS)
        assert max(asked(server).values()) <= 2
        assert gateway.end() == 0
    assert "Traceback" not in gateway.output


def test_a_job_goes_on_when_the_gateway_is_started_again(folder: Path, server: FaultServer) -> None:
    with running("serve", "--config", "gate.toml", cwd=folder) as gateway:
        address = gateway.served()
        batch = begun(address)
        until(lambda: shown(address, batch)["request_counts"]["completed"] > 3)
        assert gateway.end() == 0
        assert "Traceback" not in gateway.output
    before = len(server.calls)
    assert before < COUNT
    with running("serve", "--config", "gate.toml", cwd=folder) as gateway:
        address = gateway.served()
        assert answers(address, batch) == IDS
    # What was under way when it was told to end was waited for: nothing is asked, or paid, twice.
    assert asked(server) == Counter(IDS)


def test_a_job_goes_on_under_a_configuration_that_is_reloaded(
    folder: Path, server: FaultServer
) -> None:
    with running("serve", "--config", "gate.toml", cwd=folder) as gateway:
        address = gateway.served()
        batch = begun(address)
        until(lambda: shown(address, batch)["request_counts"]["completed"] > 3)
        text = (folder / "gate.toml").read_text()
        (folder / "gate.toml").write_text(text.replace("concurrency = 4", "concurrency = 8"))
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: (address.get("/readyz").json["reload"] or {}).get("succeeded"))
        assert answers(address, batch) == IDS
        assert gateway.end() == 0
        assert "Traceback" not in gateway.output
    assert asked(server) == Counter(IDS)


def test_a_second_sigterm_does_not_wait_for_a_job(folder: Path, server: FaultServer) -> None:
    server.clear()
    server.script(Delay(60), times=None)
    with running("serve", "--config", "gate.toml", cwd=folder) as gateway:
        address = gateway.served()
        batch = begun(address)
        until(lambda: len(server.calls) == 4)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: _refuses(address))
        assert gateway.end() == 0
        assert "Traceback" not in gateway.output
    server.clear()
    with running("serve", "--config", "gate.toml", cwd=folder) as gateway:
        assert answers(gateway.served(), batch) == IDS


def _refuses(address: Address) -> bool:
    try:
        address.get("/readyz")
    except OSError:
        return True
    return False
