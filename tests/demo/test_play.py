"""The demo's gateway and clients: real processes and sockets, the fake provider behind them."""

from __future__ import annotations

import json
import os
import re
import tomllib
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from programs import children, forget_settings, is_gone

from headgate.demo.play import (
    CLIENTS,
    MODEL,
    SYSTEM,
    Clients,
    DemoError,
    configuration,
    gateway,
)
from headgate.demo.report import HIT, UPSTREAM
from headgate.testing import FakeProvider, Hang, Status

QUICK = '[providers.fake]\nkind = "fake"\n'


@pytest.fixture(autouse=True)
def _settings_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """A provider that OPENAI_BASE_URL names."""
    with FakeProvider() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running


def ignored() -> None:
    """Nobody watches the progress."""


def gateways() -> list[int]:
    """Processes that this one has started."""
    return [pid for pid in children(os.getpid()) if not is_gone(pid)]


def test_without_a_key_the_built_in_provider_is_configured() -> None:
    written = tomllib.loads(configuration(""))
    assert written["providers"] == {"fake": {"kind": "fake", "latency": "400ms"}}
    assert written["cache"] == {"persist": True}
    assert written["server"] == {"drain_timeout": "1s"}


def test_with_a_key_the_real_provider_is_and_the_key_stays_out_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tomllib.loads(configuration("sk-sesame"))["providers"] == {"openai": {"kind": "openai"}}
    monkeypatch.setenv("OPENAI_BASE_URL", 'http://h/v1"\nx = 1')
    written = configuration("sk-sesame")
    expected = {"kind": "openai", "base_url": "${OPENAI_BASE_URL}"}
    assert tomllib.loads(written)["providers"] == {"openai": expected}
    assert "sesame" not in written


def test_the_gateway_runs_inside_the_block_and_is_gone_after_it() -> None:
    before = gateways()
    with gateway(QUICK) as url:
        (pid,) = {*gateways()} - {*before}
        folder = Path(f"/proc/{pid}/cwd").resolve()
        assert folder.is_dir()
        assert json.load(urllib.request.urlopen(f"{url}/healthz")) == {"status": "ok"}
    assert is_gone(pid)
    assert not folder.exists()


def test_the_gateway_goes_with_the_block_that_fails() -> None:
    before = gateways()
    with pytest.raises(ZeroDivisionError), gateway(QUICK):
        raise ZeroDivisionError
    assert gateways() == before


def test_the_gateway_is_for_this_machine_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADGATE_SERVER_HOST", "0.0.0.0")
    with gateway(QUICK) as url:
        assert url.startswith("http://127.0.0.1:")


def test_a_gateway_that_does_not_start_says_why() -> None:
    before = gateways()
    with pytest.raises(DemoError) as caught, gateway("[sever]\n"):
        pass
    assert caught.value.message.startswith("the gateway did not start:\n")
    assert "headgate.toml:1: sever: " in caught.value.message
    assert gateways() == before


def test_every_question_is_asked_in_order_and_each_once_upstream(provider: FakeProvider) -> None:
    ticks: list[int] = []
    texts = [str(number) for number in range(20)] * 2
    with Clients("sk-1") as clients, gateway(configuration("sk-1")) as url:
        played = clients.ask_all(url, texts, lambda: ticks.append(1))
    assert len(played.calls) == len(ticks) == 40
    assert {call.kind for call in played.calls[:20]} == {UPSTREAM}
    asked = [call.body["messages"] for call in provider.calls]
    assert sorted(messages[1]["content"] for messages in asked) == sorted(texts[:20])
    assert all(messages[0] == {"role": "system", "content": SYSTEM} for messages in asked)
    assert {call.body["model"] for call in provider.calls} == {MODEL}
    assert {call.headers["authorization"] for call in provider.calls} == {"Bearer sk-1"}
    assert played.elapsed_s > 0


def test_what_a_call_cost_and_took_is_that_of_its_client(provider: FakeProvider) -> None:
    with Clients("sk-1") as clients, gateway(configuration("sk-1")) as url:
        first = clients.ask_all(url, ["q"], ignored)
        second = clients.ask_all(url, ["q"], ignored)
    (miss,), (hit,) = first.calls, second.calls
    assert (miss.kind, hit.kind) == (UPSTREAM, HIT)
    assert (miss.tokens_in, miss.tokens_out) == (hit.tokens_in, hit.tokens_out) != (0, 0)
    assert 0 < miss.latency_ms <= first.elapsed_s * 1000
    assert 0 < hit.latency_ms <= second.elapsed_s * 1000


def test_eight_clients_ask_at_a_time(provider: FakeProvider) -> None:
    provider.hold()
    texts = [str(number) for number in range(20)]
    with (
        Clients("sk-1") as clients,
        gateway(configuration("sk-1")) as url,
        ThreadPoolExecutor(1) as thread,
    ):
        playing = thread.submit(clients.ask_all, url, texts, ignored)
        assert len(provider.wait_for_calls(CLIENTS)) == CLIENTS == 8
        provider.release()
        assert len(playing.result().calls) == 20


def test_a_proxy_of_the_environment_is_not_asked_for_a_gateway_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Clients("") as clients, gateway(QUICK) as url:
        assert len(clients.ask_all(url, ["q"], ignored).calls) == 1


def test_the_first_call_that_fails_ends_the_replay(provider: FakeProvider) -> None:
    provider.script(*[Status(500)] * 40)
    texts = [str(number) for number in range(200)]
    with (
        Clients("sk-1") as clients,
        gateway(configuration("sk-1")) as url,
        pytest.raises(DemoError) as caught,
    ):
        clients.ask_all(url, texts, ignored)
    # Of calls at the same time, one may meet the breaker that the others have opened.
    assert re.match(r"a call failed: Error code: 50[03]\b", caught.value.message)
    assert len(provider.calls) < 200


def test_calls_that_hang_end_with_the_gateway(provider: FakeProvider) -> None:
    provider.script(Status(500), *[Hang()] * (CLIENTS - 1))
    texts = [str(number) for number in range(200)]
    with Clients("sk-1") as clients, gateway(configuration("sk-1")) as url:
        thread = ThreadPoolExecutor(1)
        playing = thread.submit(clients.ask_all, url, texts, ignored)
        provider.wait_for_calls(CLIENTS)
    provider.wait_for_abandoned(CLIENTS - 1)
    assert isinstance(playing.exception(), DemoError)
    thread.shutdown()
