"""Opens the batch API of a provider."""

from __future__ import annotations

from headgate.clock import Clock
from headgate.jobs.apis.anthropic import AnthropicBatches
from headgate.jobs.apis.asking import Asking, Patience
from headgate.jobs.apis.base import BatchApi
from headgate.jobs.apis.openai import OpenAiBatches
from headgate.providers.settings import ProviderConfig
from headgate.providers.wire_client import open_wire
from headgate.types import Headers

VERSION = (b"anthropic-version", b"2023-06-01")


def open_api(
    provider: ProviderConfig, api: str, clock: Clock, said: Headers, patience: Patience
) -> BatchApi:
    """The batch API `api` (`openai` or `anthropic`) of a provider, with the headers that a job's
    maker has said; connections of its own, so that nobody who configures anew cuts them. Close
    it."""
    wire = open_wire(provider)
    if api == "anthropic":
        version = () if any(name == VERSION[0] for name, _ in said) else (VERSION,)
        return AnthropicBatches(Asking(provider, wire, clock, said + version, patience))
    return OpenAiBatches(Asking(provider, wire, clock, said, patience))
