"""How commands ask a gateway, and what they say when it cannot be asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from gates import Gate
from ports import refusing_port

from headgate.config import Config, ServerConfig
from headgate.surfaces.admin_client import TOKEN_VARIABLE, URL, AdminClient, GatewayError
from headgate.types import Secret

CHAT = "/v1/chat/completions"


def asked(gate: Gate, model: str = "m", text: str = "q") -> None:
    gate.post(CHAT, {"model": model, "messages": [{"role": "user", "content": text}]})


def refusal(ask: Callable[[], Any]) -> str:
    """The message it fails with."""
    with pytest.raises(GatewayError) as caught:
        ask()
    return caught.value.message


def test_it_asks_for_numbers_entries_and_removal(gate: Gate) -> None:
    asked(gate, "a")
    asked(gate, "b", "x & y=z")
    client = AdminClient(gate.url + "/")
    assert client.stats()["metrics"]["total_calls"] == 2
    assert [entry["model"] for entry in client.entries()] == ["b", "a"]
    assert [entry["model"] for entry in client.entries(model="a")] == ["a"]
    assert client.clear(model="a", dry_run=True) == 1
    assert client.clear() == 2
    assert client.entries() == []


def test_a_name_with_any_characters_selects_exactly_itself(gate: Gate) -> None:
    asked(gate, "a b&model=c/ü?#")
    client = AdminClient(gate.url)
    assert len(client.entries(model="a b&model=c/ü?#")) == 1
    assert client.entries(model="c/ü?#") == []


def test_the_gateway_is_named_by_argument_then_variable_then_default(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AdminClient().url == URL == "http://127.0.0.1:4000"
    monkeypatch.setenv("HEADGATE_URL", gate.url)
    assert AdminClient().url == gate.url
    assert AdminClient("http://h:1").url == "http://h:1"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4000", "ftp://h", "http://", "http://h:port", "http://h:99999", "http://h/v1",
        "http://h?a=b", "http://h#a", "http://user:sesame@h", "http://[::1", "http://h\n.x",
    ],
)  # fmt: skip
def test_what_is_no_gateways_url_is_refused(url: str) -> None:
    message = refusal(lambda: AdminClient(url))
    assert "--url must be like http://127.0.0.1:4000" in message
    assert "sesame" not in message


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b"])
def test_where_nobody_answers_it_names_the_command_that_starts_one(host: str) -> None:
    with refusing_port() as port:
        client = AdminClient(f"http://{host}:{port}")
        message = refusal(client.stats)
    assert message.startswith(f"no gateway answers at {client.url} (")
    assert "`headgate serve`" in message
    assert "--url" in message
    assert "\n" not in message


class Other(BaseHTTPRequestHandler):
    """A server that is no gateway: every answer is the `status` and `content` of its class."""

    status, content = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def other_server() -> Iterator[Callable[[int, bytes], str]]:
    """Starts a server that is no gateway and returns its URL."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def start(status: int, content: bytes) -> str:
        kind = type("Answering", (Other,), {"status": status, "content": content})
        server = HTTPServer(("127.0.0.1", 0), kind)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b"<html>"), (200, b"{}"), (200, b'{"cache": {}}'), (200, b"[]"), (200, b"\xff\x00"),
        (301, b""), (404, b'{"detail": "Not Found"}'), (401, b"who are you?"), (500, b'"oh"'),
        (404, b'{"error": "no"}'),
    ],
)  # fmt: skip
def test_a_server_that_is_no_gateway_is_recognised(
    other_server: Callable[[int, bytes], str], status: int, content: bytes
) -> None:
    url = other_server(status, content)
    expected = f"{url} answers {status}, but not as a headgate gateway does"
    assert refusal(AdminClient(url).stats) == expected
    assert refusal(AdminClient(url).entries) == expected


def test_a_gateways_own_refusal_is_repeated(gate: Gate) -> None:
    message = refusal(lambda: AdminClient(gate.url).clear(older_than="soon"))
    assert message.startswith(f"{gate.url} answers 400: expected a duration")


def test_a_server_that_does_not_speak_http_is_no_gateway() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=babble)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert refusal(AdminClient(url).stats).startswith(f"no gateway answers at {url} (")
        thread.join()


@pytest.fixture
def guarded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gateway that asks for the token `t0ken-a`, as one that other machines can reach does."""
    config = Config(server=ServerConfig(host="0.0.0.0", admin_token=Secret("t0ken-a")))
    served = Gate(config)
    yield served
    served.close()


def test_the_token_comes_from_the_environment(
    guarded: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "t0ken-a\n")
    assert AdminClient(guarded.url).stats()["metrics"]["total_calls"] == 0


def test_without_the_token_its_variable_is_named(guarded: Gate) -> None:
    message = refusal(AdminClient(guarded.url).stats)
    assert message == f"{guarded.url} asks for the admin token: set HEADGATE_ADMIN_TOKEN"


def test_a_wrong_token_is_refused_and_not_repeated(
    guarded: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "t0ken-b")
    message = refusal(AdminClient(guarded.url).stats)
    assert message == f"{guarded.url} does not accept the admin token: set HEADGATE_ADMIN_TOKEN"


@pytest.mark.parametrize("token", ["t0ken\r\nx: y", "t0kün", "t0ken\x00"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    message = refusal(lambda: AdminClient(URL, token))
    assert "HEADGATE_ADMIN_TOKEN" in message
    assert "t0k" not in message
