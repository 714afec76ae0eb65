"""FastAPI: one runtime for as long as an app lives, its routes, and errors as HTTP errors.

For apps written by hand; those that `headgate generate` makes have the same in their own main.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from headgate.backend.body_limit import App, Receive, Scope, Send
from headgate.backend.served import Served, refused
from headgate.backend.service import Backend
from headgate.config import Config
from headgate.errors import HeadgateError
from headgate.runtime import Runtime

try:
    from fastapi import APIRouter, BackgroundTasks, Request, Response
    from fastapi.requests import HTTPConnection
    from fastapi.responses import StreamingResponse
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "headgate.integrations.fastapi needs FastAPI: pip install 'headgate[fastapi]'"
    ) from error

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
ROUTES = {
    "/api/metrics/llm": "GET",
    "/api/admin/clear-cache": "POST",
    "/metrics": "GET",
    "/healthz": "GET",
    "/readyz": "GET",
}
"""What `router` serves, and how it is asked."""


def lifespan(
    config: Config | Callable[[], Config] | None = None, inner: Lifespan | None = None
) -> Lifespan:
    """The `lifespan=` of an app: opens a runtime with `config` (or what it returns when the app
    starts) in the app's event loop, and closes it when the app ends. `inner` is a lifespan of your
    own, entered after it and left before; what it yields is the app's state, as usual."""

    @asynccontextmanager
    async def living(app: Any) -> AsyncIterator[Any]:
        settings = config() if callable(config) else config
        async with AsyncExitStack() as stack:
            app.state.headgate = await stack.enter_async_context(Backend(Runtime(settings)))
            yield None if inner is None else await stack.enter_async_context(inner(app))

    return living


async def backend(connection: HTTPConnection) -> Backend:
    """For `Depends`: declared models, prompts and chains are asked through it. Raises RuntimeError
    where the app has no `lifespan` of this file."""
    found: Backend | None = getattr(connection.app.state, "headgate", None)
    if found is None:
        raise RuntimeError("no runtime: FastAPI(lifespan=headgate.integrations.fastapi.lifespan())")
    return found


async def runtime(connection: HTTPConnection) -> Runtime:
    """For `Depends`: the runtime of the app."""
    return (await backend(connection)).runtime


def router(
    paths: Iterable[str] = tuple(ROUTES),
    find: Callable[[Any], Awaitable[Backend]] = backend,
) -> Any:
    """An `APIRouter` with the routes of `ROUTES` that `paths` names: numbers and clearing for this
    machine, or whoever sends the `server.admin_token`; metrics and health for everybody. `find`
    gets the backend of a request."""
    routes = APIRouter()

    async def operate(request: Request) -> Response:
        try:
            found = await find(request)
        except HeadgateError as error:
            return respond(refused(error))
        return respond(await found.operate(dict(request.scope), await request.body()))

    for path in paths:
        routes.add_api_route(
            path, operate, methods=[ROUTES[path]], tags=["headgate"], response_class=Response
        )
    return routes


def respond(served: Served) -> Response:
    """What a `Backend` answers as a response of FastAPI: whole, or a stream that lets go of its
    provider when it is over."""
    if isinstance(served.body, bytes):
        return Response(served.body, served.status, served.headers)
    over = BackgroundTasks()
    over.add_task(served.body.aclose)
    return StreamingResponse(served.body, served.status, served.headers, background=over)


class ErrorReplies:
    """Pure ASGI middleware, for `app.add_middleware`: what a route raises of headgate's errors is
    answered with their status, code and `Retry-After`, where nothing was sent before."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def noted(message: dict[str, Any]) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except HeadgateError as error:
            if has_begun:
                raise
            reply: App = respond(refused(error))  # type: ignore[assignment]
            await reply(scope, receive, send)
