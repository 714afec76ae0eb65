"""What the rules of the cache see of a request to Google."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.eligibility import bypass_reason
from headgate.core.generate import usual_terms
from headgate.core.verdict import LIMIT_FIELDS
from headgate.types import GENERATE, Policy

ASKED: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}


def reason(policy: Policy | None = None, **fields: Any) -> str:
    terms = usual_terms({**ASKED, **fields})
    return bypass_reason(GENERATE, terms, policy or Policy())


def test_a_plain_question_may_be_cached() -> None:
    assert reason() == ""
    assert reason(generationConfig={"temperature": 0.5, "maxOutputTokens": 9}) == ""


@pytest.mark.parametrize("name", ["functionDeclarations", "function_declarations"])
def test_declared_functions_run_in_the_client(name: str) -> None:
    assert reason(tools=[{name: [{"name": "f"}]}]) == ""


@pytest.mark.parametrize(
    "tool",
    [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}, {"new": {}}, "odd",
     {"functionDeclarations": [], "googleSearch": {}}],
    ids=str,
)  # fmt: skip
def test_every_other_tool_is_the_providers(tool: Any) -> None:
    assert reason(tools=[{"functionDeclarations": []}, tool]) == "hosted_tools"


@pytest.mark.parametrize("name", ["cachedContent", "cached_content"])
def test_content_kept_by_the_provider_is_state(name: str) -> None:
    assert reason(**{name: "cachedContents/1"}) == "server_state"


@pytest.mark.parametrize(
    "part",
    [{"fileData": {"fileUri": "https://example.com/a.pdf"}}, {"file_data": {"file_uri": "gs://b"}}],
    ids=str,
)
@pytest.mark.parametrize("place", ["contents", "systemInstruction", "system_instruction"])
def test_files_elsewhere_are_remote_media(place: str, part: Any) -> None:
    content = {"parts": [part]}
    assert reason(**{place: [content] if place == "contents" else content}) == "remote_media"


def test_temperature_limit_and_choices_are_found_in_the_configuration() -> None:
    for config in ({"temperature": 1.5, "maxOutputTokens": 5, "candidateCount": 2},
                   {"temperature": 1.5, "max_output_tokens": 5, "candidate_count": 2}):  # fmt: skip
        for name in ("generationConfig", "generation_config"):
            terms = usual_terms({**ASKED, name: config})
            assert (terms["temperature"], terms["n"]) == (1.5, 2)
            assert [terms[field] for field in LIMIT_FIELDS if terms.get(field)] == [5]
    assert (
        reason(Policy(temperature_max=1.0), generationConfig={"temperature": 1.5}) == "temperature"
    )


@pytest.mark.parametrize("config", [None, 5, "x", [1]])
def test_a_configuration_that_makes_no_sense_is_the_providers_to_refuse(config: Any) -> None:
    assert reason(generationConfig=config) == ""
