"""From an HTTP request to a Call: what it asks for, who asks, where it leads, under which key.

Shared by every surface that speaks HTTP. Two levels, because most requests were seen before: a
digest over the raw bytes finds the plan that these very bytes led to last time (exact by
construction, no parse); only unseen bytes are parsed, checked and made canonical.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, TypeVar

from msgspec import Struct

from headgate.admission_head import Head, read_head
from headgate.config import Config
from headgate.core.canonical import parse_object
from headgate.core.eligibility import bypass_reason, has_effects, may_hold_media
from headgate.core.fingerprint import (
    STREAMED_OPERATIONS,
    USAGE_OPERATIONS,
    raw_prefix,
    request_key,
    route_of,
    scope_of,
    sender_of,
    without_shape,
)
from headgate.core.rewrite import renamed
from headgate.core.verdict import LIMIT_FIELDS
from headgate.errors import BadRequest
from headgate.layers.cache_settings import ignored_fields
from headgate.layers.settings import policy_of
from headgate.providers.settings import DEFAULT_BASE_URLS
from headgate.routing import Routes
from headgate.types import (
    TARGET,
    Call,
    Headers,
    Policy,
    Route,
    Sender,
    Target,
    WireRequest,
)

PLANS_MAX = 20_000
"""Plans remembered by raw digest; about 400 bytes each."""
PREFIXES_MAX = 4_000
PREFIX_BYTES_MAX = 4_000
"""A longer prefix is made anew each time: what is remembered is bounded in bytes, too."""
MODEL_CHARS_MAX = 500
"""A longer name is none, and would stay: in plans, in the metrics, in a header of each reply."""
HEADS_MAX = 256
"""Sets of headers remembered."""
QUERY_BYTES_MAX = 8_192

_CHOICES_MAX = 1_000
V = TypeVar("V")


class Plan(Struct, frozen=True):
    """Everything about a request that follows from its bytes."""

    operation: str
    key: bytes
    scope: bytes
    model: str
    asked: str
    """The model as the body spells it, provider prefix included."""
    routes: tuple[Route, ...]
    policy: Policy
    streamed: bool
    usage_wanted: bool
    choices: int
    bypass: str
    limit_explicit: bool
    repeatable: bool

    @property
    def target(self) -> Target:
        """Where it goes first."""
        return self.routes[0].target


class Admission:
    """Makes Calls under one configuration. Safe from any thread."""

    plans_max = PLANS_MAX

    def __init__(self, config: Config) -> None:
        self._config = config
        self._routes_of = Routes(config)
        self._lock = threading.Lock()
        self._plans: dict[bytes, Plan] = {}
        self._prefixes: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        self._routes: dict[str, bytes] = {}
        self._heads: dict[Headers, Head] = {}
        self._ignored = ignored_fields(config.cache)
        self._usual_policy = policy_of(config.cache, "")
        self._policies = {name: policy_of(config.cache, name) for name in config.cache.models}

    def head(self, headers: Iterable[tuple[bytes, bytes]]) -> Head:
        """As `read_head`; remembered, as a client sends the same twenty headers again and again."""
        known = tuple(headers)
        head = self._heads.get(known)
        if head is None:
            head = read_head(known)
            self._remember(self._heads, known, head, HEADS_MAX)
        return head

    def plan(self, operation: str, head: Head, body: bytes, query: bytes = b"") -> Plan:
        """The plan for these bytes.

        Raises BadRequest (body; 414: query) and UnknownModel.
        """
        if len(query) > QUERY_BYTES_MAX:
            raise BadRequest(
                f"the query string is longer than {QUERY_BYTES_MAX} bytes",
                status=414,
                code="query_too_long",
            )
        prefix, scope = self._prefix(operation, head, query)
        raw = sha256(prefix + body).digest()
        plan = self._plans.get(raw)
        if plan is None:
            plan = self._make_plan(operation, head, body, scope, query)
            self._remember(self._plans, raw, plan, self.plans_max)
        return plan

    def call(
        self, path: str, head: Head, body: bytes, plan: Plan, send: Sender | None = None
    ) -> Call:
        """The call to put through the stack when memory has no answer. `path` is relative to the
        API root and holds the query string; `send` takes the place of the target's provider."""
        controls = head.controls
        ttl_s = plan.policy.ttl_s
        if controls.ttl_s is not None:
            ttl_s = min(ttl_s, controls.ttl_s)
        target = plan.target
        if target.model != plan.asked:
            body = renamed(body, target.model)
        request = WireRequest(
            path, body, head.forwarded, head.credential, send=send, name=head.name
        )
        return Call(
            operation=plan.operation,
            model=plan.model,
            request=request,
            key=plan.key,
            scope=plan.scope,
            target=target,
            controls=controls,
            ttl_s=ttl_s,
            streamed=plan.streamed,
            usage_wanted=plan.usage_wanted,
            choices=plan.choices,
            limit_explicit=plan.limit_explicit,
            policy=plan.policy,
            bypass=plan.bypass,
            routes=plan.routes,
            repeatable=plan.repeatable,
        )

    def _prefix(self, operation: str, head: Head, query: bytes) -> tuple[bytes, bytes]:
        """Prefix of the raw digest, and the scope; remembered, as a client's headers repeat."""
        known = (operation, head.credential, head.behaviour, head.controls.namespace, query)
        found = self._prefixes.get(known)
        if found is None:
            scope = self._scope(head)
            headers = (*head.behaviour, (b"?", query))
            found = raw_prefix(operation, scope, headers), scope
            sent_bytes = sum(len(value) for _, value in head.credential)
            if len(found[0]) + sent_bytes <= PREFIX_BYTES_MAX:
                self._remember(self._prefixes, known, found, PREFIXES_MAX)
        return found

    def _make_plan(
        self, operation: str, head: Head, body: bytes, scope: bytes, query: bytes
    ) -> Plan:
        fields = parse_object(body)
        asked = self._asked(fields)
        model, routes = self.resolve(asked, operation)
        targets = [route.target for route in routes if route.role == TARGET]
        streamed = self._is_streamed(fields)
        policy = self._policy(model)
        terms = self._terms(fields)
        bypass = bypass_reason(operation, terms, policy, media_possible=may_hold_media(body))
        if streamed and operation not in STREAMED_OPERATIONS:
            bypass = bypass or "stream"
        key = request_key(
            operation=operation,
            scope=scope,
            route=self._route(targets),
            headers=(*head.behaviour, (b"?", query)),
            fields={**self._shapeless(operation, fields, targets), "model": model},
            ignored=self._ignored,
        )
        return Plan(
            operation=operation,
            key=key,
            scope=scope,
            model=model,
            asked=asked,
            routes=routes,
            policy=policy,
            streamed=streamed,
            usage_wanted=self._wants_usage(operation, fields),
            choices=_choices_in(terms),
            bypass=bypass,
            limit_explicit=any(terms.get(name) is not None for name in LIMIT_FIELDS),
            repeatable=not has_effects(terms),
        )

    def resolve(self, name: str, operation: str) -> tuple[str, tuple[Route, ...]]:
        """As `Routes.resolve`."""
        return self._routes_of.resolve(name, operation)

    def _asked(self, fields: dict[str, Any]) -> str:
        return _model_in(fields)

    def _terms(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The body in the terms that the rules of the cache are about."""
        return fields

    def _is_streamed(self, fields: dict[str, Any]) -> bool:
        return _flag_in(fields, "stream")

    def _wants_usage(self, operation: str, fields: dict[str, Any]) -> bool:
        """Whether the events of a stream that only tell its usage are for the client."""
        return operation not in USAGE_OPERATIONS or asks_usage(fields)

    def _remember(self, table: dict[Any, V], name: object, value: V, most: int) -> None:
        """Looking takes no lock, as it is one C call; making room is two."""
        with self._lock:
            if len(table) >= most:
                del table[next(iter(table))]
            table[name] = value

    def _policy(self, model: str) -> Policy:
        """Of a model named in the configuration its own, of every other the common one."""
        return self._policies.get(model, self._usual_policy)

    def _scope(self, head: Head) -> bytes:
        """Who shares an entry: everyone in a namespace that the operator listed, else whoever
        sends this credential."""
        namespace = head.controls.namespace
        if namespace and namespace in self._config.cache.shared_namespaces:
            return scope_of(b"shared", b"", namespace)
        return scope_of(b"credential", sender_of(head.credential), namespace)

    def _shapeless(
        self, operation: str, fields: dict[str, Any], targets: list[Target]
    ) -> dict[str, Any]:
        """The fields without what only chooses the shape of the answer."""
        providers = self._config.providers
        asked = all(providers[target.provider].ask_stream_usage for target in targets)
        return without_shape(operation, fields, usage_is_asked=asked)

    def _route(self, targets: list[Target]) -> bytes:
        """Digest of where the model leads. Keys of one provider are one place, and the order of
        places is none of the answer's business."""
        places = sorted({(target.provider, target.model) for target in targets})
        known = repr(places)
        route = self._routes.get(known)
        if route is None:
            parts = [self._place(provider, model) for provider, model in places]
            route = route_of(parts[0] if len(parts) == 1 else {"targets": parts})
            self._remember(self._routes, known, route, PREFIXES_MAX)
        return route

    def _place(self, provider: str, model: str) -> dict[str, Any]:
        settings = self._config.providers[provider]
        name = Target(provider, model).name
        return {"target": name, "kind": settings.kind, "base_url": settings.base_url}


def endpoint(config: Config, provider: str) -> str:
    """Where calls of `provider` go, for people to read."""
    settings = config.providers[provider]
    return settings.base_url or DEFAULT_BASE_URLS[settings.kind] or "built in"


def _model_in(fields: dict[str, Any]) -> str:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest('"model" must be a non-empty string', code="missing_model")
    if len(model) > MODEL_CHARS_MAX:
        raise BadRequest(f'"model" must be a name of at most {MODEL_CHARS_MAX} characters')
    return model


def _flag_in(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f'"{name}" must be true or false')
    return bool(value)


def asks_usage(fields: dict[str, Any]) -> bool:
    """Whether a request for a stream asks that it tells its usage."""
    options = fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _choices_in(fields: dict[str, Any]) -> int:
    """How many answers are asked for; what is no count is the provider's to refuse."""
    count = fields.get("n")
    return count if isinstance(count, int) and 1 <= count <= _CHOICES_MAX else 1
