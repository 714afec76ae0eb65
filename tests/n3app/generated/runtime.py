"""The dictionaries of a generated backend, and how its routes call a model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from n3app.llm import BaseLLM, ChatMessage, Registry, Unjoined

APP = {"name": "Stand-in"}
RUNTIME_SETTINGS: dict[str, Any] = {
    "async_runtime": True,
    "llm_cache": {"ttl": 600, "maxsize": 50},
    "circuit_breaker": {"failure_threshold": 3},
}
MODEL_CACHE_CONFIG = {"gpt-4o-mini": {"ttl": 7200}}
LLM_REGISTRY: dict[str, dict[str, Any]] = {
    "fast": {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "config": {"temperature": 0.2, "max_tokens": 64, "system_prompt": "Be brief."},
    },
    "claude": {"provider": "anthropic", "model": "claude-x", "config": {"max_tokens": 9}},
    "late": {"provider": "openai", "model": "gpt-4o", "config": {"api_key": "${LATE_KEY}"}},
    "far": {"provider": "vertex", "model": "gemini-x", "config": {}},
}
# N3 could not make "late": it only logs that.
_LLM_INSTANCES: dict[str, BaseLLM] = {
    name: Unjoined(name, spec["model"], spec["config"])
    for name, spec in LLM_REGISTRY.items()
    if name != "late"
}
_REGISTRY = Registry()


def get_llm_registry() -> Registry:
    return _REGISTRY


async def call_llm(name: str, payload: dict[str, Any]) -> dict[str, Any]:
    """As N3's connectors do it: the whole payload goes along as keywords."""
    llm = _LLM_INSTANCES[name]
    assert isinstance(llm, BaseLLM)
    messages = [ChatMessage("user", payload["prompt"])]
    reply = await llm.agenerate_chat(messages, **payload)  # type: ignore[attr-defined]
    return {"text": reply.text, "usage": reply.usage, "provider": llm.get_provider_name()}


async def stream_llm(name: str, payload: dict[str, Any]) -> AsyncIterator[str]:
    llm: Any = _LLM_INSTANCES[name]
    messages = [ChatMessage("user", payload["prompt"])]
    async for chunk in llm.stream_generate_chat(messages, **payload):
        yield chunk.text
        if chunk.finish_reason:
            break
