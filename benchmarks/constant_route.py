"""The application of bench_generate.py: a generated backend, and beside its first prompt the same
route with a constant for its answer, once as an object that FastAPI turns into JSON, once as bytes.
"""

import json
from typing import Any

from app.main import app
from app.prompts import P0Args, TextReply
from fastapi import Response

REPLY = {
    "output": "A made-up answer of some length, as a model gives it.",
    "model": "m",
    "usage": {"prompt_tokens": 60, "completion_tokens": 12, "total_tokens": 72},
    "cached": True,
}
ENCODED = json.dumps(REPLY).encode()


@app.post("/object", response_model=TextReply)
async def constant_object(args: P0Args) -> Any:
    return REPLY


@app.post("/bytes", response_model=TextReply)
async def constant_bytes(args: P0Args) -> Response:
    return Response(ENCODED, media_type="application/json")


# Routes are looked through in their order: the three stand beside each other.
_routes = app.router.routes
_at = [getattr(route, "path", "") for route in _routes].index("/api/prompts/p0")
_routes[_at + 1 : _at + 1] = [_routes.pop(), _routes.pop()]
