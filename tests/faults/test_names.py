"""Row 5: the provider's name cannot be resolved, or not in time, or leads somewhere else than
before. Nothing was sent, the answer says so within seconds, look-ups do not take all threads, and
everything else goes on meanwhile.
"""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lab import PATHS, Lab, config_for
from rawclient import CHAT, MESSAGES

from headgate.config import Config, ProviderConfig
from headgate.providers import wire_aiohttp
from headgate.providers.wire_names import THREADS, Names
from headgate.testing import FaultServer

NAME = "provider.invalid"
LIMIT_S = 0.3


class Service:
    """A name service that answers, fails or is silent, as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = "127.0.0.1"
        self.is_down = False
        self._speaks = threading.Event()
        self._speaks.set()

    def __call__(self, host: str, port: int, *_: object) -> list[Any]:
        self.asked.append(host)
        self._speaks.wait(60)
        if self.is_down:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]

    def fall_silent(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """What providers' names are looked up in."""
    service = Service()
    monkeypatch.setattr(wire_aiohttp, "Names", lambda: Names(service, LIMIT_S))
    yield service
    service.speak()


def named(server: FaultServer) -> Config:
    """A gateway that knows its provider by name."""
    found = config_for(server)
    providers = {
        name: ProviderConfig(kind=each.kind, base_url=each.base_url.replace("127.0.0.1", NAME))
        for name, each in found.providers.items()
    }
    return dataclasses.replace(found, providers=providers)


@pytest.fixture
def lab(open_lab: Callable[..., Lab], service: Service) -> Lab:
    return open_lab(named)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_name_that_cannot_be_resolved_is_502_and_nothing_was_sent(
    lab: Lab, service: Service, path: str, stream: bool
) -> None:
    service.is_down = True
    reply = lab.ask(path, stream=stream)
    assert (reply.status, reply.code) == (502, "upstream_unreachable")
    assert "its host name cannot be resolved" in reply.json["error"]["message"]
    assert NAME not in reply.json["error"]["message"]
    assert lab.server.connections == []
    service.is_down = False
    lab.is_healthy()


def test_a_silent_name_service_is_given_up_and_takes_few_threads(
    lab: Lab, service: Service
) -> None:
    service.fall_silent()
    before = set(threading.enumerate())
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(lab.ask, (CHAT, MESSAGES)[n % 2], about=n) for n in range(40)]
        # What needs a thread of the loop's own is served meanwhile.
        assert lab.gate.get("/metrics").status == 200
        replies = [each.result() for each in asked]
    assert {(reply.status, reply.code) for reply in replies} == {(502, "upstream_unreachable")}
    told = {reply.json["error"]["message"] for reply in replies}
    assert all(f"its host name was not resolved within {LIMIT_S} s" in each for each in told)
    assert lab.server.connections == []
    begun = {*threading.enumerate()} - before
    looking = sum(thread.name.startswith("headgate-names") for thread in begun)
    assert 0 < looking <= 2 * THREADS, "of two providers"
    service.speak()
    lab.is_healthy()


def test_who_needs_no_name_notices_nothing(open_lab: Callable[..., Lab], service: Service) -> None:
    lab = open_lab(named, beside=True)
    with lab.healthy_meanwhile() as enough, ThreadPoolExecutor(20) as threads:
        service.fall_silent()
        asked = [threads.submit(lab.ask, about=number) for number in range(40)]
        enough()
    assert {each.result().code for each in asked} == {"upstream_unreachable"}
    service.speak()
    assert lab.ask(about="after it").status == 200


def test_a_provider_that_has_moved_is_followed(lab: Lab, service: Service) -> None:
    assert lab.ask().status == 200
    service.address = "127.0.0.2"
    lab.server.drop()
    reply = lab.ask(about="after the move")
    # What was learned holds for some seconds, as the name service would say itself.
    assert reply.status == 200
    assert service.asked == [NAME]


def test_a_name_that_is_known_serves_on_connections_that_are_open(
    lab: Lab, service: Service
) -> None:
    assert lab.ask().status == 200
    service.is_down = True
    for number in range(5):
        assert lab.ask(about=number).status == 200
    service.is_down = False
    lab.is_healthy()
