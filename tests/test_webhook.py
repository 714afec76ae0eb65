"""A web address that is told of alerts: once for each window, in bounded time, and never twice."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ports import refusing_port
from test_monitor import Gateway

from headgate.core.watch import ERROR_RATE, Alert, Report, Totals
from headgate.errors import ConfigError
from headgate.monitor import Monitor, Settings
from headgate.testing import FakeClock
from headgate.webhook import Webhook

QUIET = Report(300.0, Totals(calls=5))
LOUD = Report(300.0, Totals(calls=50, errors=9), (Alert(ERROR_RATE, 0.18, 0.05, "too many"),))


class Receiver(http.server.ThreadingHTTPServer):
    """Takes what is posted, and answers with `status`."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), _Post)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook-canary"


class _Post(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver: Any = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        receiver.taken.append((self.path, self.headers["content-type"], json.loads(body)))
        self.send_response(receiver.status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def test_a_window_with_an_alert_is_posted_as_json(receiver: Receiver) -> None:
    Webhook(receiver.url)(LOUD)
    ((path, kind, body),) = receiver.taken
    assert (path, kind) == ("/hook-canary", "application/json")
    assert body["text"].startswith("headgate: too many; 5 min: 50 calls")
    assert body["alerts"][0]["name"] == ERROR_RATE


def test_a_quiet_window_is_not_posted_one_after_which_an_alert_is_over_is(
    receiver: Receiver,
) -> None:
    Webhook(receiver.url)(QUIET)
    assert receiver.taken == []
    Webhook(receiver.url)(Report(300.0, Totals(), (), (ERROR_RATE,)))
    assert receiver.taken[0][2]["resolved"] == [ERROR_RATE]


@pytest.mark.parametrize("status", [302, 307, 404, 500])
def test_what_is_not_taken_is_an_error_and_no_redirect_is_followed(
    receiver: Receiver, status: int
) -> None:
    receiver.status = status
    with pytest.raises(OSError, match=str(status)):
        Webhook(receiver.url)(LOUD)
    assert len(receiver.taken) == 1


def test_an_address_that_does_not_answer_takes_no_longer_than_it_may() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(OSError, match="timed out"):
            Webhook(url, timeout_s=0.05)(LOUD)


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "file:///etc/passwd", "http://", "http://[x", "https://h/\n", "//h/x"]
)
def test_what_is_no_web_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Webhook(url)
    assert str(refused.value) == "webhook: must be an http or https address"


def test_a_monitor_goes_on_while_its_address_is_gone_and_does_not_print_it(
    caplog: pytest.LogCaptureFixture, receiver: Receiver
) -> None:
    gateway, clock = Gateway(), FakeClock()
    with refusing_port() as port:
        gone = f"http://127.0.0.1:{port}/hook-canary"
        monitors = [
            Monitor(gateway.stats, Settings(webhook=url), clock=clock)
            for url in (gone, receiver.url)
        ]
        for _ in range(3):
            gateway.came(100, errors=50)
            clock.advance(300)
            for monitor in monitors:
                monitor.look()
    assert [monitor.failures for monitor in monitors] == [2, 0]
    assert len(receiver.taken) == 2
    assert "canary" not in caplog.text
