"""From an HTTP request to a Call: what it asks for, who asks, where it leads, under which key.

Shared by every surface that speaks HTTP. Two levels, because most requests were seen before: a
digest over the raw bytes finds the plan that these very bytes led to last time (exact by
construction, no parse); only unseen bytes are parsed, checked and made canonical.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, TypeVar

from msgspec import Struct

from headgate.admission_head import Head, read_head
from headgate.config import Config
from headgate.core.canonical import parse_object
from headgate.core.eligibility import bypass_reason, may_hold_media
from headgate.core.fingerprint import (
    STREAMED_OPERATIONS,
    USAGE_OPERATIONS,
    digest,
    raw_prefix,
    request_key,
    route_of,
    scope_of,
    without_shape,
)
from headgate.core.rewrite import renamed
from headgate.core.verdict import LIMIT_FIELDS
from headgate.errors import BadRequest, UnknownModel
from headgate.layers.settings import policy_of
from headgate.providers.settings import DEFAULT_BASE_URLS
from headgate.types import (
    Call,
    Headers,
    Policy,
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
_SPEAKS = {"openai": {"chat", "completions", "responses", "embeddings"},
           "anthropic": {"messages", "count_tokens"}}  # fmt: skip
V = TypeVar("V")


class Plan(Struct, frozen=True):
    """Everything about a request that follows from its bytes."""

    operation: str
    key: bytes
    scope: bytes
    model: str
    asked: str
    """The model as the body spells it, provider prefix included."""
    target: Target
    policy: Policy
    streamed: bool
    usage_wanted: bool
    choices: int
    bypass: str
    limit_explicit: bool


class Admission:
    """Makes Calls under one configuration. Safe from any thread."""

    plans_max = PLANS_MAX

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._plans: dict[bytes, Plan] = {}
        self._prefixes: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        self._routes: dict[str, bytes] = {}
        self._heads: dict[Headers, Head] = {}
        ignored = set(config.cache.ignore_fields)
        if config.cache.scope == "user":
            ignored -= {"user", "safety_identifier", "metadata"}
        self._ignored = frozenset(ignored)
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
        if plan.target.model != plan.asked:
            body = renamed(body, plan.target.model)
        request = WireRequest(path, body, head.forwarded, head.credential, send=send)
        return Call(
            operation=plan.operation,
            model=plan.model,
            request=request,
            key=plan.key,
            scope=plan.scope,
            target=plan.target,
            controls=controls,
            ttl_s=ttl_s,
            streamed=plan.streamed,
            usage_wanted=plan.usage_wanted,
            choices=plan.choices,
            limit_explicit=plan.limit_explicit,
            policy=plan.policy,
            bypass=plan.bypass,
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
        model, target = self.resolve(asked, operation)
        streamed = self._is_streamed(fields)
        policy = self._policy(model)
        terms = self._terms(fields)
        bypass = bypass_reason(operation, terms, policy, media_possible=may_hold_media(body))
        if streamed and operation not in STREAMED_OPERATIONS:
            bypass = bypass or "stream"
        key = request_key(
            operation=operation,
            scope=scope,
            route=self._route(target),
            headers=(*head.behaviour, (b"?", query)),
            fields={**self._shapeless(operation, fields, target), "model": model},
            ignored=self._ignored,
        )
        return Plan(
            operation=operation,
            key=key,
            scope=scope,
            model=model,
            asked=asked,
            target=target,
            policy=policy,
            streamed=streamed,
            usage_wanted=self._wants_usage(operation, fields),
            choices=_choices_in(terms),
            bypass=bypass,
            limit_explicit=any(terms.get(name) is not None for name in LIMIT_FIELDS),
        )

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
        who = digest(*(part for header in head.credential for part in header))
        return scope_of(b"credential", who, namespace)

    def _shapeless(self, operation: str, fields: dict[str, Any], target: Target) -> dict[str, Any]:
        """The fields without what only chooses the shape of the answer."""
        asked = self._config.providers[target.provider].ask_stream_usage
        return without_shape(operation, fields, usage_is_asked=asked)

    def _route(self, target: Target) -> bytes:
        route = self._routes.get(target.name)
        if route is None:
            provider = self._config.providers[target.provider]
            route = route_of(
                {"target": target.name, "kind": provider.kind, "base_url": provider.base_url}
            )
            self._remember(self._routes, target.name, route, PREFIXES_MAX)
        return route

    def resolve(self, name: str, operation: str) -> tuple[str, Target]:
        """The model's own name (without a provider prefix) and the target it leads to.

        Raises UnknownModel naming what is configured.
        """
        config = self._config
        listed = config.models.get(name)
        if listed is not None and listed.targets:
            provider, _, model = listed.targets[0].partition("/")
            return name, self._target(provider, model, name, operation)
        provider, slash, rest = name.partition("/")
        if slash and provider in config.providers:
            return rest, self._target(provider, rest, name, operation)
        speaking = [
            provider
            for provider, settings in config.providers.items()
            if _speaks(settings.kind, operation)
        ]
        if len(speaking) == 1:
            return name, Target(speaking[0], name)
        raise UnknownModel(self._unknown(name, operation, speaking))

    def _target(self, provider: str, model: str, name: str, operation: str) -> Target:
        kind = self._config.providers[provider].kind
        if not _speaks(kind, operation):
            raise UnknownModel(
                f"model {name!r} is served by provider {provider!r} of kind {kind!r}, "
                f"which does not answer {operation} calls"
            )
        return Target(provider, model)

    def _unknown(self, name: str, operation: str, speaking: list[str]) -> str:
        models = sorted(self._config.models)
        text = f"model {name[:200]!r} is not configured"
        near = difflib.get_close_matches(name, models, n=1)
        if near:
            text += f"; did you mean {near[0]!r}?"
        if models:
            text += f"; configured models: {', '.join(models[:20])}"
        if speaking:
            prefixes = ", ".join(f"{provider}/MODEL" for provider in speaking)
            return f"{text}; or name the provider: {prefixes}"
        return f"{text}; no configured provider answers {operation} calls"


def endpoint(config: Config, provider: str) -> str:
    """Where calls of `provider` go, for people to read."""
    settings = config.providers[provider]
    return settings.base_url or DEFAULT_BASE_URLS[settings.kind] or "built in"


def _speaks(kind: str, operation: str) -> bool:
    return kind == "fake" or operation in _SPEAKS[kind]


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
