"""A configuration read anew: whole or not at all, and what a running process keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import forget_settings

from headgate.config import Config, ServerConfig
from headgate.errors import ConfigError, StoreError
from headgate.layers.settings import BreakerConfig
from headgate.runtime import Runtime
from headgate.surfaces.reload import Reload, Source, kept
from headgate.types import Secret

PROVIDER = '[providers.fake]\nkind = "fake"\n'
CHAT = "/v1/chat/completions"
LOCAL = {"host": "localhost"}


def body(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


class Scene:
    """A gateway, the file it is configured by, and what it said."""

    def __init__(self, open_door: Callable[..., Any], file: Path) -> None:
        self.file = file
        self.write("")
        source = Source(file).read()
        self.door = open_door(source.config())
        self.said: list[str] = []
        self._reload = Reload(self.door.gateway, source, self.said.append)

    def write(self, toml: str) -> None:
        self.file.write_text(toml + PROVIDER)

    def reload(self) -> dict[str, Any]:
        """What /readyz says of it."""
        self.door.run(self._reload.perform())
        got = self.door.get("/readyz")
        assert got.status == 200
        told: dict[str, Any] = got.json
        return told

    def ask(self, text: str = "q") -> str:
        got = self.door.post(CHAT, body(text))
        assert got.status == 200
        status: str = got.headers["cache-status"]
        return status

    @property
    def config(self) -> Config:
        config: Config = self.door.gateway.runtime.config
        return config


@pytest.fixture
def scene(open_door: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    forget_settings(monkeypatch)
    return Scene(open_door, tmp_path / "gate.toml")


def test_a_good_file_is_in_use_at_once_and_is_said_to_be(scene: Scene) -> None:
    scene.write("[cache]\nttl = '7s'\n")
    told = scene.reload()
    assert scene.config.cache.ttl == 7.0
    assert (told["warnings"], told["reload"]["succeeded"]) == ([], True)
    assert scene.said == ["reloaded the configuration"]
    assert "ttl=7" in scene.ask() or "stored" in scene.ask("other")


EXPOSED = '[server]\nhost = "0.0.0.0"\ninsecure_open = true\n'


@pytest.mark.parametrize(
    ("toml", "place"),
    [("[cache]\nttl = 'soon'\n", "line 2: cache.ttl"), ("[sever]\n", "line 1: sever"),
     ("[[[", "line 1"), (EXPOSED, "server.admin_token")],
)  # fmt: skip
def test_a_bad_file_changes_nothing_and_is_said_to_be_bad(
    scene: Scene, toml: str, place: str
) -> None:
    before = scene.door.gateway.runtime
    scene.write(toml)
    told = scene.reload()
    assert scene.door.gateway.runtime is before
    assert told["reload"]["problems"] == [place]
    assert told["warnings"]
    assert scene.said[0].startswith("not reloaded, the configuration before stays in use:\n")
    assert "soon" not in str(told), "anybody may read it"
    scene.ask()


class Contradicting(Source):
    """A source whose settings are each right, and cannot be used."""

    def config(self) -> Config:
        return Config(breaker=BreakerConfig(window=math.inf))


def test_settings_that_only_a_runtime_finds_wrong_change_nothing(scene: Scene) -> None:
    reload = Reload(scene.door.gateway, Contradicting(scene.file), scene.said.append)
    scene.door.run(reload.perform())
    assert scene.said[0].startswith("not reloaded")
    assert scene.door.get("/readyz").json["reload"]["problems"] == ["window_s"]
    assert scene.ask()


@pytest.mark.parametrize("error", [StoreError("no room"), OSError("too many open files")])
def test_what_fails_on_the_way_to_a_new_runtime_changes_nothing(
    scene: Scene, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runtime: Runtime, config: Config) -> Runtime:
        raise error

    before = scene.door.gateway.runtime
    monkeypatch.setattr(Runtime, "successor", fail)
    told = scene.reload()
    assert scene.door.gateway.runtime is before
    assert told["reload"]["succeeded"] is False
    assert str(error) in scene.said[0]
    assert scene.ask()


def test_a_file_that_is_gone_changes_nothing(scene: Scene) -> None:
    scene.file.unlink()
    assert scene.reload()["reload"]["problems"] == ["the file cannot be read"]
    scene.ask()


def test_memory_and_numbers_go_on(scene: Scene) -> None:
    scene.ask()
    scene.write("[cache]\nttl = '2h'\n[server]\ndrain_timeout = '1s'\n")
    scene.reload()
    assert "; hit; " in scene.ask()
    numbers = scene.door.get("/api/metrics/llm").json
    assert (numbers["cache"]["hits"], numbers["cache"]["misses"]) == (1, 1)
    assert numbers["metrics"]["total_calls"] == 2
    assert numbers["reload"]["count"] == 1


def test_what_was_not_stored_is_counted_on(scene: Scene) -> None:
    scene.door.post(CHAT, body("q"), {**LOCAL, "cache-control": "no-store"})
    scene.write("[cache]\nentry_max_bytes = '1KB'\n")
    scene.reload()
    assert scene.door.get("/api/metrics/llm").json["cache"]["not_stored"] == {"no_store": 1}


def test_a_smaller_body_limit_holds_from_the_next_request_on(scene: Scene) -> None:
    scene.write("[server]\nbody_max_bytes = 1024\n")
    scene.reload()
    assert scene.door.post(CHAT, body("x" * 2000)).status == 413


def test_an_admin_token_holds_from_the_next_request_on(scene: Scene) -> None:
    scene.write("[server]\nadmin_token = 't0ken'\n")
    scene.reload()
    outside = {"authorization": "Bearer t0ken", "host": "x"}
    assert scene.door.get("/api/metrics/llm", outside, client=("10.0.0.5", 1)).status == 200


def test_port_and_workers_need_a_restart_and_it_says_so(scene: Scene) -> None:
    scene.write("[server]\nport = 1\nworkers = 3\n")
    told = scene.reload()
    assert told["reload"]["needs_restart"] == ["server.port", "server.workers"]
    assert (scene.config.server.port, scene.config.server.workers) == (4000, 1)
    assert any("server.port keeps its value" in line for line in scene.said)


def test_client_keys_stay_where_they_are(scene: Scene) -> None:
    scene.write('[keys]\npath = "others.db"\n')
    assert scene.reload()["reload"]["needs_restart"] == ["keys"]
    assert scene.config.keys.path == "headgate-keys.db"


def test_jobs_stay_where_they_are(scene: Scene) -> None:
    before = scene.config.batch.jobs.path
    scene.write('[batch.jobs]\npath = "other.db"\nconcurrency = 3\n')
    scene.reload()
    assert (scene.config.batch.jobs.path, scene.config.batch.jobs.concurrency) == (before, 3)
    assert any("batch.jobs.path keeps its value" in line for line in scene.said)


def test_whether_there_are_spans_is_decided_at_the_start(scene: Scene) -> None:
    scene.write("[metrics]\notel = true\n")
    assert scene.reload()["reload"]["needs_restart"] == ["metrics.otel"]
    assert not scene.config.metrics.otel


def test_the_address_that_is_listened_on_decides_who_is_trusted_not_the_new_one() -> None:
    now = Config(server=ServerConfig(host="0.0.0.0", admin_token=Secret("t")))
    config, needs_restart = kept(now, Config())
    assert config.server.host == "0.0.0.0"
    assert needs_restart == ("server.host",)


def test_an_exposed_server_keeps_its_configuration_when_the_new_one_has_no_token(
    open_door: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_settings(monkeypatch)
    file = tmp_path / "gate.toml"
    file.write_text(PROVIDER)
    exposed = ServerConfig(host="0.0.0.0", admin_token=Secret("t"))
    door = open_door(Config(server=exposed))
    door.run(Reload(door.gateway, Source(file), lambda line: None).perform())
    assert door.gateway.runtime.config.server is exposed
    problems = door.get("/readyz").json["reload"]["problems"]
    assert problems == ["server.admin_token", "server.host"]


def test_what_the_command_line_said_wins_again(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(f"[server]\nport = 5\n{PROVIDER}")
    assert Source(file, {"port": 7}).read().config().server.port == 7


def test_a_source_keeps_what_it_has_read(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(f"[cache]\nmaxsize = 5\n{PROVIDER}")
    source = Source(file).read()
    file.write_text("[[[")
    assert source.config().cache.maxsize == 5
    with pytest.raises(ConfigError):
        source.read().config()


def test_without_a_file_the_environment_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)
    source = Source().read()
    assert [*source.config().providers] == ["fake"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert [*source.read().config().providers] == ["openai"]
