"""The stack as built, as written for people, and as it behaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headgate.clock import SystemClock
from headgate.config import Config, ProviderConfig
from headgate.layers.fill import Fill
from headgate.layers.settings import BatchConfig, CacheConfig
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.pipeline import (
    FUNCTION,
    RELAY,
    Placed,
    batched,
    by_target,
    front,
    limiting,
    limits,
    observed,
    per_target,
    providers,
    resilience,
    stack,
)
from headgate.pricing import Prices
from headgate.providers.function import call_function
from headgate.stores.memory import MemoryStore
from headgate.stores.tiers import Tiers
from headgate.stream import Whole
from headgate.types import Call, Reply, Service, Target, WireRequest

LIFE_OF_A_CALL = Path(__file__).parents[1] / "docs" / "life-of-a-call.md"


def built() -> tuple[Placed, ...]:
    clock = SystemClock()
    tiers = Tiers(MemoryStore(), None, clock)
    metrics = Metrics()
    config = Config(providers={"p": ProviderConfig(kind="fake")})
    throttled, limited = limits(limiting(config, clock), clock)
    fill = Fill(tiers, clock, metrics)
    watched = observed(metrics, Ledger(Prices(config), clock), clock)
    above = front(CacheConfig(), tiers, fill, clock, watched, throttled)
    above = batched(above, config, tiers, metrics, clock)
    return above + per_target(config, resilience(config, clock), clock, limited)


def documented() -> list[str]:
    """First column of the table in docs/life-of-a-call.md that begins with the outermost layer."""
    cells = [
        line.split("|")[1].strip().strip("`*")
        for line in LIFE_OF_A_CALL.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    return cells[cells.index("observe") :][: len(built())]


def test_the_built_stack_is_the_one_in_life_of_a_call() -> None:
    assert [placed.name for placed in built()] == documented()


def test_the_layers_stand_in_this_order() -> None:
    assert [placed.name for placed in built()] == [
        "observe", "inputs", "cache", "coalesce", "throttle", "fill", "batch", "fallback", "retry",
        "limit", "cost", "breaker", "attempt",
    ]  # fmt: skip


def test_every_layer_says_why_it_stands_where_it_stands() -> None:
    reasons = [placed.reason for placed in built()]
    assert all(len(reason) > 20 for reason in reasons)
    assert len(set(reasons)) == len(reasons)


def a_call(provider: str) -> Call:
    request = WireRequest("/chat/completions", b"{}", ())
    return Call("chat", "m", request, b"k" * 32, b"s" * 32, Target(provider, "m"))


def saying(word: str) -> Service:
    async def service(call: Call) -> Reply:
        return Reply(200, (), Whole(word.encode()))

    return service


def test_the_first_layer_is_the_outermost() -> None:
    entered: list[str] = []

    def layer(name: str) -> Placed:
        def wrap(below: Service) -> Service:
            async def service(call: Call) -> Reply:
                entered.append(name)
                return await below(call)

            return service

        return Placed(name, wrap, "to be seen entering")

    service = stack((layer("outer"), layer("inner")), saying("x"))
    asyncio.run(service(a_call("p")))
    assert entered == ["outer", "inner"]


def test_a_call_goes_to_the_provider_its_target_names() -> None:
    service = by_target({"a": saying("from a"), "b": saying("from b")})
    reply = asyncio.run(service(a_call("b")))
    assert isinstance(reply.body, Whole)
    assert reply.body.content == b"from b"


def test_every_configured_provider_has_a_service_and_so_have_callables_and_sdks() -> None:
    config = Config(providers={"x": ProviderConfig(kind="fake"), "y": ProviderConfig(kind="fake")})
    services = providers(config, {}, SystemClock())
    assert set(services) == {"x", "y", FUNCTION, RELAY}
    assert services[FUNCTION] is call_function


def test_a_hit_enters_nothing_below_the_cache() -> None:
    asked: list[Call] = []

    async def bottom(call: Call) -> Reply:
        asked.append(call)
        content = b'{"choices": [{"finish_reason": "stop"}]}'
        return Reply(200, (), Whole(content))

    service = stack(built(), bottom)

    async def ask_twice() -> list[Reply]:
        return [await service(a_call("p")) for _ in range(2)]

    first, second = asyncio.run(ask_twice())
    assert len(asked) == 1
    assert (first.provenance.stored, second.provenance.hit) == (True, True)


def test_a_failure_passes_through_every_layer_and_leaves_nothing_behind() -> None:
    async def bottom(call: Call) -> Reply:
        raise ConnectionResetError("gone")

    service = stack(built(), bottom)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            asyncio.run(service(a_call("p")))


def test_without_batching_two_layers_are_not_there() -> None:
    clock, metrics, tiers = SystemClock(), Metrics(), Tiers(MemoryStore(), None, SystemClock())
    layers = (Placed("observe", lambda below: below, ""),)
    config = Config(batch=BatchConfig(enabled=False))
    assert batched(layers, config, tiers, metrics, clock) == layers
