"""Providers reached over HTTP: where a request goes, with which credential, what is handed on.

Bodies pass through untouched in both directions, but that streams are asked for their usage. Where
a call goes is decided by configuration alone: nothing in a body or header can name a host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headgate.clock import Clock
from headgate.core.backoff import with_plain_wait
from headgate.core.idempotency import HEADER, drawn_name, key_at
from headgate.core.rewrite import with_stream_usage
from headgate.errors import UpstreamGarbled
from headgate.providers.settings import DEFAULT_BASE_URLS, ModelConfig, ProviderConfig
from headgate.providers.wire import Wire, WireLimits, WireReply
from headgate.stream import Chunks, Whole
from headgate.types import (
    NO_USAGE,
    Call,
    Headers,
    Invocation,
    Provenance,
    Reply,
    Service,
)

_HANDED_ON = frozenset({b"content-type", b"content-encoding", b"retry-after", b"retry-after-ms",
                        b"x-should-retry", b"x-request-id", b"request-id", b"openai-version",
                        b"openai-processing-ms", b"openai-organization",
                        b"anthropic-organization-id"})  # fmt: skip
_ERROR_BEGINS_WITHIN = 200
_USUAL_MODEL = ModelConfig()
_HANDED_ON_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")


def http_service(
    config: ProviderConfig, wire: Wire, clock: Clock, limits: Mapping[str, WireLimits] | None = None
) -> Service:
    """A Service that sends the call's bytes to its provider; `limits` by model where they differ
    from those of the provider."""
    root = root_of(config)
    credentials = credentials_of(config)
    usual_credential = next(iter(credentials.values()), ())
    usual = wire_limits(config)
    limits = limits or {}
    redact, naming = redactor_of(config), _naming(config, clock)

    async def service(call: Call) -> Reply:
        request = call.request
        if isinstance(request, Invocation):
            raise TypeError("an HTTP provider takes wire calls only")
        # A call that names none of our keys goes with the first: the client's is not for others.
        credential = credentials.get(call.target.credential) or usual_credential
        credential = credential or request.credential
        headers = request.headers + credential + naming(call, request.name)
        url = root + request.path
        body = request.body
        if call.streamed and config.ask_stream_usage and not call.usage_wanted:
            body = with_stream_usage(body)
        within = limits.get(call.settings_name, usual)
        answer = await wire.send(request.method, url, headers, body, within)
        if not 200 <= answer.status <= 599:
            await answer.aclose()
            raise UpstreamGarbled(f"the reply has status {answer.status}, which none can have")
        handed_on = hand_on(answer.headers)
        marked = Provenance(attempts=1, target=call.target.name)
        # An error is read whole, whatever it calls itself: it may quote our credential.
        if answer.status < 400 and _is_stream(answer):
            stream = Chunks(answer.chunks(), answer.aclose, redact)
            return Reply(answer.status, handed_on, stream, NO_USAGE, marked)
        try:
            content = await answer.read()
        finally:
            await answer.aclose()
        if answer.status != 200 or _calls_itself_error(content):
            content = redact(content)
        if answer.status >= 400:
            handed_on = with_plain_wait(handed_on, answer.headers)
        return Reply(answer.status, handed_on, Whole(content), NO_USAGE, marked)

    return service


def _naming(config: ProviderConfig, clock: Clock) -> Callable[[Call, bytes], Headers]:
    """What all attempts of a call at this target are known by: its client's own key, else one of
    ours where the provider is to have it."""

    def naming(call: Call, given: bytes) -> Headers:
        if given:
            return ((HEADER, given),)
        allowance = call.allowance
        # What goes out without one is no call: the list of models, say.
        if allowance is None or not config.idempotency_key:
            return ()
        allowance.name = allowance.name or drawn_name(clock.random(), clock.random())
        return ((HEADER, key_at(allowance.name, call.target.name)),)

    return naming


def wire_limits(config: ProviderConfig, model: ModelConfig = _USUAL_MODEL) -> WireLimits:
    """The time limits of one attempt: the model's where it has its own."""
    return WireLimits(
        connect_s=config.connect_timeout,
        first_byte_s=config.first_byte_timeout,
        idle_s=model.idle_timeout or config.idle_timeout,
        total_s=model.total_timeout or config.total_timeout,
        reply_max_bytes=config.reply_max_bytes,
    )


def model_limits(
    config: ProviderConfig, models: Mapping[str, ModelConfig]
) -> dict[str, WireLimits]:
    """The limits of those models that have their own."""
    return {
        name: wire_limits(config, model)
        for name, model in models.items()
        if model.idle_timeout or model.total_timeout
    }


def root_of(config: ProviderConfig) -> str:
    """Where the API of a provider begins: what stands before `/chat/completions` or `/messages`."""
    base_url = (config.base_url or DEFAULT_BASE_URLS[config.kind]).rstrip("/")
    return base_url + ("/v1" if config.kind == "anthropic" else "")


def credentials_of(config: ProviderConfig) -> dict[str, Headers]:
    """The header of each key, by alias; the only one of a provider has none."""
    keys = {"": config.api_key} if config.api_key else {}
    keys |= {f"key-{number}": key for number, key in enumerate(config.api_keys, 1)}
    return {alias: _header(config.kind, key.reveal()) for alias, key in keys.items()}


def _header(kind: str, key: str) -> Headers:
    if kind == "anthropic":
        return ((b"x-api-key", key.encode()),)
    return ((b"authorization", b"Bearer " + key.encode()),)


def redactor_of(config: ProviderConfig) -> Callable[[bytes], bytes]:
    """Providers quote credentials in their error bodies; ours must not reach a client."""
    keys = [key.reveal().encode() for key in (config.api_key, *config.api_keys) if key]

    def redact(content: bytes) -> bytes:
        for key in keys:
            content = content.replace(key, b"***")
        return content

    return redact


def _calls_itself_error(content: bytes) -> bool:
    """Whether a 200 may hold an error: only its beginning is looked at, as answers are long."""
    return b'"error"' in content[:_ERROR_BEGINS_WITHIN]


def _is_stream(answer: WireReply) -> bool:
    for name, value in answer.headers:
        if name == b"content-type" and value.startswith(b"text/event-stream"):
            return True
    return False


def hand_on(headers: Headers) -> Headers:
    """Those of a provider's headers that a client may see; names in lower case."""
    return tuple(
        [
            header
            for header in headers
            if header[0] in _HANDED_ON or header[0].startswith(_HANDED_ON_PREFIXES)
        ]
    )
