"""A provider, a gateway before it and the official clients: what the tests of streams ask with."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dialects import PATHS, Clients, clients_at
from gates import Gate, Got, gate_before

from headgate.layers.settings import CacheConfig
from headgate.testing import FakeProvider, Step


class Asking:
    """Asks the gateway by SDK or byte by byte, and counts what that cost upstream."""

    def __init__(self, provider: FakeProvider, gate: Gate, sync: Clients) -> None:
        self.provider = provider
        self.gate = gate
        self.sync = sync
        self._runner = asyncio.Runner()
        self._asynchronous: Clients | None = None
        self._numbers = itertools.count()

    def close(self) -> None:
        if self._asynchronous is not None:
            self._runner.run(self._asynchronous.aclose())
        self._runner.close()

    def fresh(self) -> str:
        """A question that nobody has asked yet."""
        return f"question {next(self._numbers)}"

    def asynchronously(
        self, way: Callable[[Any, str, str], Awaitable[Any]], operation: str, text: str
    ) -> Any:
        """What an asynchronous client gets."""

        async def act() -> Any:
            if self._asynchronous is None:
                self._asynchronous = Clients(self.gate.url, asynchronous=True)
            return await way(self._asynchronous, operation, text)

        return self._runner.run(act())

    def post(self, operation: str, body: Any, **headers: str) -> Got:
        """The reply, byte for byte, to whom the SDKs would give it; `headers` with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        usual = {name.lower(): value for name, value in self.headers(operation).items()}
        return self.gate.post(PATHS[operation], body, {**usual, **named})

    def headers(self, operation: str) -> dict[str, str]:
        """Those by which the SDK of this dialect says who asks, and how."""
        if operation != "messages":
            return dict(self.sync.openai.auth_headers)
        version = self.sync.anthropic.default_headers["anthropic-version"]
        return {**self.sync.anthropic.auth_headers, "anthropic-version": version}

    @contextmanager
    def upstream(self, calls: int, *steps: Step) -> Iterator[None]:
        """What happens inside costs so many calls; `steps` are the provider's answers to them."""
        self.provider.script(*steps)
        before = len(self.provider.calls)
        yield
        assert len(self.provider.calls) - before == calls

    def not_stored(self) -> dict[str, int]:
        """Answers that were not stored, by reason, as the operations route tells it."""
        numbers = self.gate.get("/api/metrics/llm").json
        skipped: dict[str, int] = numbers["cache"]["not_stored"]
        return skipped


@contextmanager
def asking(cache: CacheConfig | None = None, **settings: Any) -> Iterator[Asking]:
    """`settings` are those of the gateway's providers."""
    with (
        FakeProvider() as provider,
        gate_before(provider, cache, **settings) as gate,
        clients_at(gate.url) as sync,
    ):
        made = Asking(provider, gate, sync)
        try:
            yield made
        finally:
            made.close()


def hit(got: Got) -> bool:
    """Whether a reply came from the cache."""
    return got.headers.get("cache-status", "").startswith("headgate; hit; ttl=")
