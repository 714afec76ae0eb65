"""From an HTTP request to a Call: what it asks for, who asks, where it leads, under which key.

Shared by every surface that speaks HTTP. Two levels, because most requests were seen before: a
digest over the raw bytes finds the plan that these very bytes led to last time (exact by
construction, no parse); only unseen bytes are parsed, checked and made canonical.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct

from headgate.admission_fields import asks_usage, bounds_answer, choices_in, flag_in, model_in
from headgate.admission_head import Head, read_head
from headgate.config import Config
from headgate.core.canonical import parse_object
from headgate.core.client import Client
from headgate.core.eligibility import bypass_reason, has_effects, may_hold_media
from headgate.core.embedding_inputs import EMBEDDINGS, Inputs, normal
from headgate.core.fingerprint import (
    STREAMED_OPERATIONS,
    USAGE_OPERATIONS,
    key_prefix,
    key_under,
    raw_prefix,
    route_of,
    scope_of,
    sender_of,
    without_shape,
)
from headgate.core.rewrite import renamed
from headgate.errors import BadRequest, Refused
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
HEADS_MAX = 256
"""Sets of headers remembered, and credentials."""
WAYS_MAX = 1_000
"""Names of models whose routes are remembered, whoever may have invented them."""
QUERY_BYTES_MAX = 8_192

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
    client: Client | None = None
    inputs: Inputs | None = None
    """Of an embeddings call that may be taken apart."""

    @property
    def target(self) -> Target:
        """Where it goes first."""
        return self.routes[0].target


class Way(NamedTuple):
    """Where a name leads: what `resolve` says, the targets among it, and their digest."""

    model: str
    routes: tuple[Route, ...]
    targets: list[Target]
    route: bytes


class Admission:
    """Makes Calls under one configuration. Safe from any thread."""

    plans_max = PLANS_MAX

    def __init__(self, config: Config) -> None:
        self._config = config
        self._routes_of = Routes(config)
        self._lock = threading.Lock()
        self._plans: dict[bytes, Plan] = {}
        self._prefixes: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        self._key_prefixes: dict[tuple[bytes, bytes], bytes] = {}
        self._ways: dict[tuple[str, str, bool], Way] = {}
        self._senders: dict[Headers, bytes] = {}
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
        prefix = self._prefix(operation, head, query)
        raw = sha256(prefix[0] + body).digest()
        plan = self._plans.get(raw)
        if plan is None:
            plan = self._make_plan(operation, head, body, prefix, query)
            self._remember(self._plans, raw, plan, self.plans_max)
        return plan

    def call(
        self, path: str, head: Head, body: bytes, plan: Plan, send: Sender | None = None,
        company: bytes = b"",
    ) -> Call:  # fmt: skip
        """The call to put through the stack when memory has no answer. `path` is relative to the
        API root and holds the query string; `send` takes the place of the target's provider;
        those that differ in `company` are never sent together."""
        controls = head.controls
        ttl_s = plan.policy.ttl_s
        if controls.ttl_s is not None:
            ttl_s = min(ttl_s, controls.ttl_s)
        target = plan.target
        if target.model != plan.asked:
            body = renamed(body, target.model)
        credential = head.credential
        sender = self._senders.get(credential)
        if sender is None:
            sender = sender_of(credential)
            self._remember(self._senders, credential, sender, HEADS_MAX)
        request = WireRequest(
            path, body, head.forwarded, credential, "POST", send, sender, head.name, company
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
            client=plan.client,
            inputs=plan.inputs,
        )

    def _prefix(self, operation: str, head: Head, query: bytes) -> tuple[bytes, bytes]:
        """Prefix of the raw digest, and the scope; remembered, as a client's headers repeat."""
        client = "" if head.client is None else head.client.id
        known = (operation, head.credential, head.behaviour, head.controls.namespace, query, client)
        found = self._prefixes.get(known)
        if found is None:
            scope = self._scope(head)
            # A plan says what its client may do: those of one tenant share entries, not plans.
            headers = (*head.behaviour, (b"?", query), (b"client", client.encode()))
            found = raw_prefix(operation, scope, headers), scope
            sent_bytes = sum(len(value) for _, value in head.credential)
            if len(found[0]) + sent_bytes <= PREFIX_BYTES_MAX:
                self._remember(self._prefixes, known, found, PREFIXES_MAX)
        return found

    def _make_plan(
        self, operation: str, head: Head, body: bytes, prefix: tuple[bytes, bytes], query: bytes
    ) -> Plan:
        fields = parse_object(body)
        asked = self._asked(fields)
        if head.client is not None and not head.client.allows(asked):
            raise _not_allowed(head.client, asked)
        way = self._way(asked, operation, has_client=head.client is not None)
        model = way.model
        streamed = self._is_streamed(fields)
        policy = self.policy(model)
        terms = self._terms(fields)
        bypass = bypass_reason(operation, terms, policy, media_possible=may_hold_media(body))
        if streamed and operation not in STREAMED_OPERATIONS:
            bypass = bypass or "stream"
        known = (prefix[0], way.route)
        before = self._key_prefixes.get(known)
        if before is None:
            headers = (*head.behaviour, (b"?", query))
            before = key_prefix(
                operation=operation, scope=prefix[1], route=way.route, headers=headers
            )
            if len(before) <= PREFIX_BYTES_MAX:
                self._remember(self._key_prefixes, known, before, PREFIXES_MAX)
        kept = {**self._shapeless(operation, fields, way.targets), "model": model}
        inputs: Inputs | None = None
        if operation == EMBEDDINGS and not streamed:
            count, kept = normal(kept)
            company = self._company(before, head, way.route, query) if count else before
            inputs = Inputs(count, before, company) if count else None
        key = key_under(before, kept, self._ignored)
        return Plan(
            operation=operation,
            key=key,
            scope=prefix[1],
            model=model,
            asked=asked,
            routes=way.routes,
            policy=policy,
            streamed=streamed,
            usage_wanted=self._wants_usage(operation, fields),
            choices=choices_in(terms),
            bypass=bypass,
            limit_explicit=bounds_answer(terms),
            repeatable=not has_effects(terms),
            client=head.client,
            inputs=inputs,
        )

    def _company(self, prefix: bytes, head: Head, route: bytes, query: bytes) -> bytes:
        """What precedes the body of those that may go upstream with it."""
        if not self._config.batch.across_tenants:
            return prefix
        headers = (*head.behaviour, (b"?", query))
        return key_prefix(operation=EMBEDDINGS, scope=b"", route=route, headers=headers)

    def resolve(self, name: str, operation: str) -> tuple[str, tuple[Route, ...]]:
        """As `Routes.resolve`."""
        return self._routes_of.resolve(name, operation)

    def _way(self, asked: str, operation: str, *, has_client: bool) -> Way:
        """Where a name leads; remembered, as most calls ask for one of a few."""
        known = (asked, operation, has_client)
        way = self._ways.get(known)
        if way is None:
            model, routes = self.resolve(asked, operation)
            if has_client:
                routes = self._with_own_keys(routes, asked)
            targets = [route.target for route in routes if route.role == TARGET]
            way = Way(model, routes, targets, self._route(targets))
            self._remember(self._ways, known, way, WAYS_MAX)
        return way

    def _with_own_keys(self, routes: tuple[Route, ...], asked: str) -> tuple[Route, ...]:
        """Those to providers that have a key of their own, or need none: a client's key opens this
        gateway and nothing else. Raises Refused where there is no such target."""
        providers = self._config.providers
        able = tuple(
            route
            for route in routes
            if providers[route.target.provider].has_key
            or providers[route.target.provider].kind == "fake"
        )
        if not any(route.role == TARGET for route in able):
            raise _without_key(asked, routes[0].target.provider)
        return able

    def _asked(self, fields: dict[str, Any]) -> str:
        return model_in(fields)

    def _terms(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The body in the terms that the rules of the cache are about."""
        return fields

    def _is_streamed(self, fields: dict[str, Any]) -> bool:
        return flag_in(fields, "stream")

    def _wants_usage(self, operation: str, fields: dict[str, Any]) -> bool:
        """Whether the events of a stream that only tell its usage are for the client."""
        return operation not in USAGE_OPERATIONS or asks_usage(fields)

    def _remember(self, table: dict[Any, V], name: object, value: V, most: int) -> None:
        """Looking takes no lock, as it is one C call; making room is two."""
        with self._lock:
            if len(table) >= most:
                del table[next(iter(table))]
            table[name] = value

    def policy(self, model: str) -> Policy:
        """Of a model named in the configuration its own, of every other the common one."""
        return self._policies.get(model, self._usual_policy)

    def _scope(self, head: Head) -> bytes:
        """Who shares an entry: everyone in a namespace that the operator listed, else whoever
        sends this credential."""
        namespace = head.controls.namespace
        if namespace and namespace in self._config.cache.shared_namespaces:
            return scope_of(b"shared", b"", namespace)
        if head.client is not None:
            return scope_of(b"client", head.client.share, namespace)
        return scope_of(b"credential", sender_of(head.credential), namespace)

    def _shapeless(
        self, operation: str, fields: dict[str, Any], targets: list[Target]
    ) -> dict[str, Any]:
        """The fields without what only chooses the shape of the answer."""
        providers = self._config.providers
        asked = "stream_options" not in fields or all(
            providers[target.provider].ask_stream_usage for target in targets
        )
        return without_shape(operation, fields, usage_is_asked=asked)

    def _route(self, targets: list[Target]) -> bytes:
        """Digest of where the model leads. Keys of one provider are one place, and the order of
        places is none of the answer's business."""
        places = sorted({(target.provider, target.model) for target in targets})
        parts = [self._place(provider, model) for provider, model in places]
        return route_of(parts[0] if len(parts) == 1 else {"targets": parts})

    def _place(self, provider: str, model: str) -> dict[str, Any]:
        settings = self._config.providers[provider]
        name = Target(provider, model).name
        return {"target": name, "kind": settings.kind, "base_url": settings.base_url}


def endpoint(config: Config, provider: str) -> str:
    """Where calls of `provider` go, for people to read."""
    settings = config.providers[provider]
    return settings.base_url or DEFAULT_BASE_URLS[settings.kind] or "built in"


def _not_allowed(client: Client, asked: str) -> BadRequest:
    names = ", ".join(client.shown_models[:20])
    return BadRequest(
        f"this key may not ask for model {asked[:200]!r}, but for: {names}; ask for one of these, "
        "or have the operator of this gateway give you a key for it",
        status=403,
        code="model_not_allowed",
    )


def _without_key(asked: str, provider: str) -> Refused:
    refused = Refused(
        f"provider {provider!r}, which serves model {asked[:200]!r}, has no key of its own here: "
        f"the operator of this gateway has to set providers.{provider}.api_key"
    )
    refused.code = "provider_key_missing"
    return refused
