"""A generated backend as its owner runs it: under uvicorn, before a provider that fails as told."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from appspelling import DESK, app_of
from desks import Service, served
from gates import Got
from oracle import until

from headgate.testing import Answer, Exchange, Pause, Status, Usual, alias_of

APP = (
    DESK.replace("maxsize: 5000 } }", "maxsize: 5000 }, circuit_breaker: { failure_threshold: 3,"
                 " recovery_timeout: 1, success_threshold: 1 } }")
    + 'prompt "loose" { model: "fast" args: { text: "string" } template: "Say {{text}}" }\n'
    + 'prompt "any" { model: "fast" args: { thing: "object" } template: "{{thing}}" }\n'
    + 'prompt "pair" { model: "fast" args: { input: "string", thing: "object" }'
    ' template: "{{input}} {{thing}}" }\n'
    + 'chain "any" { steps: ["pair"] }\n'
    + 'llm "weak" { provider: "openai" model: "weak-1" }\n'
)  # fmt: skip
STREAM = {"accept": "text/event-stream"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("backend")
    with served(app_of(APP), folder, "[retry]\nattempts = 1\n") as running:
        yield running


def events_of(got: Got) -> list[tuple[str, Any]]:
    found = re.findall(r"(?:event: (\w+)\n)?data: (.*)\n\n", got.body.decode())
    return [(name, json.loads(document)) for name, document in found]


def body_of(call: Exchange) -> Mapping[str, Any]:
    body: Mapping[str, Any] = call.body
    return body


def test_a_model_is_asked_once_with_everything_its_block_says(service: Service) -> None:
    first, second, calls = service.twice("/api/llm/fast", {"prompt": "Hi"})
    assert [reply.json["cached"] for reply in (first, second)] == [False, True]
    assert first.json["output"] == second.json["output"]
    assert [body_of(call) for call in calls] == [
        {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
            ],
            "temperature": 0.2,
            "max_tokens": 64,
        }
    ]
    assert calls[0].headers["authorization"] == alias_of("sk-ours")


def test_messages_reach_anthropic_in_its_own_dialect(service: Service) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    first, second, calls = service.twice("/api/llm/careful", {"messages": messages})
    assert [reply.json["cached"] for reply in (first, second)] == [False, True]
    assert len(calls) == 1
    assert calls[0].path == "/v1/messages"
    assert (calls[0].headers["x-api-key"], calls[0].headers["anthropic-version"]) == (
        alias_of("sk-ant-ours"), "2023-06-01",
    )  # fmt: skip
    assert body_of(calls[0]) == {
        "model": "claude-sonnet-4",
        "max_tokens": 4096,
        "system": "Be kind.",
        "messages": messages[1:],
        "stop_sequences": ["END"],
    }


def test_a_prompt_sends_its_schema_and_answers_an_object(service: Service) -> None:
    answer = '{"summary": "short"}'
    path, asked = "/api/prompts/summarise", {"text": "a {{points}} b", "points": 2}
    first, second, calls = service.twice(path, asked, answer)
    assert first.json["output"] == {"summary": "short"}
    assert second.json == {**first.json, "cached": True}
    assert len(calls) == 1
    sent = body_of(calls[0])
    assert sent["messages"][-1]["content"] == "Summarise a {{points}} b in 2 points."
    assert sent["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "properties": {"summary": {"type": "string"}},
        "required": ["summary"],
        "additionalProperties": False,
    }


def test_output_of_another_type_is_an_error_with_the_reason(service: Service) -> None:
    service.server.script(Answer(text="{}"))
    service.server.script(Answer(text="[]"))
    reply = service.post("/api/prompts/summarise", {"text": "wrong"})
    service.server.clear()
    assert reply.status == 502
    assert "Input should be an object" in reply.json["error"]["message"]


def test_a_chain_asks_each_step_once(service: Service) -> None:
    body = {"input": "a long text"}
    first, second, calls = service.twice("/api/chains/flow", body, '{"summary": "s"}', "Title")
    assert [step["name"] for step in first.json["steps"]] == ["summarise", "title"]
    assert (first.json["output"], first.json["cached"]) == ("Title", False)
    assert second.json["cached"] is True
    assert [call.path for call in calls] == ["/v1/chat/completions", "/v1/messages"]
    assert body_of(calls[1])["messages"][-1]["content"] == 'Title: {"summary":"s"}'


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/llm/fast", {"prompt": "flow"}), ("/api/prompts/loose", {"text": "flow"}),
     ("/api/prompts/title", {"text": "flow"})],
)  # fmt: skip
def test_a_stream_is_kept_and_answers_again(service: Service, path: str, body: Any) -> None:
    before = len(service.server.calls)
    live, replayed = (service.post(path, body, STREAM) for _ in range(2))
    whole = service.post(path, body)
    assert len(service.since(before)) == 1
    for stream, cached in ((live, False), (replayed, True)):
        *deltas, done = events_of(stream)
        assert "".join(document["delta"] for _, document in deltas) == whole.json["output"]
        assert done == ("done", {**whole.json, "cached": cached})
    assert live.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/llm/fast", {}, 422),
        ("/api/llm/fast", {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, 422),
        ("/api/prompts/summarise", {"text": 1}, 422),
        ("/api/prompts/summarise", {"text": "x", "more": 1}, 422),
        ("/api/prompts/nobody", {}, 404),
        ("/api/llm/fast", b"x" * 10_000_001, 413),
        ("/api/llm/fast", b'{"prompt": "\\ud800"}', 400),
        ("/api/prompts/summarise", b'{"text": "x", "points": Infinity}', 422),
        ("/api/prompts/summarise", b'{"text": "x", "points": NaN}', 422),
        ("/api/llm/fast", b'{"prompt": ' + b"[" * 100_000, 400),
        ("/api/llm/fast", b"\xff", 400),
        ("/api/llm/fast", b"", 422),
        ("/api/llm/fast", b'{"prompt": "x", "\\ud800": 1}', 422),
        ("/api/prompts/title", b'{"text": "\\ud800"}', 400),
        ("/api/prompts/any", b'{"thing": {"a": "\\ud800"}}', 400),
        ("/api/chains/any", b'{"input": "x", "thing": {"a": "\\ud800"}}', 400),
        ("/api/chains/flow", {"points": 3}, 422),
        ("/api/chains/flow", {"text": "x", "input": "y"}, 422),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(
    service: Service, path: str, body: Any, status: int
) -> None:
    before = len(service.server.calls)
    assert service.post(path, body).status == status
    assert service.since(before) == []


def test_a_breaker_opens_and_the_service_recovers(service: Service) -> None:
    server = service.server
    server.script(Status(500), times=None)
    failed = [service.post("/api/llm/weak", {"prompt": f"x{number}"}) for number in range(3)]
    assert [reply.status for reply in failed] == [502, 502, 502]
    asked: list[tuple[Got, int]] = []

    def is_refused() -> bool:
        # On a busy machine a call may come so late that the breaker lets it try.
        before = len(server.calls)
        reply = service.post("/api/llm/weak", {"prompt": "y"})
        asked.append((reply, len(service.since(before))))
        return reply.json["error"]["code"] == "provider_unavailable"

    until(is_refused, "the breaker is open")
    refused, calls = asked[-1]
    assert (refused.status, calls) == (503, 0)
    assert int(refused.headers["retry-after"]) >= 1
    server.clear()
    until(
        lambda: service.post("/api/llm/weak", {"prompt": "y"}).status == 200, "the breaker closes"
    )


def test_numbers_are_at_hand_and_the_cache_is_cleared(service: Service) -> None:
    asked = {"prompt": "count me"}
    service.post("/api/llm/fast", asked)
    service.post("/api/llm/fast", asked)
    numbers = service.get("/api/metrics/llm").json
    assert numbers["cache"]["maxsize"] == 5000
    assert numbers["metrics"]["by_model"]["gpt-4o-mini"]["calls"] >= 2
    assert "llm_cache_hits" in service.get("/metrics").body.decode()
    assert (service.get("/healthz").status, service.get("/readyz").status) == (200, 200)
    cleared = service.post("/api/admin/clear-cache", b"")
    assert (cleared.json["status"], cleared.json["entries_removed"] > 0) == ("cleared", True)
    assert service.post("/api/llm/fast", asked).json["cached"] is False
    stranger = service.get("/api/metrics/llm", {"x-forwarded-for": "10.0.0.1"})
    assert stranger.status == 401


def test_a_client_that_leaves_early_costs_no_second_call(service: Service) -> None:
    server, pause = service.server, Pause()
    server.script(Usual(0, 4), pause, Usual(4))
    before = len(server.calls)
    asked = {"prompt": "leave early"}
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    headers = {**STREAM, "content-type": "application/json"}
    connection.request("POST", "/api/llm/fast", json.dumps(asked), headers)
    reply = connection.getresponse()
    assert reply.read(6) == b"data: "
    reply.close()
    connection.close()
    pause.wait_reached()
    pause.release()
    until(lambda: service.post("/api/llm/fast", asked).json["cached"], "the answer is in the cache")
    assert len(service.since(before)) == 1
    assert service.get("/readyz").status == 200
