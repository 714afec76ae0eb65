"""Real gateways in front of a real (fake) provider, on loopback sockets.

`gate` runs in a thread of this process, for speed; `start_process` starts the command that users
type. Both speak HTTP through uvicorn, exactly as in production.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from gates import ONE_ATTEMPT, PATIENT, Address, Gate, providers_at
from programs import PROGRAM, SERVES, until

from headgate.config import Config
from headgate.layers.settings import CacheConfig
from headgate.testing import FakeProvider

ROOT = Path(__file__).parents[2]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def open_gate(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[Config], Gate]]:
    """Opens gateways; whatever a test does to them, none may log an exception."""
    gates: list[Gate] = []

    def open_one(config: Config) -> Gate:
        gates.append(Gate(config))
        return gates[-1]

    yield open_one
    for gate in gates:
        gate.close()
    assert not [record for record in caplog.get_records("call") if record.exc_info]


@pytest.fixture(scope="session")
def legacy_python() -> str:
    """The interpreter of the older SDKs. Its absence is a failure, not a skip."""
    named = os.environ.get("HEADGATE_LEGACY_PYTHON", "")
    found = Path(named) if named else ROOT / ".venv-legacy" / "bin" / "python"
    assert found.exists(), f"{found} does not exist: run `make test`, which installs older SDKs"
    return str(found)


@pytest.fixture
def open_gate_to(
    open_gate: Callable[[Config], Gate], provider: FakeProvider
) -> Callable[..., Gate]:
    """Opens a gateway in front of `provider` that asks it once; other keywords are those of a
    provider's settings."""

    def open_one(key: str = "", cache: CacheConfig | None = None, **more: Any) -> Gate:
        providers = providers_at(provider, key, **more)
        return open_gate(Config(cache=cache or CacheConfig(), providers=providers, **ONE_ATTEMPT))

    return open_one


@pytest.fixture
def gate(open_gate_to: Callable[..., Gate]) -> Gate:
    """A gateway without credentials of its own in front of `provider`."""
    return open_gate_to()


class Process(Address):
    """`headgate serve` as a process of its own."""

    def __init__(self, config_file: Path, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        # A port that the test chose might be another process's by now.
        command = [PROGRAM, "serve", "--config", str(config_file), "--port", "0"]
        with log.open("wb") as output:
            self.running = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **environment}
            )
        try:
            super().__init__(self._port())
            until(lambda: self.get("/readyz").status == 200)
        except (AssertionError, OSError):
            self.close()
            raise

    def output(self) -> str:
        """What it has printed so far, standard error included."""
        return self.log.read_text("utf-8", "replace")

    def close(self) -> None:
        if self.running.poll() is None:
            self.running.kill()
        self.running.wait(60)

    def _port(self) -> int:
        """Where it listens, once it says so."""
        until(lambda: SERVES.search(self.output()) or self.running.poll() is not None)
        found = SERVES.search(self.output())
        assert found, f"headgate serve did not get ready:\n{self.output()}"
        return int(found[1])


@pytest.fixture
def start_process(tmp_path: Path, provider: FakeProvider) -> Iterator[Callable[..., Process]]:
    """Starts gateways in front of `provider`; `toml` is put in front of its configuration."""
    started: list[Process] = []

    def start(toml: str = "", **environment: str) -> Process:
        number = len(started)
        config_file = tmp_path / f"headgate-{number}.toml"
        blocks = (
            f'[providers.openai]\nbase_url = "{provider.base_url}"\n'
            f'[providers.anthropic]\nkind = "anthropic"\n'
            f'base_url = "{provider.anthropic_base_url}"\n'
        )
        config_file.write_text(f"{toml}\n{PATIENT}{blocks}", "utf-8")
        started.append(Process(config_file, tmp_path / f"log-{number}", environment))
        return started[-1]

    yield start
    for process in started:
        process.close()
