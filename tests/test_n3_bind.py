"""`headgate.n3.bind`: the stand-in of a backend that N3 built (tests/n3app), joined by one line,
before a provider on a loopback socket.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from headgate import n3
from headgate.config import Config
from headgate.errors import ConfigError
from headgate.n3_bind import configured, generated_runtime
from headgate.providers.settings import ModelConfig, ProviderConfig
from headgate.testing import Answer, FaultServer, Status, alias_of
from headgate.types import Secret

ASKED = {"prompt": "Capital of France?"}


def loaded(name: str) -> Any:
    """A module of the stand-in, new."""
    again = ("n3app.main", "n3app.generated", "n3app.custom")
    for known in [known for known in sys.modules if known.startswith(again)]:
        del sys.modules[known]
    return importlib.import_module(name)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with FaultServer() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
        monkeypatch.setenv("LATE_KEY", "sk-late")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.anthropic_base_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-ours")
        yield running
        n3.configure({})


@pytest.fixture
def client(server: FaultServer) -> Iterator[TestClient]:
    app = loaded("n3app.main").app
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50_000)) as opened:
        yield opened


def runtime() -> Any:
    return sys.modules["n3app.generated.runtime"]


def test_a_route_of_n3_asks_once_with_everything_that_the_app_declares(
    client: TestClient, server: FaultServer
) -> None:
    server.script(Answer(text="Paris"))
    first, second = (client.post("/api/llm/fast", json=ASKED) for _ in range(2))
    assert first.json() == second.json()
    assert (first.json()["text"], first.json()["provider"]) == ("Paris", "openai")
    assert first.json()["usage"]["total_tokens"] > 0
    (call,) = server.calls
    assert call.body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Capital of France?"},
        ],
        "temperature": 0.2,
        "max_tokens": 64,
    }
    assert call.headers["authorization"] == alias_of("sk-ours")


def test_what_a_request_sets_replaces_what_the_app_declares(
    client: TestClient, server: FaultServer
) -> None:
    client.post("/api/llm/fast", json={**ASKED, "temperature": 0.9, "tenant": "a"})
    body = server.calls[0].body
    assert (body["temperature"], body["max_tokens"]) == (0.9, 64)
    assert "tenant" not in body
    assert "prompt" not in body


def test_every_provider_is_asked_in_its_own_dialect(
    client: TestClient, server: FaultServer
) -> None:
    client.post("/api/llm/claude", json=ASKED)
    (call,) = server.calls
    assert call.path == "/v1/messages"
    assert call.body["max_tokens"] == 9
    assert call.headers["x-api-key"] == alias_of("sk-ant-ours")


def test_a_model_that_n3_could_not_make_is_made(client: TestClient, server: FaultServer) -> None:
    assert client.post("/api/llm/late", json=ASKED).status_code == 200
    assert server.calls[0].headers["authorization"] == alias_of("sk-late")
    assert runtime()._REGISTRY.models["late"] is runtime()._LLM_INSTANCES["late"]


def test_a_model_of_an_unknown_provider_is_left_alone_and_named_in_the_log(
    server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    loaded("n3app.main")
    assert runtime()._LLM_INSTANCES["far"].generate("x").text == "unjoined: x"
    assert any("'far'" in record.getMessage() for record in caplog.records)


def test_twenty_equal_calls_at_once_are_one(client: TestClient, server: FaultServer) -> None:
    """In the original they are twenty."""

    async def at_once() -> list[Any]:
        asked = (runtime().call_llm("fast", ASKED) for _ in range(20))
        return list(await asyncio.gather(*asked))

    texts = {reply["text"] for reply in asyncio.run(at_once())}
    assert len(texts) == 1
    assert len(server.calls) == 1


def test_a_stream_is_recorded_and_replayed(client: TestClient, server: FaultServer) -> None:
    server.script(Answer(text="one two three"))
    texts = [client.post("/api/stream/fast", json=ASKED).text for _ in range(2)]
    assert texts == ["one two three"] * 2
    assert client.post("/api/llm/fast", json=ASKED).json()["text"] == "one two three"
    assert len(server.calls) == 1


def test_an_error_of_the_provider_is_an_http_error(client: TestClient, server: FaultServer) -> None:
    """In the original it comes back with status 200, and is cached."""
    server.script(Status(400))
    refused = client.post("/api/llm/fast", json=ASKED)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "upstream_error"
    assert client.post("/api/llm/fast", json=ASKED).status_code == 200


def test_the_breaker_of_the_app_guards_its_provider(server: FaultServer) -> None:
    """In the original its settings reach nothing, and nothing calls it."""
    settings = {"failure_threshold": 3, "recovery_timeout": 60}
    loaded("n3app.generated.runtime").RUNTIME_SETTINGS["circuit_breaker"] = settings
    app = importlib.import_module("n3app.main").app
    server.script(Status(500), times=None)
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
        codes = [
            client.post("/api/llm/fast", json={"prompt": f"{number}"}).json()["error"]["code"]
            for number in range(6)
        ]
        asked = len(server.calls)
        refused = client.post("/api/llm/fast", json=ASKED)
    assert codes[-1] == "provider_unavailable"
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert len(server.calls) == asked


def test_the_two_missing_routes_are_there(client: TestClient, server: FaultServer) -> None:
    for _ in range(2):
        client.post("/api/llm/fast", json=ASKED)
    numbers = client.get("/api/metrics/llm").json()
    assert (numbers["cache"]["hits"], numbers["cache"]["misses"]) == (1, 1)
    assert numbers["cache"]["maxsize"] == 50
    assert numbers["metrics"]["by_model"]["gpt-4o-mini"]["calls"] == 2
    assert n3._llm_metrics.get_stats()["total_calls"] == 2
    cleared = client.post("/api/admin/clear-cache").json()
    assert cleared == {"status": "cleared", "entries_removed": 1}
    client.post("/api/llm/fast", json=ASKED)
    assert len(server.calls) == 2
    assert client.get("/healthz").json() == {"status": "n3"}


def test_the_two_routes_are_not_for_everybody(server: FaultServer) -> None:
    app = loaded("n3app.main").app
    with TestClient(app, "http://127.0.0.1", client=("10.0.0.9", 50_000)) as client:
        assert client.get("/api/metrics/llm").status_code == 401
        assert client.post("/api/admin/clear-cache").status_code == 401


def test_whoever_holds_the_token_may_see_them(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_ADMIN_TOKEN", "secret")
    app = loaded("n3app.main").app
    with TestClient(app, "http://127.0.0.1", client=("10.0.0.9", 50_000)) as client:
        sent = {"authorization": "Bearer secret"}
        assert client.get("/api/metrics/llm", headers=sent).status_code == 200


def test_bad_settings_are_logged_loudly_and_the_routes_say_so(
    server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    """main.py swallows the error; without the log nobody would know."""
    loaded("n3app.generated.runtime").RUNTIME_SETTINGS["llm_cache"] = {"max_size": 5}
    app = importlib.import_module("n3app.main").app
    (record,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "WITHOUT headgate" in record.getMessage()
    assert record.exc_info is not None
    assert "max_size" in str(record.exc_info[1])
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
        reply = client.get("/api/metrics/llm")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "closed")


def test_without_fastapi_the_log_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "headgate.integrations.fastapi", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"headgate\[fastapi\]"):
        n3.bind("n3app.custom.routes")
    assert "WITHOUT headgate" in caplog.text


def test_without_a_generated_runtime_there_is_nothing_to_join(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loaded("n3app")
    _, setup = n3.bind("n3app.custom.routes")
    with pytest.raises(ConfigError, match=r"no generated\.runtime"):
        setup(None)
    assert "WITHOUT headgate" in caplog.text


@pytest.mark.parametrize("package", ["n3app.custom.routes", "n3app.custom", "n3app"])
def test_the_runtime_module_is_found_above_the_users_file(package: str) -> None:
    module = loaded("n3app.generated.runtime")
    assert generated_runtime(package) is module


def test_a_configuration_of_ones_own_has_the_last_word(server: FaultServer) -> None:
    there = ProviderConfig(base_url=server.base_url, api_key=Secret("sk-other"))
    config = Config(
        providers={"mine": there, "vertex": there},
        models={"far": ModelConfig(targets=("mine/other-model",))},
    )
    module = loaded("n3app.generated.runtime")
    router, setup = n3.bind("n3app.custom.routes", config)
    from_main = importlib.import_module("fastapi").FastAPI()
    from_main.include_router(router)
    setup(from_main)
    assert module._LLM_INSTANCES["far"].generate("Hello").text
    assert server.calls[0].body["model"] == "other-model"
    assert server.calls[0].headers["authorization"] == alias_of("sk-other")


def test_models_with_one_key_share_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OLLAMA_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    specs = {
        "a": {"provider": "openai", "model": "m", "config": {"api_key": "one"}},
        "b": {"provider": "openai", "model": "n", "config": {"api_key": "one"}},
        "c": {"provider": "openai", "model": "m", "config": {"api_key": "two"}},
        "d": {"provider": "ollama", "model": "m", "config": {}},
        "e": {"provider": "My Own", "model": "m", "base_url": "http://127.0.0.1:1/v1"},
        "f": {"provider": "openai", "config": {}},
    }
    config, placed = configured(specs, None)
    leads_to = {name: place[0] for name, place in placed.items()}
    assert leads_to == {
        "a": "openai/m", "b": "openai/n", "c": "openai-1/m", "d": "ollama/m", "e": "my-own/m",
    }  # fmt: skip
    assert config.providers["ollama"].base_url == "http://localhost:11434/v1"
