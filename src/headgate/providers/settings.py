"""The settings of one provider and of one model. This file imports core and types only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from headgate.core.units import Bounds, Bytes, Dollars, Factor, Seconds
from headgate.types import Secret

DEFAULT_BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "fake": "",
}


@dataclass(frozen=True)
class ProviderConfig:
    """`[providers.NAME]`: where calls go."""

    kind: Literal["openai", "anthropic", "fake"] = "openai"
    """Dialect: anything OpenAI-compatible is `openai`; `fake` answers by itself, offline."""
    base_url: str = ""
    """As the official SDKs take it: OpenAI with /v1, Anthropic without; absent: the vendor's."""
    api_key: Secret = Secret("")
    """Sent to this provider; absent: the client's own credential is forwarded."""
    api_keys: tuple[Secret, ...] = ()
    """Several keys instead of api_key: where one is refused or throttled, the next is used."""
    connect_timeout: Annotated[Seconds, Bounds(0, above=True)] = 10.0
    """Name look-up, connection and TLS handshake."""
    first_byte_timeout: Annotated[Seconds, Bounds(0, above=True)] = 600.0
    """From the start of the attempt, connecting included, to the head of the reply."""
    first_token_timeout: Annotated[Seconds, Bounds(0, above=True)] = 60.0
    """Of a stream: from the start of the attempt to its first content."""
    idle_timeout: Annotated[Seconds, Bounds(0, above=True)] = 120.0
    """Between two chunks of a stream."""
    total_timeout: Annotated[Seconds, Bounds(0, above=True)] = 600.0
    """From the start of the attempt to the end of the answer, streamed or not."""
    reply_max_bytes: Annotated[Bytes, Bounds(1024)] = 64_000_000
    """A larger answer is an error."""
    connections_max: Annotated[int, Bounds(1, 10_000)] = 1000
    """Connections to this provider at a time."""
    requests_per_minute: Annotated[int | None, Bounds(1, 1_000_000_000)] = None
    """Of each model and credential, as providers count; absent: no limit of ours."""
    tokens_per_minute: Annotated[int | None, Bounds(1, 1_000_000_000_000)] = None
    """Input and output, likewise; reserved by an estimate, then settled. Absent: no limit."""
    ask_stream_usage: bool = True
    """Ask for usage in streams (`stream_options`); who did not ask does not see the extra event."""
    idempotency_key: bool = False
    """Name each call (`Idempotency-Key`), for a provider that answers a repeat as it did before."""
    latency: Annotated[Seconds, Bounds(0)] = 0.0
    """`fake` only: how long it takes to answer."""

    @property
    def has_key(self) -> bool:
        """Whether the operator's own credential goes out, not the client's."""
        return bool(self.api_key) or bool(self.api_keys) or self.kind == "fake"


@dataclass(frozen=True)
class ModelConfig:
    """`[models."NAME"]`: what a model name leads to."""

    targets: tuple[str, ...] = ()
    """`provider/model` in the order they are tried; by chance with weights: `provider/model=3`."""
    fallbacks: tuple[str, ...] = ()
    """Models asked when every target failed."""
    context_fallbacks: tuple[str, ...] = ()
    """Models asked when the prompt is too long for this one, and only then."""
    content_fallbacks: tuple[str, ...] = ()
    """Models asked when the provider's filter refused the prompt, and only then."""
    reasoning: bool = False
    """It thinks for minutes: its first token may take 300 s, and it is never counted as slow."""
    first_token_timeout: Annotated[Seconds, Bounds(0)] = 0.0
    """As in [providers], for this model; 0: as its provider."""
    idle_timeout: Annotated[Seconds, Bounds(0)] = 0.0
    """As in [providers], for this model; 0: as its provider."""
    total_timeout: Annotated[Seconds, Bounds(0)] = 0.0
    """As in [providers], for this model; 0: as its provider."""


@dataclass(frozen=True)
class PriceConfig:
    """`[prices."NAME"]`: what you pay for `provider/model`, or for `model` at every provider."""

    input: Annotated[Dollars | None, Bounds(0, 1_000_000)] = None
    """Plain input, dollars per million tokens; must be set."""
    output: Annotated[Dollars | None, Bounds(0, 1_000_000)] = None
    """Output, reasoning included; must be set, for embeddings to 0."""
    cache_read: Annotated[Dollars | None, Bounds(0, 1_000_000)] = None
    """Input that the provider read from its own prompt cache; absent: as input."""
    cache_write: Annotated[Dollars | None, Bounds(0, 1_000_000)] = None
    """Input that it wrote to that cache; absent: as input."""
    cache_write_1h: Annotated[Dollars | None, Bounds(0, 1_000_000)] = None
    """The same, kept for an hour; absent: as cache_write."""
    batch: Annotated[Factor | None, Bounds(0, 1)] = None
    """What batch jobs cost of all this, such as 0.5; absent: they have no price."""


REASONING_FIRST_TOKEN_S = 300.0
"""Until the first token of a model that thinks before it writes."""
