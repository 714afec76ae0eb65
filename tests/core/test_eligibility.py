"""Which requests the cache may be asked about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.eligibility import bypass_reason, may_hold_media
from headgate.types import OPERATIONS, Policy


def chat(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts) or "Hello?"}], **more}


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}

REASONS: dict[str, list[dict[str, Any]]] = {
    "background": [chat(background=True)],
    "server_state": [
        chat(store=True),
        {"input": "q", "previous_response_id": "resp_1"},
        {"input": "q", "conversation": "conv_1"},
        {"input": "q", "conversation": {"id": "conv_1"}},
        {"input": "q", "prompt": {"id": "pmpt_1"}},
        chat(container="container_1"),
    ],
    "hosted_tools": [
        chat(tools=[FUNCTION, {"type": "web_search_preview"}]),
        chat(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]),
        chat(tools=[{"type": "mcp", "server_url": "https://x"}]),
        chat(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        chat(web_search_options={"search_context_size": "low"}),
        chat(web_search_options={}),
        chat(mcp_servers=[{"type": "url", "url": "https://x"}]),
    ],
    "remote_media": [
        chat({"type": "image_url", "image_url": {"url": "https://x/y.png"}}),
        chat({"type": "image_url", "image_url": {"url": "HTTP://x/y.png"}}),
        chat({"type": "image", "source": {"type": "url", "url": "http://x"}}),
        chat({"type": "document", "source": {"type": "file", "file_id": "f1"}}),
        chat({"type": "file", "file": {"file_id": "f1"}}),
        chat({"type": "tool_result", "content": [{"source": {"url": "https://x"}}]}),
        {"input": [{"content": [{"type": "input_image", "image_url": "https://x"}]}]},
        {"input": [{"content": [{"type": "input_file", "file_url": "gs://x"}]}]},
        {"system": [{"type": "image", "source": {"type": "url", "url": "s3://x"}}]},
        {"instructions": [{"image_url": "https://x"}]},
    ],
    "": [
        chat(),
        chat(tools=[FUNCTION]),
        chat(tools=[{"name": "f", "input_schema": {"properties": {"url": {"type": "string"}}}}]),
        chat(tools=[{"type": "custom", "name": "f"}]),
        chat(tools=None, store=False, background=False, web_search_options=None),
        chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        chat({"type": "text", "text": "see https://example.org"}),
        {"input": "https://example.org"},
        {"input": ["https://example.org", "b"]},
        {"prompt": "once upon"},
        {"prompt": ["a", "b"]},
        {"input": "q", "previous_response_id": None},
    ],
}
CASES = [(reason, fields) for reason, cases in REASONS.items() for fields in cases]


@pytest.mark.parametrize(("reason", "fields"), CASES, ids=lambda value: str(value)[:90])
def test_a_request_is_asked_about_or_bypasses_for_its_reason(
    reason: str, fields: dict[str, Any]
) -> None:
    assert bypass_reason("responses", fields) == reason


ALLOWED = {
    "server_state": Policy(server_state=True),
    "hosted_tools": Policy(hosted_tools=True),
    "remote_media": Policy(remote_media=True),
}


@pytest.mark.parametrize("reason", ALLOWED)
def test_an_operator_may_allow_what_is_not_cached_by_default(reason: str) -> None:
    for fields in REASONS[reason]:
        assert bypass_reason("responses", fields, ALLOWED[reason]) == ""


def test_a_body_without_the_words_of_media_is_not_walked_through() -> None:
    for reason, fields in CASES:
        body = json.dumps(fields).encode()
        possible = may_hold_media(body)
        assert possible or reason != "remote_media"
        assert bypass_reason("responses", fields, media_possible=possible) == reason
    assert not may_hold_media(json.dumps(chat()).encode())
    assert may_hold_media(b'{"messages":[{"image\\u005fu\\u0072l":"https://x"}]}')


def test_a_model_that_is_switched_off_bypasses() -> None:
    assert bypass_reason("chat", chat(), Policy(enabled=False)) == "disabled"


@pytest.mark.parametrize(
    ("temperature", "reason"),
    [(0, ""), (0.2, ""), (0.3, "temperature"), (None, "temperature"), ("x", "temperature")],
)
def test_only_requests_at_or_below_the_operators_temperature_are_cached(
    temperature: Any, reason: str
) -> None:
    fields = chat(temperature=temperature)
    assert bypass_reason("chat", fields, Policy(temperature_max=0.2)) == reason
    assert bypass_reason("chat", fields) == ""


def test_a_request_without_a_temperature_has_the_providers_which_is_not_low() -> None:
    assert bypass_reason("chat", chat(), Policy(temperature_max=0.5)) == "temperature"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_plain_request_of_every_operation_may_be_cached(operation: str) -> None:
    assert bypass_reason(operation, chat()) == ""


@pytest.mark.parametrize("operation", ["count_tokens", "models", "files", ""])
def test_other_operations_are_not_cacheable(operation: str) -> None:
    assert bypass_reason(operation, chat()) == "not_cacheable"


@pytest.mark.parametrize(
    "fields",
    [{"tools": "x"}, {"tools": [1, None]}, {"tools": {"type": "x"}}, {"messages": 5}],
    ids=str,
)
def test_ill_typed_fields_are_left_to_the_provider(fields: dict[str, Any]) -> None:
    assert bypass_reason("chat", fields) == ""
