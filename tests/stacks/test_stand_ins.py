"""A model that stands in for another has its own time limits, and thinks by itself."""

from __future__ import annotations

from typing import Any

import pytest
from tries import DELTA, DONE, FINISH, ROLE, Provider, Scene, a_call, good, run, status, stream

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.errors import UpstreamTimeout
from headgate.providers.http import http_service, model_limits, wire_limits
from headgate.providers.wire import Wire, WireLimits, WireReply
from headgate.routing import Routes
from headgate.testing import FakeClock
from headgate.types import Headers

KEYED = ProviderConfig(kind="fake", first_token_timeout=20.0)


def of(models: dict[str, ModelConfig]) -> Config:
    return Config(providers={"a": KEYED, "b": KEYED}, models=models)


def answering_after(wait_s: float) -> Provider:
    return Provider(stream(wait_s, ROLE, DELTA, FINISH, DONE))


def asked(scene: Scene, **more: Any) -> tuple[Any, float]:
    routes = Routes(scene.config).resolve("m", "chat")[1]
    return run(scene.ask(a_call(*routes, **more)))


def test_a_stand_in_that_thinks_gets_the_time_it_needs() -> None:
    models = {
        "m": ModelConfig(targets=("a/m",), fallbacks=("deep",), first_token_timeout=5.0),
        "deep": ModelConfig(targets=("b/deep",), reasoning=True),
    }
    scene = Scene(of(models), a=Provider(status(500)), b=answering_after(250.0))
    reply, took_s = asked(scene, streamed=True)
    assert (reply.status, took_s) == (200, 250.0)
    breaker = scene.guards.deployments.get(("b", "deep"), took_s)
    assert breaker.counts.slow == 0, "one that thinks is never slow"


def test_a_stand_in_for_one_that_thinks_does_not_get_its_time() -> None:
    models = {
        "m": ModelConfig(targets=("a/m",), fallbacks=("quick",), reasoning=True),
        "quick": ModelConfig(targets=("b/quick",)),
    }
    scene = Scene(of(models), a=Provider(status(500)), b=answering_after(250.0))
    with pytest.raises(UpstreamTimeout, match="no content within 20 s"):
        asked(scene, streamed=True)


class Recording(Wire):
    """Notes the limits that it is given."""

    def __init__(self) -> None:
        self.within: list[WireLimits] = []

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes, limits: WireLimits
    ) -> WireReply:
        self.within.append(limits)
        raise UpstreamTimeout("it took too long", stage="total")

    async def aclose(self) -> None:
        pass


def test_on_the_wire_too_each_has_its_own_limits() -> None:
    provider = ProviderConfig(total_timeout=600.0)
    models = {
        "m": ModelConfig(targets=("a/m",), fallbacks=("deep", "plain"), total_timeout=30.0),
        "deep": ModelConfig(targets=("b/deep",), total_timeout=1800.0, idle_timeout=300.0),
        "plain": ModelConfig(targets=("b/plain",)),
    }
    config, wire = Config(providers={"a": provider, "b": provider}, models=models), Recording()
    service = http_service(provider, wire, FakeClock(), model_limits(provider, models))
    scene = Scene(config, a=service, b=service)
    with pytest.raises(UpstreamTimeout):
        asked(scene)
    usual = wire_limits(provider)
    assert [within.total_s for within in wire.within] == [30.0, 1800.0, usual.total_s]
    assert [within.idle_s for within in wire.within] == [usual.idle_s, 300.0, usual.idle_s]


def test_without_a_failure_nothing_is_different() -> None:
    models = {"m": ModelConfig(targets=("a/m",), fallbacks=("deep",)), "deep": ModelConfig()}
    scene = Scene(of(models), a=Provider(good()), b=Provider(status(500)))
    assert asked(scene)[0].status == 200
