"""A hand-written FastAPI app: its runtime, its routes, its errors. The example in
docs/integrations.md is another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from backends import FAST, user
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from gates import ONE_ATTEMPT, providers_at

from headgate.backend import Backend
from headgate.config import Config, ServerConfig
from headgate.errors import BreakerOpen, Closed, RateLimited
from headgate.integrations.fastapi import (
    ROUTES,
    ErrorReplies,
    backend,
    lifespan,
    respond,
    router,
    runtime,
)
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime
from headgate.testing import Answer, FakeProvider, Status
from headgate.types import Secret

Engine = Annotated[Runtime, Depends(runtime)]
STREAM = {"accept": "text/event-stream"}


async def ask(question: str, engine: Engine) -> str:
    async def answer() -> str:
        return f"{question}: an answer"

    return str(await engine.acached_llm_call(question, "m", {}, answer))


async def whole(question: str, engine: Annotated[Backend, Depends(backend)], stream: bool) -> Any:
    accept = [(b"accept", b"text/event-stream")] if stream else []
    return respond(await engine.llm(FAST, user(question), accept))


async def refuse(kind: str) -> str:
    if kind == "rate":
        raise RateLimited("too many", retry_after_s=7)
    raise BreakerOpen("open")


async def broken() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise BreakerOpen("too late for a status")

    return StreamingResponse(pieces())


def app_with(config: Any = None, inner: Any = None, living: bool = True) -> FastAPI:
    app = FastAPI(lifespan=lifespan(config, inner) if living else None)
    app.add_middleware(ErrorReplies)
    app.include_router(router())
    for function in (ask, whole, refuse, broken):
        app.get(f"/{function.__name__}")(function)
    return app


def opened(app: FastAPI, host: str = "127.0.0.1") -> TestClient:
    return TestClient(app, "http://127.0.0.1", client=(host, 50_000))


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def test_one_runtime_lives_as_long_as_the_app_and_is_closed_with_it(tmp_path: Path) -> None:
    """What it holds is on the disk when the app has ended, and the next one has it."""
    cache = CacheConfig(persist=True, persist_path=str(tmp_path / "answers.db"))
    app = app_with(Config(cache=cache))
    engines = []
    for hits in (1, 2):
        with opened(app) as client:
            for _ in range(2):
                assert client.get("/ask", params={"question": "q"}).json() == "q: an answer"
            engines.append(app.state.headgate.runtime)
            assert engines[-1].stats()["cache"]["hits"] == hits
    assert engines[0] is not engines[1]


def test_the_configuration_may_be_made_when_the_app_starts() -> None:
    made: list[Config] = []

    def config() -> Config:
        made.append(Config())
        return made[-1]

    app = app_with(config)
    assert made == []
    with opened(app):
        assert app.state.headgate.runtime.config is made[0]


def test_a_lifespan_of_ones_own_stands_inside() -> None:
    told: list[str] = []

    async def late() -> str:
        return "end"

    @asynccontextmanager
    async def inner(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        told.append("begin")
        yield {"own": "state"}
        told.append(await app.state.headgate.runtime.acached_llm_call("q", "m", {}, late))

    with opened(app_with(inner=inner)) as client:
        assert client.app_state == {"own": "state"}
    assert told == ["begin", "end"]


def test_declared_models_are_asked_through_the_engine(provider: FakeProvider) -> None:
    provider.script(Answer(text="Paris"), Status(400))
    config = Config(providers=providers_at(provider, "sk-ours"), **ONE_ATTEMPT)
    with opened(app_with(config)) as client:
        first = client.get("/whole", params={"question": "a", "stream": False})
        assert first.json()["output"] == "Paris"
        streamed = client.get("/whole", params={"question": "a", "stream": True})
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert '{"delta":"Paris"}' in streamed.text
        refused = client.get("/whole", params={"question": "b", "stream": False})
        assert refused.status_code == 400
    assert len(provider.calls) == 2


def test_the_routes_of_the_seed_are_there() -> None:
    with opened(app_with()) as client:
        for question in ("a", "b", "a"):
            client.get("/ask", params={"question": question})
        assert client.get("/api/metrics/llm").json()["metrics"]["total_calls"] == 3
        assert "headgate_" in client.get("/metrics").text
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200
        cleared = client.post("/api/admin/clear-cache", json={"model": "m"})
        assert cleared.json() == {"status": "cleared", "entries_removed": 2}
        assert client.get("/api/admin/clear-cache").status_code == 405
        bad = client.post("/api/admin/clear-cache", json={"modle": "m"})
        assert bad.status_code == 400


def test_numbers_and_clearing_are_not_for_everybody() -> None:
    config = Config(server=ServerConfig(admin_token=Secret("secret")))
    with opened(app_with(config), "10.0.0.9") as client:
        assert client.get("/api/metrics/llm").status_code == 401
        sent = {"authorization": "Bearer secret"}
        assert client.get("/api/metrics/llm", headers=sent).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_only_the_routes_that_are_named_are_served() -> None:
    app = FastAPI(lifespan=lifespan())
    app.include_router(router(["/healthz"]), prefix="")
    with opened(app) as client:
        served = {
            path for path, method in ROUTES.items() if client.request(method, path).is_success
        }
    assert served == {"/healthz"}


def test_an_app_without_its_lifespan_says_what_is_missing() -> None:
    with opened(app_with(living=False)) as client, pytest.raises(RuntimeError, match="lifespan"):
        client.get("/ask", params={"question": "q"})


def test_a_backend_that_cannot_be_had_is_an_error_reply() -> None:
    async def gone(request: Any) -> Backend:
        raise Closed("not yet")

    app = FastAPI()
    app.include_router(router(["/healthz"], gone))
    with opened(app) as client:
        assert client.get("/healthz").status_code == 503


def test_what_a_route_raises_of_ours_is_an_http_error() -> None:
    with opened(app_with()) as client:
        limited = client.get("/refuse", params={"kind": "rate"})
        assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
        assert limited.json()["error"]["message"] == "too many"
        assert client.get("/refuse", params={"kind": "open"}).status_code == 503


def test_once_an_answer_has_begun_the_error_goes_on() -> None:
    with opened(app_with()) as client, pytest.raises(BreakerOpen):
        client.get("/broken")
