"""The names that go out are promises to dashboards: this list is the one of docs/observability.md,
and changes with it alone.
"""

from __future__ import annotations

from pathlib import Path

from headgate.telemetry import names

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
ATTRIBUTES = {
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model",
    "gen_ai.response.model", "gen_ai.request.stream", "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.response.finish_reasons", "gen_ai.response.time_to_first_chunk", "error.type",
    "server.address", "llm.cache.result", "headgate.call.id", "headgate.call.result",
    "headgate.cost.kind", "gen_ai.token.type",
}  # fmt: skip
METRICS = {
    "gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.client.token.usage", "headgate.calls", "headgate.cost",
}  # fmt: skip


def strings() -> set[str]:
    every = vars(names).items()
    return {value for name, value in every if name.isupper() and isinstance(value, str)}


def test_the_names_are_these() -> None:
    assert {name for name in strings() if "." in name} == ATTRIBUTES | METRICS


def test_each_name_stands_in_the_document() -> None:
    page = PAGE.read_text("utf-8")
    assert [name for name in sorted(ATTRIBUTES | METRICS) if f"`{name}`" not in page] == []


def test_the_cache_has_five_results() -> None:
    every = {names.HIT, names.MISS, names.STALE, names.BYPASS, names.COLLAPSED}
    assert every == {"hit", "miss", "stale", "bypass", "collapsed"}


def test_the_bounds_are_those_of_the_conventions() -> None:
    seconds, tokens = names.SECONDS_BOUNDS, names.TOKENS_BOUNDS
    assert (len(seconds), seconds[0], seconds[-1]) == (14, 0.01, 81.92)
    assert (len(tokens), tokens[0], tokens[-1]) == (14, 1, 67_108_864)


def test_no_source_imports_names_that_move() -> None:
    folder = Path(names.__file__).parent
    assert not [p.name for p in folder.glob("*.py") if "_incubating" in p.read_text("utf-8")]
