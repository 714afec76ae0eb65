"""`headgate serve` as users start it: readiness, operations, signals."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest
from programs import until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from headgate.testing import FakeProvider, Hang

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
OPENMETRICS = "application/openmetrics-text"
Start = Callable[..., Any]


def test_a_process_serves_sdks_and_tells_its_numbers(
    start_process: Start, provider: FakeProvider
) -> None:
    process = start_process()
    with openai.OpenAI(base_url=process.openai_url, api_key="k") as client:
        for _ in range(3):
            client.chat.completions.create(**BODY)
    assert len(provider.calls) == 1
    numbers = process.get("/api/metrics/llm").json
    assert (numbers["cache"]["hits"], numbers["cache"]["misses"]) == (2, 1)
    assert numbers["metrics"]["by_model"]["m"]["calls"] == 3
    for accept, parse in (
        ("text/plain", prometheus),
        ("application/openmetrics-text", openmetrics),
    ):
        scraped = process.get("/metrics", {"accept": accept})
        calls = [
            sample.value
            for family in parse(scraped.body.decode())
            for sample in family.samples
            if sample.name == "llm_calls"
        ]
        assert calls == [3.0]
    cleared = process.post("/api/admin/clear-cache", b"")
    assert cleared.json == {"status": "cleared", "entries_removed": 1}
    assert "Traceback" not in process.output()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "evil.example"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"x-forwarded-for": "127.0.0.1"}, 401),
        ({"forwarded": "for=127.0.0.1"}, 401),
        ({"authorization": "Bearer wrong", "x-real-ip": "127.0.0.1"}, 401),
    ],
    ids=str,
)
def test_admin_routes_are_for_this_machine(gate: Any, headers: dict[str, str], status: int) -> None:
    assert gate.get("/api/metrics/llm", headers).status == status
    assert gate.post("/api/admin/clear-cache", b"", headers).status == status
    assert gate.get("/healthz", headers).status == 200


def test_the_admin_token_opens_an_exposed_gateway(start_process: Start) -> None:
    server = '[server]\nhost = "0.0.0.0"\ninsecure_open = true\nadmin_token = "${ADMIN}"\n'
    process = start_process(server, ADMIN="t0ken")
    assert process.get("/api/metrics/llm").status == 401
    assert process.get("/api/metrics/llm", {"authorization": "Bearer wrong"}).status == 401
    assert process.get("/api/metrics/llm", {"authorization": "Bearer t0ken"}).status == 200
    assert "t0ken" not in process.output()


def ended(process: Any) -> int:
    code: int = process.running.wait(60)
    return code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_process_with_status_0(
    start_process: Start, number: signal.Signals
) -> None:
    process = start_process()
    with socket.create_connection(("127.0.0.1", process.port), timeout=60) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        process.running.send_signal(number)
        assert ended(process) == 0, "a connection kept alive must not hold it up"
    assert "Traceback" not in process.output()


def test_a_running_call_finishes_after_sigterm_and_no_other_is_taken(
    start_process: Start, provider: FakeProvider
) -> None:
    process = start_process()
    provider.hold()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(process.post(CHAT, BODY)))
    asking.start()
    provider.wait_for_calls(1)
    process.running.send_signal(signal.SIGTERM)
    until(lambda: not accepts(process.port))
    provider.release()
    asking.join()
    assert answers[0].status == 200
    assert answers[0].json["choices"]
    assert ended(process) == 0
    assert "Traceback" not in process.output()


def accepts(port: int) -> bool:
    """Whether anybody still listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except OSError:
        return False
    return True


def test_the_drain_has_an_end(start_process: Start, provider: FakeProvider) -> None:
    process = start_process('[server]\ndrain_timeout = "1s"\n')
    provider.script(Hang(after_bytes=1200))
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    body = json.dumps({**BODY, "stream": True})
    connection.request("POST", CHAT, body, {"content-type": "application/json"})
    reply = connection.getresponse()
    process.running.send_signal(signal.SIGTERM)
    assert ended(process) == 0
    reply.close()
    connection.close()
    provider.wait_for_abandoned(1)


def test_a_disk_tier_outlives_the_process(
    start_process: Start, provider: FakeProvider, tmp_path: Any
) -> None:
    toml = f'[cache]\npersist = true\npersist_path = "{tmp_path / "cache.db"}"\n'
    first = start_process(toml)
    answer = first.post(CHAT, BODY)
    first.running.send_signal(signal.SIGTERM)
    assert ended(first) == 0
    again = start_process(toml).post(CHAT, BODY)
    assert "; hit; " in again.headers["cache-status"]
    assert again.body == answer.body
    assert len(provider.calls) == 1
