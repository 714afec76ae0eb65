"""Which requests the cache may be asked about."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.eligibility import bypass_reason
from headgate.types import OPERATIONS


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
        chat(mcp_servers=[{"type": "url", "url": "https://x"}]),
    ],
    "hosted_tools": [
        chat(tools=[FUNCTION, {"type": "web_search_preview"}]),
        chat(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]),
        chat(tools=[{"type": "mcp", "server_url": "https://x"}]),
        chat(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        chat(web_search_options={"search_context_size": "low"}),
        chat(web_search_options={}),
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
