"""The gateway's routes that are not calls: models, health, numbers and administration."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from headgate.admission_head import read_head
from headgate.clients import Clients
from headgate.core.canonical import parse_object
from headgate.core.units import parse_duration
from headgate.errors import BadRequest, UpstreamGarbled, WrongMethod
from headgate.runtime import Runtime
from headgate.stream import Whole
from headgate.surfaces.calls import read_asked, shown_calls
from headgate.surfaces.exposition import Exposition
from headgate.surfaces.guard import require_admin
from headgate.surfaces.numbers import Numbers, numbers_of
from headgate.surfaces.readiness import Readiness
from headgate.surfaces.statistics import over_workers
from headgate.types import Entry, Headers, Selection

JSON: Headers = ((b"content-type", b"application/json"),)
LIST_MAX = 1000
PREVIEW_BYTES = 2_000


class Answer(NamedTuple):
    """A complete answer of an operations route."""

    status: int
    body: bytes
    headers: Headers = JSON


Action = Callable[[dict[str, Any], bytes], Awaitable[Answer]]


class Route(NamedTuple):
    """Method, whether it needs an administrator, and what answers it."""

    method: str
    admin: bool
    action: Action


class Operations:
    """Answers by exact path; anything else is 404, and each route says whom it serves."""

    def __init__(
        self,
        runtime: Runtime,
        readiness: Readiness | None = None,
        numbers: Numbers | None = None,
        clients: Clients | None = None,
    ) -> None:
        self._clients = clients
        self._readiness = readiness or Readiness()
        self._runtime = runtime
        self._server = runtime.config.server
        self._numbers = numbers or numbers_of(runtime)
        self._exposition = Exposition(self._numbers, runtime.config.metrics.naming)
        health = Route("GET", False, self._health)
        ready = Route("GET", False, self._ready)
        self.routes = {
            "/v1/models": Route("GET", False, self._models),
            "/healthz": health,
            "/health/liveliness": health,
            "/readyz": ready,
            "/health/readiness": ready,
            "/metrics": Route("GET", False, self._metrics),
            "/api/metrics/llm": Route("GET", True, self._statistics),
            "/api/calls": Route("GET", True, self._calls),
            "/api/admin/clear-cache": Route("POST", True, self._clear),
            "/api/admin/cache": Route("GET", True, self._list),
            "/api/admin/breakers": Route("POST", True, self._force),
        }

    async def answer(self, scope: dict[str, Any], body: bytes) -> Answer:
        """The answer to one request. Raises BadRequest for unknown routes and wrong methods."""
        path, method = scope["path"], scope["method"]
        route = self.routes.get(path)
        if route is None:
            raise BadRequest(f"no such route: {path[:200]}", status=404, code="no_such_route")
        if method not in (route.method, "HEAD" if route.method == "GET" else ""):
            allow = "GET, HEAD" if route.method == "GET" else route.method
            raise WrongMethod(f"{path} takes {route.method}", allow=allow)
        if route.admin:
            client = scope.get("client") or ("", 0)
            token = self._server.admin_token
            require_admin(scope["headers"], client[0], self._server.host, token)
        return await route.action(scope, body)

    async def _health(self, scope: dict[str, Any], body: bytes) -> Answer:
        return Answer(200, b'{"status":"ok"}')

    async def _ready(self, scope: dict[str, Any], body: bytes) -> Answer:
        own = [] if self._clients is None else [self._clients.problem]
        checks = (*self._runtime.checks, self._numbers.problem, *own)
        status, report = self._readiness.report(checks)
        return Answer(status, msgspec.json.encode(report))

    async def _metrics(self, scope: dict[str, Any], body: bytes) -> Answer:
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        render = functools.partial(self._exposition.render, accept)
        text, content_type = await self._runtime.off_loop(render)
        return Answer(200, text, ((b"content-type", content_type),))

    async def _statistics(self, scope: dict[str, Any], body: bytes) -> Answer:
        # A disk tier is asked how much it holds, and may keep whoever asks waiting.
        numbers = await self._runtime.off_loop(self._runtime.stats)
        process = self._runtime.calls.process()
        if self._numbers.is_shared:
            told = await self._runtime.off_loop(self._numbers.told)
            numbers = over_workers(numbers, told)
            if told.name:
                # Whoever compares two looks compares sums of all workers, whichever answers.
                process = {"instance": told.name, "uptime_s": round(told.age_s, 3)}
        more = {"reload": self._readiness.reload(), "process": process}
        return Answer(200, msgspec.json.encode({**numbers, **more}))

    async def _calls(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Calls of the log, the last one first; with `call` one of them."""
        asked = read_asked(_query(scope["query_string"]))
        shown = await self._runtime.off_loop(functools.partial(shown_calls, self._runtime, asked))
        return Answer(200, msgspec.json.encode(shown))

    async def _clear(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Removes what the JSON body selects; an empty body means everything."""
        fields = parse_object(body) if body.strip() else {}
        dry_run = fields.pop("dry_run", False)
        if not isinstance(dry_run, bool):
            raise BadRequest('"dry_run" must be true or false')
        removal = functools.partial(self._runtime.tiers.remove, _selection(fields), dry_run=dry_run)
        count = await self._runtime.off_loop(removal)
        status = "counted" if dry_run else "cleared"
        return Answer(200, msgspec.json.encode({"status": status, "entries_removed": count}))

    async def _force(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Puts a breaker into a state by hand, and shows them all."""
        fields = parse_object(body)
        wanted = [fields.get(name) for name in ("gate", "name", "state")]
        if set(fields) != {"gate", "name", "state"} or not all(
            isinstance(it, str) for it in wanted
        ):
            raise BadRequest(
                'expected {"gate": "endpoint" or "deployment", "name": ..., "state": ...}'
            )
        gate, name, state = map(str, wanted)
        try:
            self._runtime.guards.force(gate, name[:500], state, self._runtime.clock.monotonic())
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return Answer(200, msgspec.json.encode(self._runtime.stats()["breakers"]))

    async def _list(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Entries that the query string selects, most recently used first; one by `key`."""
        fields = _query(scope["query_string"])
        limit = _limit(fields.pop("limit", "100"))
        selection = _selection(fields)
        listing = functools.partial(self._runtime.tiers.list, selection, limit=limit)
        now_s = self._runtime.clock.epoch()
        shown = [
            _describe(entry, now_s, with_content=selection.key is not None)
            for entry in await self._runtime.off_loop(listing)
        ]
        return Answer(200, msgspec.json.encode({"entries": shown}))

    async def _models(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Configured model names; without any, what the only provider of this dialect lists. A
        client sees those that its key may ask for."""
        config = self._runtime.config
        head = read_head(scope["headers"])
        if self._clients is not None and (self._clients.required or head.has_key):
            head = self._clients.admit(head, (scope.get("client") or ("",))[0])
        client = head.client
        kind = "anthropic" if dict(head.behaviour).get(b"anthropic-version") else "openai"
        asked = [
            name for name, settings in config.providers.items() if settings.kind in (kind, "fake")
        ]
        if config.models or len(asked) != 1:
            names = sorted(config.models)
            seen = [name for name in names if client is None or client.allows(name)]
            return Answer(200, _model_list(seen))
        query: str = scope["query_string"].decode("latin-1")
        path = f"/models?{query}" if query else "/models"
        reply = await self._runtime.ask(asked[0], "GET", path, head)
        if not isinstance(reply.body, Whole):
            await reply.body.aclose()
            raise UpstreamGarbled("the provider's list of models is a stream")
        content = reply.body.content
        if client is not None and reply.status == 200:
            content = _allowed_models(content, client.allows)
        return Answer(reply.status, content, reply.headers)


def _selection(fields: dict[str, Any]) -> Selection:
    known = {"model", "namespace", "tag", "older_than", "key"}
    for name, value in fields.items():
        if name not in known:
            raise BadRequest(f"unknown field {name[:80]!r}; known: {', '.join(sorted(known))}")
        if not isinstance(value, str) and not (name == "older_than" and value is not None):
            raise BadRequest(f'"{name}" must be a string')
    try:
        older = fields.get("older_than")
        return Selection(
            model=fields.get("model"),
            namespace=fields.get("namespace"),
            tag=fields.get("tag"),
            older_than_s=None if older is None else parse_duration(older),
            key=_key(fields["key"]) if "key" in fields else None,
        )
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _key(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise BadRequest('"key" must be 64 hexadecimal digits')
    return bytes.fromhex(text)


def _query(raw: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), True, strict_parsing=bool(raw), max_num_fields=20)
        return dict(pairs)
    except ValueError as error:
        raise BadRequest(f"query string: {error}") from None


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LIST_MAX):
        raise BadRequest(f'"limit" must be a number from 1 to {LIST_MAX}')
    return int(text)


def _describe(entry: Entry, now_s: float, *, with_content: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "key": entry.key.hex(),
        "model": entry.model,
        "operation": entry.operation,
        "namespace": entry.namespace,
        "tags": entry.tags,
        "target": entry.target,
        "kind": entry.kind,
        "finish": entry.finish,
        "age_s": round(max(0.0, now_s - entry.created_s), 3),
        "ttl_s": round(entry.expires_s - now_s, 3),
        "size_bytes": entry.size_bytes,
        "tokens_in": entry.usage.tokens_in,
        "tokens_out": entry.usage.tokens_out,
    }
    if with_content:
        shown["content"] = entry.content[:PREVIEW_BYTES].decode("utf-8", "replace")
    return shown


def _allowed_models(content: bytes, allows: Callable[[str], bool]) -> bytes:
    """A provider's list with those entries alone whose name is allowed. Raises UpstreamGarbled."""
    try:
        listed = msgspec.json.decode(content, type=_Listed)
    except msgspec.DecodeError:
        raise UpstreamGarbled("the provider's list of models is none") from None
    data = [model for model in listed.data if allows(str(model.get("id")))]
    return msgspec.json.encode({"object": "list", "data": data, "has_more": listed.has_more})


class _Listed(msgspec.Struct):
    """What both vendors' lists have."""

    data: list[dict[str, Any]]
    has_more: bool = False


def _model_list(names: list[str]) -> bytes:
    """One list that both official SDKs can read."""
    models = [
        {"id": name, "object": "model", "created": 0, "owned_by": "headgate", "type": "model",
         "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
        for name in names
    ]  # fmt: skip
    page = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return msgspec.json.encode({"object": "list", "data": models, "has_more": False, **page})
