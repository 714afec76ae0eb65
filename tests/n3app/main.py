"""The app, put together as N3 does it: the user's file comes after the generated routes, and what
goes wrong in it is swallowed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from n3app.generated import runtime

app = FastAPI(title=runtime.APP["name"])


@app.post("/api/llm/{name}")
async def ask(name: str, payload: dict[str, Any]) -> dict[str, Any]:
    return await runtime.call_llm(name, payload)


@app.post("/api/stream/{name}")
async def stream(name: str, payload: dict[str, Any]) -> StreamingResponse:
    return StreamingResponse(runtime.stream_llm(name, payload), media_type="text/plain")


@app.get("/healthz")
async def health() -> dict[str, str]:
    return {"status": "n3"}


def load_user_routes() -> None:
    for name in ("n3app.custom.routes.custom_api", "custom_api"):
        try:
            module = __import__(name, fromlist=["*"])
        except Exception:  # noqa: BLE001 - as N3 does it
            continue
        app.include_router(module.router)
        with suppress(Exception):
            module.setup(app)


load_user_routes()
