"""Every name that goes out by OpenTelemetry. They are strings of our own: the conventions for
generative AI are in development, and their Python constants move from release to release.
"""

from __future__ import annotations

from collections.abc import Mapping

SCOPE = "headgate"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
STREAM = "gen_ai.request.stream"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
"""With what came from the provider's cache, and what was written to it."""
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens"
REASONING = "gen_ai.usage.reasoning.output_tokens"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""Seconds."""
ERROR = "error.type"
SERVER = "server.address"

CACHE_RESULT = "llm.cache.result"
"""No convention has it: one of the five below."""
HIT, MISS, STALE, BYPASS, COLLAPSED = "hit", "miss", "stale", "bypass", "collapsed"
CALL_ID = "headgate.call.id"
CALL_RESULT = "headgate.call.result"
KIND = "headgate.cost.kind"

DURATION_METRIC = "gen_ai.client.operation.duration"
FIRST_CHUNK_METRIC = "gen_ai.client.operation.time_to_first_chunk"
TOKENS_METRIC = "gen_ai.client.token.usage"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - the name of an attribute
INPUT, OUTPUT = "input", "output"
CALLS_METRIC = "headgate.calls"
COST_METRIC = "headgate.cost"

SECONDS_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""10 ms to 81.92 s."""
TOKENS_BOUNDS = tuple(float(4**power) for power in range(14))
"""1 to 67 108 864."""

OPERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "generate": "generate_content",
}
"""Ours to theirs; any other is called what it is called here."""
DIALECTS: Mapping[str, str] = {"messages": "anthropic", "generate": "gcp.gemini"}
"""Operation to provider, for addresses that nobody has configured; any other speaks OpenAI's."""
